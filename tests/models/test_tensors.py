"""The tensors expected for a given width are known without building the networks."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from contextual_gan.files.checkpoints import WeightsError
from contextual_gan.models import dcgan, encoder, pix2pix, tensors, weights
from contextual_gan.models.locations import pin
from contextual_gan.models.weights import (
    _dcgan,
    load_encoder,
    load_networks,
    load_pix2pix,
    load_weights,
    save_described,
    save_weights,
)

BUILDERS = {
    "dcgan": lambda width: (dcgan.generator(width), dcgan.discriminator(width)),
    "encoder": lambda width: (encoder.encoder(width),),
    "pix2pix": lambda width: (pix2pix.unet(width),),
}


@pytest.mark.parametrize("width", [1, 2, 7, 8, 32])
@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_shapes_match_the_networks(build, width):
    built = {name: tuple(v.shape) for name, v in tensors.named_variables(*build(width)).items()}
    assert tensors.shapes(build, width) == built


def test_a_claimed_width_is_refused_before_networks_are_built(tmp_path, monkeypatch):
    def refuse(build):
        def narrow_only(width):
            assert width == tensors.NARROW, "a network of the claimed width was built"
            return build(width)

        return narrow_only

    for module, name in ((dcgan, "generator"), (dcgan, "discriminator"), (pix2pix, "unet"), (encoder, "encoder")):
        monkeypatch.setattr(module, name, refuse(getattr(module, name)))
    claims = {name: np.zeros(shape, np.float16) for name, shape in tensors.shapes(_dcgan, 1).items()}
    path = tmp_path / "claims.safetensors"
    save_file(claims | {"discriminator/conv0.bias": np.zeros(1024, np.float16)}, path)
    with pytest.raises(WeightsError, match=r"has shape .*the network needs .*262144"):
        load_weights(path)
    save_described(path, {"generator/down0.bias": np.zeros(256, np.float16)}, {"direction": "photo"})
    with pytest.raises(WeightsError, match=r"missing generator/down0.kernel"):
        load_pix2pix(path, "photo")
    about = {"generator_sha256": pin("celeba").sha256, "direction": "photo"}
    claims = {"encoder/conv0.kernel": np.zeros((1, 1, 1, 1024), np.float16), "curvature": np.zeros((100, 100))}
    save_described(path, claims, about)
    monkeypatch.setattr(weights, "encoder_file", lambda *_: path)
    with pytest.raises(WeightsError, match=r"missing encoder/bn0.beta"):
        load_encoder("celeba", "photo")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_values_are_refused(tmp_path, value):
    generator, discriminator = dcgan.generator(2), dcgan.discriminator(2)
    bias = generator.get_layer("up4").bias
    bias.assign([0, value, 0])
    save_weights(tmp_path / "bad.safetensors", generator, discriminator)
    with pytest.raises(WeightsError, match=r"generator/up4.bias holds non-finite values"):
        load_networks(tmp_path / "bad.safetensors")


def test_a_search_that_needs_no_discriminator_builds_none(networks):
    generator, discriminator = load_networks("celeba", needs_discriminator=False)
    assert discriminator is None
    pairs = zip(generator.get_weights(), networks[0].get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)

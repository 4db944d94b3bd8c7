import json
import re

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from contextual_gan.files.checkpoints import WeightsError, file_sha256
from contextual_gan.joint import DIRECTIONS
from contextual_gan.models import locations
from contextual_gan.models.locations import PRETRAINED, pin, weights_file
from contextual_gan.models.locations import published as published_names
from contextual_gan.models.weights import (
    learned_from_joints,
    load_encoder,
    load_networks,
    load_pretrained,
    load_weights,
    named_variables,
    save_weights,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The published tensors, to be damaged."""
    return load_file(weights_file("celeba"))


@pytest.mark.parametrize("name", ["celeba", "celeba_paper"])
def test_the_cards_describe_the_file(name):
    card = json.loads((PRETRAINED / f"{name}.json").read_text())
    assert card["name"] == name and card["sha256"] == file_sha256(weights_file(name))
    assert {"about", "data", "images_seen", "sketch_preset", "licence"} <= card.keys()
    assert (PRETRAINED / "LICENSE").read_text().count("non-commercial") >= 1


@pytest.mark.parametrize("name", ["celeba", "celeba_paper", "celeba_pix2pix"])
def test_the_model_cards_have_metadata_of_model_hubs_and_valid_links(name):
    card = (PRETRAINED / f"{name}.md").read_text()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["license"] == "other" and metadata["license_link"] == "LICENSE" and metadata["tags"]
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", card) if "://" not in link]
    assert links and all((PRETRAINED / link).exists() for link in links)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_both_published_weights_have_their_encoders(direction):
    assert published_names() == ["celeba", "celeba_paper"]
    for name in published_names():
        load_encoder(name, direction)  # which refuses the encoder of another generator
    assert learned_from_joints("celeba", direction) and not learned_from_joints("celeba_paper", direction)


def test_published_weights_are_float16_and_loaded_into_every_variable(published, networks):
    assert {tensor.dtype for tensor in published.values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(tensor).all() for tensor in published.values())
    variables = named_variables(*networks)
    assert variables.keys() == published.keys()
    for name, variable in variables.items():
        assert np.array_equal(np.asarray(variable), published[name].astype(np.float32)), name


def test_saving_and_loading_gives_the_same_tensors(networks, published, tmp_path):
    save_weights(tmp_path / "copy.safetensors", *networks)
    again = load_file(tmp_path / "copy.safetensors")
    assert all(np.array_equal(again[name], tensor) for name, tensor in published.items())
    assert len(load_networks(str(tmp_path / "copy.safetensors"))) == 2


def test_wrong_shapes_and_names_are_named(published, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file(published | {"generator/up4.kernel": np.zeros((5, 5, 3, 32), np.float16)}, path)
    with pytest.raises(WeightsError, match=r"generator/up4.kernel.*\(5, 5, 3, 32\).*\(5, 5, 3, 64\)"):
        load_weights(path)
    renamed = {name.replace("generator/up4", "generator/last"): tensor for name, tensor in published.items()}
    save_file(renamed, path)
    with pytest.raises(WeightsError, match=r"missing generator/up4.bias.*unknown generator/last.bias"):
        load_weights(path)


def test_a_damaged_file_is_reported_in_one_clear_line(tmp_path, monkeypatch):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(weights_file("celeba").read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="not a readable safetensors file") as error:
        load_networks(path)
    assert "\n" not in str(error.value)
    (tmp_path / "celeba.safetensors").write_bytes(path.read_bytes())
    (tmp_path / "celeba.json").write_bytes((PRETRAINED / "celeba.json").read_bytes())
    monkeypatch.setattr(locations, "PRETRAINED", tmp_path)
    with pytest.raises(WeightsError, match="SHA-256"):
        load_pretrained("celeba")


def test_unknown_names_and_paths_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"'faces'; available: celeba, celeba_paper$"):
        load_pretrained("faces")
    with pytest.raises(WeightsError, match=r"no weights at .*nothing\.safetensors.*\(celeba, celeba_paper\)"):
        load_networks(tmp_path / "nothing.safetensors")


def test_a_file_whose_hash_differs_from_its_card_is_refused(published, tmp_path):
    path, card = tmp_path / "mine.safetensors", tmp_path / "mine.json"
    save_file(published, path)
    card.write_text(json.dumps({"sha256": file_sha256(path)}))
    assert pin(path).sha256 == file_sha256(path)
    content = bytearray(path.read_bytes())
    content[-200:] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"mine\.safetensors is damaged.*mine\.json"):
        load_networks(path)
    for other in ("not JSON", "[]", "{}"):  # not a card, but a file with this name
        card.write_text(other)
        pin(path)


def test_the_loaded_bytes_are_the_hashed_ones(published, tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file(published, path)
    pinned = pin(path)
    path.unlink()
    generator, _ = load_networks(pinned)
    assert np.array_equal(generator.get_layer("up4").bias, published["generator/up4.bias"].astype(np.float32))

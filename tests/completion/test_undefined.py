"""Results of networks with damage that no check of their weights can detect."""

import numpy as np
import pytest
from conftest import draw_face

from contextual_gan.completion import folder, record
from contextual_gan.config import SearchSettings
from contextual_gan.evaluation import methods
from contextual_gan.files import sources
from contextual_gan.files.images import write_png
from contextual_gan.models import dcgan, pix2pix
from contextual_gan.models.pix2pix import draw_half


@pytest.fixture(scope="module")
def broken():
    """Networks whose output is NaN."""
    generator = dcgan.generator(2)
    generator.get_layer("up4").bias.assign([0, np.nan, 0])
    return generator, dcgan.discriminator(2)


def test_an_input_without_a_finite_loss_does_not_count_as_completed(broken, tmp_path):
    write_png(tmp_path / "face.png", draw_face(0))
    task = folder.CompletionTask("broken", "0", "readme", SearchSettings(n_init=2, iterations=2))
    run = record.Run(tmp_path / "out", task)
    found, *_ = sources.find_images([tmp_path / "face.png"], excluded=tmp_path / "out")
    stems = sources.output_stems(found)
    folder.complete_folder(run, task, folder.batches_to_complete(stems, folder.plan(run, stems), 64), broken)
    assert not run.results and "its search found no finite loss" in run.failed[str(tmp_path / "face.png")]
    assert not list((tmp_path / "out").rglob("*.png"))


def test_a_search_without_a_finite_loss_gives_no_prediction(broken):
    options = {"direction": "photo", "seed": 0, "batch_size": 2, "samples": 1}
    known, search = np.stack([draw_face(0), draw_face(1)]), SearchSettings(n_init=2, iterations=2)
    with pytest.raises(FloatingPointError, match="2 of 2 images"):
        methods._completed(known, lambda *_: None, networks=broken, search=search, encoder=None, **options)


def test_pix2pix_draws_no_non_finite_values():
    generator = pix2pix.unet(1)
    generator.get_layer("up5").bias.assign([0, np.nan, 0])
    with pytest.raises(FloatingPointError, match="non-finite"):
        draw_half(generator, draw_face(0)[None])

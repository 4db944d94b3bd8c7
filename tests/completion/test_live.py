"""The model kept in memory: its stepwise result equals that of `complete`."""

import numpy as np
import pytest
from conftest import draw_face, draw_photo

from contextual_gan.completion.live import Live
from contextual_gan.completion.search import complete
from contextual_gan.evaluation.metrics import sketch_consistency
from contextual_gan.files.checkpoints import WeightsError
from contextual_gan.files.images import to_float, to_uint8
from contextual_gan.models.inference import encode, generate


@pytest.fixture(scope="module")
def live():
    return Live("celeba")


@pytest.mark.parametrize("direction", ["photo", "sketch"])
def test_a_face_is_g_of_the_encoders_z(live, direction):
    known = draw_face(0) if direction == "photo" else draw_photo(0)
    z = encode(live.encoders[direction].network, to_float(known)[None])
    face = live.encode(known, direction=direction)
    assert np.array_equal(face.z, z)
    assert np.array_equal(face.joints, to_uint8(generate(live.generator, z)))


@pytest.mark.parametrize(("samples", "every", "seed", "faithful"), [(1, 5, 0, 1), (3, 20, 4, 0.4), (2, 5, 0, 0)])
def test_the_last_step_matches_complete(live, samples, every, seed, faithful):
    sketch = draw_face(1)
    *steps, last = live.refine(sketch, samples=samples, every=every, seed=seed, faithful=faithful)
    expected = complete(
        live.generator,
        live.discriminator,
        sketch[None],
        encoder=live.encoders["photo"],
        preset="edges",
        samples=samples,
        seed=seed,
        faithful=faithful,
    )
    assert np.array_equal(last.z, expected.z[0])
    assert np.array_equal(last.joints, to_uint8(expected.joints[0]))
    best = np.zeros(samples, int) if faithful == 0 else np.nanargmin(expected.total[0], axis=1)
    assert last.contextual == pytest.approx(expected.contextual[0, np.arange(samples), best], rel=1e-3)
    assert last.step == last.steps and [step.step for step in steps] == [every * (i + 1) for i in range(len(steps))]


def test_a_faithfulness_of_zero_gives_the_encoders_face(live):
    sketch = draw_face(2)
    (face,) = live.refine(sketch, faithful=0)
    assert np.array_equal(face.joints, live.encode(sketch).joints) and face.step == face.steps


def test_the_numbers_match_the_metrics(live):
    sketch = draw_face(2)
    face = live.encode(sketch)
    photo = face.joints[:, :, 64:]
    assert face.consistency == pytest.approx(sketch_consistency(sketch[None], photo), abs=0.02)  # which rounds


def test_a_search_can_be_left_and_another_started(live):
    steps = live.refine(draw_face(3))
    next(steps)
    other = list(live.refine(draw_face(4)))[-1]
    steps.close()
    assert np.array_equal(other.z, list(live.refine(draw_face(4)))[-1].z)


def test_g_of_a_saved_z_gives_the_same_joint(live):
    face = live.encode(draw_face(5))
    again = live.generate(face.z)
    assert np.array_equal(again.joints, face.joints) and again.contextual == pytest.approx(0, abs=1e-9)


def test_invalid_input_is_refused(live, tmp_path):
    sketch = draw_face(6)
    for bad in (sketch[:63], to_float(sketch), sketch[..., 0]):
        with pytest.raises(ValueError, match="known half"):
            live.encode(bad)
    for z in (np.full((1, 100), 1.1), np.full((1, 100), np.nan), np.zeros((1, 99)), np.zeros((0, 100))):
        with pytest.raises(ValueError, match="from -1 to 1"):
            live.generate(z)
    for options in ({"samples": 0}, {"samples": 9}, {"faithful": 1.01}, {"faithful": float("nan")}):
        with pytest.raises(ValueError, match=next(iter(options))):
            next(live.refine(sketch, **options))
    with pytest.raises(WeightsError, match="no weights"):
        Live(tmp_path / "none.safetensors")

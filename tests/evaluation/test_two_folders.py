"""`scripts/evaluate.py --folder`: images of two folders, from any source."""

import json

import numpy as np
import pytest
from conftest import WANG, draw_photo
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from test_evaluate import evaluate

from contextual_gan.evaluation.two_folders import score_folders
from contextual_gan.files.images import write_png
from contextual_gan.joint import join


def save(folder, **images):
    for name, image in images.items():
        write_png(folder / f"{name}.png", image)
    return folder


@pytest.fixture
def photos():
    rng = np.random.default_rng(0)
    truth = draw_photo(64)
    return truth, np.clip(truth + rng.normal(0, 20, truth.shape), 0, 255).astype(np.uint8)


def test_the_numbers_match_scikit_image(photos, tmp_path):
    truth, made = photos
    large = [np.ascontiguousarray(np.tile(image, (2, 3, 1))) for image in photos]
    save(tmp_path / "made", a=made, b_photo=made, c=large[1])
    save(tmp_path / "true", a=truth, b=truth, c=large[0])
    result = evaluate("--folder", tmp_path / "made", tmp_path / "true", "--out", tmp_path / "out")
    assert result.returncode == 0 and "3 pairs, 0 failed, 0 images" in result.stdout, result.stderr
    found = json.loads((tmp_path / "out/metrics.json").read_text())["predictions"]
    for image, pair in zip(found["images"], ((made, truth), (made, truth), large[::-1]), strict=True):
        assert image["ssim"] == pytest.approx(structural_similarity(*pair, **WANG), abs=1e-6)
        assert image["psnr"] == pytest.approx(peak_signal_noise_ratio(*pair, data_range=255), abs=1e-6)
    assert found["ssim"]["low"] <= found["ssim"]["mean"] <= found["ssim"]["high"]


def test_only_the_predicted_half_of_joint_images_is_compared(photos, tmp_path):
    truth, made = photos
    sketch = np.full_like(truth, 255)
    save(tmp_path / "true", a=join(sketch, truth), b=join(sketch, truth), c=join(sketch, truth))
    save(tmp_path / "made", a_photo=made, a_joint=join(sketch, truth), b_joint=join(sketch, made), c=made, grid=made)
    found, failed, unused = score_folders(tmp_path / "made", tmp_path / "true")
    assert not failed and unused == ["a_joint.png", "grid.png"]
    assert len({image["ssim"] for image in found["images"]}) == 1 and found["images"][0]["ssim"] < 0.99
    save(tmp_path / "drawn", a_sketch=sketch)
    found, failed, _ = score_folders(tmp_path / "drawn", tmp_path / "true", direction="sketch", limit=1)
    assert found["images"] == [{"name": "a.png", "ssim": 1.0, "psnr": "inf"}]


def test_identical_images_are_counted_and_grey_ones_are_read_as_rgb(photos, tmp_path):
    import cv2

    truth, made = photos
    grey = truth[..., :1].repeat(3, axis=2)
    save(tmp_path / "true", a=truth, b=truth, c=grey)
    save(tmp_path / "made", a=truth, b=made)
    cv2.imwrite(str(tmp_path / "made/c.png"), grey[..., 0])
    found, failed, _ = score_folders(tmp_path / "made", tmp_path / "true")
    assert [image["psnr"] == "inf" for image in found["images"]] == [True, False, True] and not failed
    assert found["psnr"]["identical"] == 2 and found["psnr"]["mean"] == found["images"][1]["psnr"]
    result = evaluate("--folder", tmp_path / "made", tmp_path / "true")
    assert "2 identical" in result.stdout and "nan" not in result.stdout.lower()


def test_pairs_that_cannot_be_compared_are_listed_and_the_rest_scored(photos, tmp_path):
    truth, made = photos
    save(tmp_path / "true", alone=truth, good=truth, pixel=truth[:1, :1], size=truth, torn=truth)
    save(tmp_path / "made", good=made, pixel=truth[:1, :1], size=made[:32], torn=made)
    (tmp_path / "made/torn.png").write_bytes((tmp_path / "made/torn.png").read_bytes()[:500])
    result = evaluate("--folder", tmp_path / "made", tmp_path / "true")
    assert result.returncode == 1 and "1 pairs, 4 failed" in result.stdout
    lines = dict(line.removeprefix("failed: ").split(": ", 1) for line in result.stderr.splitlines())
    assert lines["alone.png"] == "not exactly one prediction matches this name"
    assert lines["pixel.png"] == "SSIM needs images of at least 11 x 11 pixels, got 1 x 1"
    assert lines["size.png"] == "the prediction has 64 x 32 pixels, the truth 64 x 64"
    assert "torn.png" in lines


def test_each_prediction_is_scored_once_and_similar_names_are_kept_apart(photos, tmp_path):
    truth, made = photos
    save(tmp_path / "true", x=truth, x_photo=truth)
    save(tmp_path / "made", x_photo=made, typo=made)
    found, failed, unused = score_folders(tmp_path / "made", tmp_path / "true")
    assert [image["name"] for image in found["images"]] == ["x_photo.png"]
    assert failed == [("x.png", "not exactly one prediction matches this name")] and unused == ["typo.png"]
    for folder, image in (("seen", truth), ("drawn", made)):
        save(tmp_path / folder, **{"both": image, "seq.001": image, "seq.002": image})
        (tmp_path / folder / "both.jpg").write_bytes((tmp_path / folder / "seq.001.png").read_bytes())
    found, failed, unused = score_folders(tmp_path / "drawn", tmp_path / "seen")
    assert [image["name"] for image in found["images"]] == ["both.jpg", "both.png", "seq.001.png", "seq.002.png"]
    assert not failed and not unused


def test_a_joint_prediction_of_a_photo_is_its_photo_half(photos, tmp_path):
    truth, made = photos
    save(tmp_path / "true", a=truth)
    save(tmp_path / "made", a_joint=join(np.full_like(truth, 255), made))
    save(tmp_path / "same", a=made)
    found, *_ = score_folders(tmp_path / "made", tmp_path / "true")
    assert found == score_folders(tmp_path / "same", tmp_path / "true")[0]


def test_results_record_the_folders_and_never_replace_results_of_another_kind(photos, tmp_path):
    save(tmp_path / "true", a=photos[0])
    save(tmp_path / "made", a=photos[1], typo=photos[1])
    arguments = ["--folder", tmp_path / "made", tmp_path / "true", "--direction", "sketch", "--out", tmp_path / "out"]
    result = evaluate(*arguments)
    assert result.returncode == 0 and "not used: typo.png" in result.stdout
    record = json.loads((tmp_path / "out/metrics.json").read_text())
    assert record["settings"]["direction"] == "sketch" and record["unused"] == ["typo.png"]
    refused = evaluate("--data", tmp_path / "true", "--method", "pix2pix", "--out", tmp_path / "out")
    assert refused.returncode == 2 and "holds the results of two folders" in refused.stderr


def test_results_do_not_depend_on_order_or_other_images(photos, tmp_path):
    truth, made = photos
    save(tmp_path / "true", a=truth, b=made)
    save(tmp_path / "made", a=made, b=made[::-1].copy())
    both, *_ = score_folders(tmp_path / "made", tmp_path / "true")
    one, *_ = score_folders(tmp_path / "made", tmp_path / "true", limit=1)
    assert one["images"] == both["images"][:1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folder", "nowhere", "true"], "nowhere"),
        (["--folder", "empty", "true"], "empty"),
        (["--folder", "other", "true"], "no image of"),
        (["--folder", "other", "true", "--data", "x"], "cannot be combined with --data"),
        (["--folder", "other", "true", "--identity", "--samples", "4"], "be combined with --identity, --samples"),
        (["--folder", "true", "true", "--out", "true/a.png/out"], "true/a.png is a file"),
        (["--data", "true"], "required: --method, --out, or --folder"),
    ],
)
def test_mistakes_are_reported_in_one_line(photos, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "true", a=photos[0])
    save(tmp_path / "other", b=photos[0])
    (tmp_path / "empty").mkdir()
    result = evaluate(*arguments)
    assert result.returncode == 2 and message in result.stderr and len(result.stderr.splitlines()) == 1


def test_pix2pix_pairs_in_one_folder_are_scored(photos, tmp_path):
    truth, made = photos
    save(tmp_path / "images", x_real_A=truth[::-1], x_fake_B=made, x_real_B=truth, y_fake_B=truth, y_real_B=truth)
    result = evaluate("--folder", tmp_path / "images", "--out", tmp_path / "out")
    assert result.returncode == 0 and "2 pairs, 0 failed, 0 images" in result.stdout, result.stderr
    found = json.loads((tmp_path / "out/metrics.json").read_text())["predictions"]["images"]
    assert [image["name"] for image in found] == ["x_real_B.png", "y_real_B.png"] and found[0]["ssim"] < 1
    save(tmp_path / "true", x=truth, y=truth)
    found, failed, unused = score_folders(tmp_path / "images", tmp_path / "true")
    assert len(found["images"]) == 2 and not failed and unused == ["x_real_A.png", "x_real_B.png", "y_real_B.png"]
    save(tmp_path / "other", z_fake_B=made, w_real_B=truth)
    with pytest.raises(ValueError, match=r"w_real_B\.png: not exactly one prediction"):
        score_folders(tmp_path / "other", tmp_path / "other")
    for arguments, message in (
        ((tmp_path / "true",), "cannot be scored against itself"),
        ((tmp_path / "true",) * 3, "--folder takes PREDICTIONS and TRUTH"),
    ):
        refused = evaluate("--folder", *arguments)
        assert refused.returncode == 2 and message in refused.stderr and refused.stderr.count("\n") == 1

"""sketches.py: each style against a slow reference written from the formulas, and photos with known sketches."""

import math

import cv2
import numpy as np
import pytest

from contextual_gan.preparation import sketches
from contextual_gan.preparation.sketches import (
    PRESETS,
    STYLES,
    draw,
    edge_tangent_flow,
    fdog,
    ink_density,
    photocopy,
    xdog,
)

ALL = [(style, preset) for style, presets in PRESETS.items() for preset in presets]
every_preset = pytest.mark.parametrize(("style", "preset"), ALL, ids=["-".join(names) for names in ALL])


def rgb(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=2)


@pytest.fixture
def scene():
    """(18, 23, 3) uint8: a ring, a bar and soft noise, so that no two directions or tones are the same."""
    y, x = np.mgrid[:18, :23]
    tone = 90 + 4 * x + 70 * np.tanh(np.hypot(x - 9, y - 8) - 5) - 60 * (np.abs(x - 18 + 0.3 * y) < 2)
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 25, (18, 23)), (0, 0), 1.0)
    return rgb(np.clip(tone + noise, 0, 255))


# --- slow references: plain Python, one pixel at a time ---------------------------------------------------------------


def at(image, x, y):
    """A pixel, the nearest one beyond the border."""
    return image[min(max(y, 0), len(image) - 1)][min(max(x, 0), len(image[0]) - 1)]


def between(image, x, y):
    """Bilinear, the nearest pixel beyond the border."""
    x, y = min(max(x, 0), len(image[0]) - 1), min(max(y, 0), len(image) - 1)
    left, top = math.floor(x), math.floor(y)
    u, v = x - left, y - top
    upper = (1 - u) * at(image, left, top) + u * at(image, left + 1, top)
    lower = (1 - u) * at(image, left, top + 1) + u * at(image, left + 1, top + 1)
    return (1 - v) * upper + v * lower


def pixels(image, function):
    """The image whose pixel (x, y) is function(x, y)."""
    return [[function(x, y) for x in range(len(image[0]))] for y in range(len(image))]


def slow_blur(image, sigma):
    reach = math.ceil(4 * sigma)
    weights = {t: math.exp(-t * t / (2 * sigma * sigma)) for t in range(-reach, reach + 1)}
    total = sum(weights.values())

    def blurred(x, y):
        return sum(
            weights[i] * weights[j] * at(image, x + j, y + i) for i in weights for j in weights
        ) / total**2  # fmt: skip

    return pixels(image, blurred)


def slow_xdog(grey, sigma, k, tau, eps, phi):
    fine, coarse = slow_blur(grey, sigma), slow_blur(grey, k * sigma)

    def tone(x, y):
        difference = fine[y][x] - tau * coarse[y][x]
        return 1 if difference >= eps else 1 + math.tanh(phi * (difference - eps))

    return pixels(grey, tone)


def slow_gradient(image, x, y):
    """Sobel's."""
    dx = dy = 0
    for side in (-1, 1):
        for along, weight in ((-1, 1), (0, 2), (1, 1)):
            dx += side * weight * at(image, x + side, y + along)
            dy += side * weight * at(image, x + along, y + side)
    return dx, dy


def slow_flow(grey, radius, iterations):
    magnitude = pixels(grey, lambda x, y: math.hypot(*slow_gradient(grey, x, y)))
    largest = max(max(row) for row in magnitude)
    soft = slow_blur(grey, radius)

    def start(x, y):
        dx, dy = slow_gradient(grey if magnitude[y][x] else soft, x, y)
        return -dy / math.hypot(dx, dy), dx / math.hypot(dx, dy)

    flow = pixels(grey, start)
    reach = math.ceil(radius)
    for _ in range(iterations):

        def step(x, y, flow=flow):
            here, total = flow[y][x], [0, 0]
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    if math.hypot(i, j) >= radius:
                        continue
                    there = at(flow, x + j, y + i)
                    dot = here[0] * there[0] + here[1] * there[1]
                    sign = 1 if dot > 0 else -1  # equation 5
                    difference = (at(magnitude, x + j, y + i) - magnitude[y][x]) / largest
                    weight = (1 + math.tanh(difference)) / 2 * abs(dot)  # equations 3 and 4
                    total[0] += sign * weight * there[0]
                    total[1] += sign * weight * there[1]
            return total[0] / math.hypot(*total), total[1] / math.hypot(*total)

        flow = pixels(grey, step)
    return flow


def slow_gaussian(sigma, reach):
    weights = {t: math.exp(-t * t / (2 * sigma * sigma)) for t in range(-reach, reach + 1)}
    return {t: weight / sum(weights.values()) for t, weight in weights.items()}


def slow_response(grey, radius, iterations, sigma_c, sigma_m, rho):
    """H(x) of Kang et al. 2007."""
    flow = slow_flow(grey, radius, iterations)
    reach = math.ceil(4.8 * sigma_c)
    centre, surround = slow_gaussian(sigma_c, reach), slow_gaussian(1.6 * sigma_c, reach)

    def across(x, y):
        tx, ty = flow[y][x]
        line = {t: between(grey, x - t * ty, y + t * tx) for t in range(-reach, reach + 1)}
        return sum((centre[t] - rho * surround[t]) * value for t, value in line.items())

    response = pixels(grey, across)
    weights = slow_gaussian(sigma_m, math.ceil(3 * sigma_m))

    def along(x, y):
        total = weights[0] * response[y][x]
        for way in (1, -1):
            px, py, (dx, dy) = x, y, flow[y][x]
            dx, dy = way * dx, way * dy
            for s in range(1, math.ceil(3 * sigma_m) + 1):
                px = min(max(px + dx, 0), len(grey[0]) - 1)
                py = min(max(py + dy, 0), len(grey) - 1)
                total += weights[s] * between(response, px, py)
                tx, ty = at(flow, round(px), round(py))
                dx, dy = (-tx, -ty) if tx * dx + ty * dy < 0 else (tx, ty)
        return total

    return pixels(grey, along)


def slow_quantile(values, share):
    values = sorted(values)
    position = share * (len(values) - 1)
    low = values[math.floor(position)]
    return low + (position % 1) * (values[math.ceil(position)] - low)


def slow_photocopy(grey, mask_radius, sharpness, threshold, pct_black, pct_white):
    def blurred(radius):  # at GIMP's radius a Gaussian has fallen to 1 / 255
        return slow_blur(grey, math.sqrt(-((radius + 1) ** 2) / (2 * math.log(1 / 255))))

    tone, around = blurred(max(1, 10 * (1 - sharpness))), blurred(mask_radius)
    ratio = pixels(grey, lambda x, y: tone[y][x] / around[y][x])
    ratios = [value for row in ratio for value in row]
    down = threshold - slow_quantile([value for value in ratios if value < threshold], pct_black)
    up = slow_quantile([value for value in ratios if value >= threshold], 1 - pct_white) - threshold

    def copied(x, y):
        if ratio[y][x] < threshold:
            return tone[y][x] * (down - min(down, threshold - ratio[y][x])) / down
        return 1 - (1 - min(up, ratio[y][x] - threshold) / up) * (1 - tone[y][x])

    return pixels(grey, copied)


@pytest.mark.parametrize("numbers", [(0.8, 1.6, 0.98, 0.0, 200.0), (1.2, 2.5, 0.9, 0.02, 20.0)])
def test_textbook_xdog_matches_its_formula(scene, numbers):
    twin = np.array(slow_xdog((scene[..., 0] / 255).tolist(), *numbers))
    names = ("sigma", "k", "tau", "eps", "phi")
    sketch = xdog(scene, form="textbook", **dict(zip(names, numbers, strict=True)))
    assert np.abs(sketch[..., 0] - 255 * twin).max() < 1.1 and 0.05 < ink_density(sketch) < 0.95


@pytest.mark.parametrize(("sigma_m", "tau", "phi"), [(2.0, 0.8, 1000.0), (1.2, 0.1, 0.2)])
def test_fdog_matches_its_formula(scene, sigma_m, tau, phi):
    twin = np.array(slow_response(scene[..., 0].astype(float).tolist(), 2.5, 2, 1.0, sigma_m, 0.98))
    level = np.arctanh(tau - 1)
    expected = np.where(twin >= level, 1, 1 + np.tanh(phi * (twin - level)))
    sketch = fdog(scene, radius=2.5, iterations=2, sigma_m=sigma_m, rho=0.98, tau=tau, phi=phi)
    assert np.abs(sketch[..., 0] - 255 * expected).max() < 0.6 and 0.05 < ink_density(sketch) < 0.95
    if phi == 1000:  # steep enough to equal the paper's step
        step = np.where((twin < 0) & (1 + np.tanh(twin) < tau), 0, 255)
        assert np.mean(sketch[..., 0] != step) < 0.01


def test_the_flow_matches_its_formula(scene):
    grey = scene[..., 0].astype(float)
    grey[:7, :8] = 50  # a corner without edges
    for radius, iterations in ((2, 0), (2, 3), (3.5, 1)):
        twin = np.array(slow_flow(grey.tolist(), radius, iterations)).transpose(2, 0, 1)
        assert np.abs(edge_tangent_flow(grey, radius, iterations) - twin).max() < 1e-4


@pytest.mark.parametrize("numbers", [(8, 0.8, 0.9, 0.5, 0.8), (3, 0.95, 0.75, 0.2, 0.2)])
def test_photocopy_matches_its_formula(scene, numbers):
    twin = np.array(slow_photocopy((scene[..., 0] / 255).tolist(), *numbers))
    names = ("mask_radius", "sharpness", "threshold", "pct_black", "pct_white")
    sketch = photocopy(scene, **dict(zip(names, numbers, strict=True)))
    assert np.abs(sketch[..., 0] - 255 * twin).max() < 1.1 and 0.01 < ink_density(sketch) < 0.95


# --- known answers ----------------------------------------------------------------------------------------------------


def normal_cdf(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def edge_difference(x, sigma, k, tau, dark=80, bright=220):
    """D of a step from dark to bright between x = -1 and x = 0, with continuous Gaussians, in grey levels."""
    fine, coarse = (dark + (bright - dark) * normal_cdf((x + 0.5) / s) for s in (sigma, k * sigma))
    return fine - tau * coarse


@pytest.mark.parametrize(("style", "preset"), [names for names in ALL if names[0] != "photocopy"])
@pytest.mark.parametrize("turns", range(4))
def test_an_edge_gives_one_line_beside_it(style, preset, turns):
    photo = np.full((64, 64, 3), 80, np.uint8)
    photo[:, 32:] = 220
    sketch = np.rot90(draw(np.rot90(photo, turns), style, preset), -turns)[..., 0]
    numbers = sketches.parameters_of(style, preset)
    if style == "xdog":
        parts, level = (numbers["sigma"], numbers["k"], numbers["tau"]), 255 * numbers["eps"]
    else:
        parts, level = (numbers["sigma_c"], 1.6, numbers["rho"]), np.arctanh(numbers["tau"] - 1)
    difference = np.array([edge_difference(x, *parts) for x in range(-32, 32)])
    dark = np.flatnonzero(difference < level)  # positions with ink by the formula
    assert len(dark) <= 8 and dark[-1] == 31  # one line, on the dark side
    assert (sketch == sketch[0]).all()  # straight, up to the borders
    inked = np.flatnonzero(sketch[0] < 127.5)
    assert inked[-1] == 31 and set(inked) <= set(dark) and len(inked) >= min(3, len(dark) - 1)
    if preset != "celeba":  # which draws slight grey in dark areas
        far = np.abs(difference - level) > 0.5  # away from the edge of the line, sampling the Gaussian has no effect
        assert sketch[0][far & (difference > level)].min() == 255


def test_the_flow_runs_around_a_disc():
    y, x = np.mgrid[:41, :41] - 20
    flow = edge_tangent_flow(255.0 * (np.hypot(x, y) < 12), radius=3, iterations=3)
    ring = np.abs(np.hypot(x, y) - 12) < 2
    towards_centre = (flow[0] * x + flow[1] * y) / np.maximum(np.hypot(x, y), 1)
    assert np.allclose(np.hypot(*flow)[ring], 1) and np.abs(towards_centre[ring]).max() < 0.25


def test_fdog_closes_the_gaps_of_a_dashed_line():
    photo = np.full((64, 64, 3), 200, np.uint8)
    photo[:, 31:33] = 60
    photo[9::10, 31:33] = 200  # one pixel in ten is missing
    for style, closed in (("fdog", True), ("xdog", False)):
        middle = draw(photo, style)[5:60, 31:33, 0]
        assert (middle.max() < 128) == closed


def test_photocopy_darkens_pixels_darker_than_their_neighbourhood():
    photo = np.full((64, 64, 3), 200, np.uint8)
    photo[20:44, 30:34] = 80  # a stroke
    photo[:, 60:] = 190  # hardly darker
    for preset in PRESETS["photocopy"]:
        sketch = draw(photo, "photocopy", preset)[..., 0]
        assert sketch[24:40, 31:33].max() < 40 and sketch[:, 60:].min() > 200 and sketch[:, :20].min() > 200
    photo = np.full((64, 64, 3), 220, np.uint8)
    photo[:, :30] = 40  # an area: a larger neighbourhood fills more of it
    assert ink_density(draw(photo, "photocopy", "filled")) > 1.5 * ink_density(draw(photo, "photocopy", "copy"))


@every_preset
def test_an_even_photo_is_blank_paper(style, preset):
    for colour in ((255, 255, 255), (200, 170, 150), (128, 128, 128), (10, 20, 90), (1, 1, 1), (0, 0, 0)):
        sketch = draw(np.full((64, 64, 3), colour, np.uint8), style, preset)
        assert ink_density(sketch) == 0
        assert sketch.min() == 255 or (preset == "celeba" and sum(colour) < 600)  # which draws dark areas grey


@every_preset
def test_results_are_grey_sketches_of_any_size_and_always_the_same(style, preset):
    rng = np.random.default_rng(0)
    for shape in ((64, 64), (33, 70), (1, 1), (1, 9), (2, 2), (5, 1)):
        photo = rng.integers(0, 256, (*shape, 3), np.uint8)
        before = photo.copy()
        sketch = draw(photo, style, preset)
        assert sketch.shape == photo.shape and sketch.dtype == np.uint8 and (sketch == sketch[..., :1]).all()
        assert np.array_equal(draw(np.asfortranarray(photo), style, preset), sketch)
        assert np.array_equal(photo, before)
    assert np.array_equal(
        draw(photo[:, ::-1], style, preset), draw(np.ascontiguousarray(photo[:, ::-1]), style, preset)
    )


@every_preset
def test_a_mirrored_photo_gives_the_mirrored_sketch(style, preset, scene):
    """Up to rounding: mirrored flows sum in another order."""
    difference = draw(scene[:, ::-1], style, preset)[:, ::-1].astype(int) - draw(scene, style, preset)
    assert np.mean(np.abs(difference) > 1) < 0.01


@pytest.fixture(scope="module")
def faces(networks):
    from contextual_gan import joint
    from contextual_gan.files import images
    from contextual_gan.models import inference

    z = np.random.default_rng(0).uniform(-1, 1, (16, 100)).astype(np.float32)
    return images.to_uint8(joint.half(inference.generate(networks[0], z), "photo"))


def test_presets_draw_faces_with_a_useful_amount_of_ink_and_differ(faces):
    drawn = {names: np.stack([draw(face, *names) for face in faces])[..., 0] for names in ALL}
    for names, results in drawn.items():
        assert 0.05 < np.median([ink_density(result[..., None]) for result in results]) < 0.4, names
        assert (results.max(axis=(1, 2)) == 255).all() and (results.min(axis=(1, 2)) < 60).all(), names
    for i, names in enumerate(ALL):
        for others in ALL[:i]:
            assert np.mean(np.abs(drawn[names].astype(int) - drawn[others])) > 6, (names, others)


def test_ink_density():
    sketch = rgb(np.full((10, 10), 128))
    sketch[:3, :5] = 127
    assert ink_density(sketch) == 0.15


# --- parameters -------------------------------------------------------------------------------------------------------


def test_the_first_preset_is_the_default(scene):
    for style, function in STYLES.items():
        first = next(iter(PRESETS[style]))
        assert np.array_equal(draw(scene, style), draw(scene, style, first))
        assert np.array_equal(draw(scene, style), function(scene))
    assert np.array_equal(draw(scene), xdog(scene))


def test_numbers_override_the_preset(scene):
    changed = draw(scene, "xdog", "bold", sigma=2)
    assert np.array_equal(changed, xdog(scene, form="textbook", sigma=2, k=2.5, tau=0.97, phi=100.0))
    assert not np.array_equal(changed, draw(scene, "xdog", "bold"))
    assert sketches.parameters_of("xdog", "bold", sigma=2) == {
        "form": "textbook",
        "sigma": 2,
        "k": 2.5,
        "tau": 0.97,
        "eps": 0.0,
        "phi": 100.0,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"style": "dog"}, "style is 'dog'; it must be one of xdog, fdog, photocopy"),
        ({"preset": "kang"}, "preset of xdog is 'kang'; it must be one of celeba, textbook, pencil, bold"),
        ({"style": "fdog", "sigma": 1}, "fdog has no parameter sigma; it has radius, iterations, sigma_c, .*"),
        ({"form": "hard"}, "form is 'hard'; it must be one of tanh, textbook"),
        ({"sigma": 0}, "sigma is 0; it must be a number from 0.1 to 50"),
        ({"k": 1}, "k is 1; it must be a number from 1.01 to 50"),
        ({"tau": float("nan")}, "tau is nan; it must be .*"),
        ({"eps": 1.5}, "eps is 1.5; it must be .*"),
        ({"phi": "high"}, "phi is 'high'; it must be a number .*"),
        ({"phi": True}, "phi is True; it must be a number .*"),
        ({"style": "fdog", "iterations": 2.0}, r"iterations is 2\.0; it must be a whole number from 0 to 20"),
        ({"style": "fdog", "rho": 1.1}, "rho is 1.1; it must be .*"),
        ({"style": "photocopy", "pct_black": -0.1}, "pct_black is -0.1; it must be .*"),
    ],
)
def test_invalid_parameters_are_refused_in_one_line(scene, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        draw(scene, **arguments)


def test_functions_check_their_parameters(scene):
    for function, numbers in ((xdog, {"sigma": -1}), (fdog, {"radius": 0}), (photocopy, {"threshold": 2})):
        with pytest.raises(ValueError, match=rf"^{next(iter(numbers))} is "):
            function(scene, **numbers)
        for photo in (scene[..., 0], scene / 255, scene[:0], np.dstack([scene, scene])):
            with pytest.raises(ValueError, match=r"^a photo must be \(H, W, 3\) uint8, not \("):
                function(photo)


def test_every_parameter_works_at_both_ends_of_its_range(scene):
    for style in STYLES:
        for name, default in sketches.parameters_of(style).items():
            for value in sketches.CHOICES.get(name) or map(type(default), sketches.RANGES[name]):
                sketch = draw(scene, style, **{name: value})
                assert sketch.shape == scene.shape, name

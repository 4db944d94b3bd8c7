"""Draw a sketch from a photo, in three styles: `xdog`, `fdog` and `photocopy`; `draw` calls any of them.

A sketch is an (H, W, 3) uint8 array with equal channels, dark strokes on white; at 64 x 64 it is the left half of a
joint image. All presets are made for photos of 64 pixels: widths and radii are in pixels. Every style
is a pure function of the photo: same photo, same bytes. Borders are replicated.

Drawings by people are read by drawings.py.
"""

import inspect

import cv2
import numpy as np

CHOICES = {"form": ("tanh", "textbook")}
RANGES = {  # of the other parameters, both ends included; a shared name means the same in each style
    "sigma": (0.1, 50),
    "k": (1.01, 50),
    "tau": (0.001, 1),
    "eps": (-1, 1),
    "phi": (0.001, 1e6),
    "radius": (1, 16),
    "iterations": (0, 20),
    "sigma_c": (0.1, 50),
    "sigma_m": (0.1, 50),
    "rho": (0, 1),
    "mask_radius": (0, 500),
    "sharpness": (0, 1),
    "threshold": (0.001, 1),
    "pct_black": (0, 1),
    "pct_white": (0, 1),
}
EVEN = 1e-9  # a gradient below this (levels of 255 per pixel) is rounding, not an edge
INK_SIGMA = 1.0  # pixels, of the blur before sketches are compared; strokes of xdog() are just under 2 wide


# --- XDoG: differences of two blurs -----------------------------------------------------------------------------------


def xdog(photo, *, form="tanh", sigma=0.8, k=1.6, tau=0.98, eps=0.0, phi=200.0):
    """Draw the edges of a photo: extended difference of Gaussians (XDoG).

    photo: (H, W, 3) uint8 RGB. Returns (H, W, 3) uint8 with equal channels, dark strokes on white.
    With grey in [0, 1] and D = G(sigma) - tau G(k sigma), blurs of the grey, the sketch is, by `form`,
    tanh: 0.5 + 0.5 tanh(phi (D - eps)). The defaults fit it to sketches made by a co-author of the paper.
    Even areas are white in light parts of the photo, up to middle grey in black parts.
    textbook: 1 if D >= eps, else 1 + tanh(phi (D - eps)), from Winnemöller, Kyprianidis, Olsen, "XDoG: An eXtended
    difference-of-Gaussians compendium", Computers & Graphics 36 (2012). Their sharpened form, (1 + p) G(sigma) -
    p G(k sigma) with eps' and phi', is the same with tau = p / (1 + p), eps = eps' / (1 + p), phi = (1 + p) phi'.
    sigma: width of the strokes, pixels. k: ratio of the two blurs. tau: 1 draws noise too, lower values only clear
    edges. eps: higher draws more, above 0 also dark areas. phi: softness, low is pencil, high is ink.
    Raises ValueError for a parameter out of `RANGES`.
    """
    _check(photo, form=form, sigma=sigma, k=k, tau=tau, eps=eps, phi=phi)
    grey = _grey(photo).astype(np.float32) / 255
    difference = _blur(grey, sigma) - tau * _blur(grey, k * sigma) - eps
    if form == "tanh":
        return _sketch(0.5 + 0.5 * np.tanh(phi * difference))
    return _sketch(1 + np.tanh(phi * np.minimum(difference, 0)))


# --- FDoG: the same along the flow of edges ---------------------------------------------------------------------------


def fdog(photo, *, radius=2.0, iterations=3, sigma_c=1.0, sigma_m=2.0, rho=0.997, tau=0.8, phi=1000.0):
    """Draw coherent lines: flow-based difference of Gaussians (Kang, Lee, Chui, "Coherent Line Drawing", NPAR 2007).

    photo: (H, W, 3) uint8 RGB. Returns (H, W, 3) uint8 with equal channels, dark strokes on white.
    Section 3.1 of the paper, with grey in [0, 255] and f(t) = G(sigma_c) - rho G(1.6 sigma_c) in one dimension:
    F(x) = sum of f(t) grey(x + t n), over the straight line across the edge, n being normal to `edge_tangent_flow`;
    H(x) = sum of G(sigma_m)(s) F(x(s)), over the curve x(s) along the flow, in steps of one pixel.
    The paper draws black where H < 0 and 1 + tanh(H) < tau, that is, where H < h = arctanh(tau - 1). Here the sketch is
    1 if H >= h, else 1 + tanh(phi (H - h)), as in xdog(): the default `phi` is practically that step, a low one gives
    soft lines. The repetition of section 3.2, meant for large photos, is left out.
    radius, iterations: of the flow, radius in pixels. sigma_c: width of the strokes, sigma_m: length over which they
    are made coherent, both in pixels. rho: 1 draws noise too, less only clear edges. tau: lower draws less.
    Raises ValueError for a parameter out of `RANGES`.
    """
    _check(photo, radius=radius, iterations=iterations, sigma_c=sigma_c, sigma_m=sigma_m, rho=rho, tau=tau, phi=phi)
    grey = _grey(photo).astype(np.float64)
    flow = edge_tangent_flow(grey, radius, iterations)
    response = _along(flow, _across(flow, grey, sigma_c, rho), sigma_m)
    return _sketch(1 + np.tanh(phi * np.minimum(response - np.arctanh(tau - 1), 0)))


def edge_tangent_flow(grey, radius, iterations):
    """Directions along the edges of an (H, W) float64 image -> (2, H, W), unit vectors (x, y), 0 far from any edge.

    Kang et al. 2007, section 2.1: at first normal to the Sobel gradient; each iteration replaces t(x) by the normalised
    sum over |y - x| < radius of w(x, y) (t(x) . t(y)) t(y), w = (1 + tanh(g(y) - g(x))) / 2 with g the gradient's
    magnitude divided by its maximum: the directions of strong edges spread, whichever way along the edge they point.
    The paper does not define the direction where the gradient is 0. Here it is that of the image blurred by `radius`,
    so lines in drawings, whose areas are quite even, are as wide as in photos.
    """
    gradient = _gradient(grey)
    magnitude = np.hypot(*gradient)
    dx, dy = np.where(magnitude > EVEN, gradient, _gradient(_blur(grey, radius)))
    flow = np.stack([-dy, dx]) * (np.hypot(dx, dy) > EVEN) / np.maximum(np.hypot(dx, dy), EVEN)
    magnitude /= max(magnitude.max(), EVEN)
    weights = [0.5 + 0.5 * np.tanh(near - magnitude) for near in _neighbours(magnitude, radius)]
    for _ in range(iterations):
        smooth = np.zeros_like(flow)
        for weight, near in zip(weights, _neighbours(flow, radius), strict=True):
            smooth += weight * (near[0] * flow[0] + near[1] * flow[1]) * near
        flow = smooth / np.maximum(np.hypot(*smooth), EVEN)
    return flow


def _gradient(grey):
    """(2, H, W): Sobel derivatives in x and y."""
    axes = ((1, 0), (0, 1))
    return np.stack([cv2.Sobel(grey, cv2.CV_64F, *axis, borderType=cv2.BORDER_REPLICATE) for axis in axes])


def _neighbours(image, radius):
    """An (..., H, W) image moved by each offset shorter than `radius` pixels, as a list of arrays of that shape."""
    *_, height, width = image.shape
    reach = int(np.ceil(radius)) - 1
    padded = np.pad(image, [(0, 0)] * (image.ndim - 2) + [(reach, reach)] * 2, mode="edge")
    steps = range(-reach, reach + 1)
    disc = [(reach + y, reach + x) for y in steps for x in steps if x * x + y * y < radius * radius]
    return [padded[..., top : top + height, left : left + width] for top, left in disc]


def _across(flow, grey, sigma_c, rho):
    """The difference of Gaussians of an (H, W) image in one dimension, across the flow."""
    reach = int(np.ceil(3 * 1.6 * sigma_c))
    kernel = _gaussian(sigma_c, reach) - rho * _gaussian(1.6 * sigma_c, reach)
    y, x = np.indices(grey.shape, np.float64)
    sample = _sampler(grey)
    # One step at a time is faster than all at once, as small arrays stay in the cache.
    return sum(kernel[reach + t] * sample(x - t * flow[1], y + t * flow[0]) for t in range(-reach, reach + 1))


def _along(flow, values, sigma):
    """Gaussian smoothing of an (H, W) image along the flow, followed both ways by nearest neighbours."""
    height, width = values.shape
    kernel = _gaussian(sigma, reach := int(np.ceil(3 * sigma)))
    sample, towards = _sampler(values), flow.reshape(2, -1)
    smooth = kernel[reach] * values
    for way in (1, -1):
        (dx, dy), (y, x) = way * flow, np.indices(values.shape, np.float64)
        for weight in kernel[reach + 1 :]:
            x, y = np.clip(x + dx, 0, width - 1), np.clip(y + dy, 0, height - 1)
            smooth += weight * sample(x, y)
            nearest = np.rint(y).astype(np.int64) * width + np.rint(x).astype(np.int64)
            next_dx, next_dy = towards[0].take(nearest), towards[1].take(nearest)
            turned = next_dx * dx + next_dy * dy < 0  # t and -t are the same direction along an edge
            dx, dy = np.where(turned, -next_dx, next_dx), np.where(turned, -next_dy, next_dy)
    return smooth


def _gaussian(sigma, reach):
    """Weights at -reach ... reach, with sum 1."""
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return kernel / kernel.sum()


def _sampler(image):
    """sample(x, y): bilinear interpolation of an (H, W) image.

    Not cv2.remap: before OpenCV 5 that rounds positions to 1/32 pixel, which shows in differences of grey levels.
    """
    height, width = image.shape
    flat = np.pad(image, ((0, 1), (0, 1)), mode="edge").ravel()

    def sample(x, y):
        x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
        left, top = np.floor(x), np.floor(y)
        corner = top.astype(np.int64) * (width + 1) + left.astype(np.int64)
        right, down = x - left, y - top
        upper, lower = flat.take(corner), flat.take(corner + width + 1)
        upper = upper + right * (flat.take(corner + 1) - upper)
        lower = lower + right * (flat.take(corner + width + 2) - lower)
        return upper + down * (lower - upper)

    return sample


# --- photocopy: darker than the neighbourhood -------------------------------------------------------------------------


def photocopy(photo, *, mask_radius=8.0, sharpness=0.8, threshold=0.9, pct_black=0.5, pct_white=0.8):
    """Copy a photo as a poor photocopier would: black where it is darker than its neighbourhood.

    photo: (H, W, 3) uint8 RGB. Returns (H, W, 3) uint8 with equal channels, dark strokes on white.
    The filter "Photocopy" of GIMP (plug-ins/common/photocopy.c, Spencer Kimball 2001), without its rounding of each
    step to 8 bits. With grey in [0, 1], B its blur with radius max(1, 10 (1 - sharpness)), and the ratio R of B to the
    blur with radius `mask_radius` (a radius r is a sigma of (r + 1) / sqrt(2 ln 255)), the copy is
    B (1 - min(1, (threshold - R) / down)) where R < threshold, black from `down` below the threshold on;
    1 - (1 - B) (1 - min(1, (R - threshold) / up)) elsewhere, white from `up` above it on,
    with `down` such that the share pct_black of the pixels below the threshold becomes black, and `up` such that the
    share pct_white of the others becomes white. If the whole neighbourhood is black, GIMP's copy is black; here it is
    white, like every even area.
    mask_radius: in pixels, large ones fill areas. threshold: higher draws more; fixed to 0.75 in GIMP.
    Raises ValueError for a parameter out of `RANGES`.
    """
    _check(
        photo,
        mask_radius=mask_radius,
        sharpness=sharpness,
        threshold=threshold,
        pct_black=pct_black,
        pct_white=pct_white,
    )
    grey = _grey(photo).astype(np.float64) / 255
    radii = max(1, 10 * (1 - sharpness)), mask_radius
    tone, around = (_blur(grey, (radius + 1) / np.sqrt(2 * np.log(255))) for radius in radii)
    above = np.where(around > 2 / 255, tone / np.maximum(around, 2 / 255), 1) - threshold
    is_dark = above < 0
    down = -np.quantile(above[is_dark], pct_black) if is_dark.any() else 1
    up = np.quantile(above[~is_dark], 1 - pct_white) if not is_dark.all() else 1
    dark = tone * (1 - np.minimum(1, -above / max(down, 1e-6)))
    light = 1 - (1 - tone) * (1 - np.minimum(1, above / max(up, 1e-6)))
    return _sketch(np.where(is_dark, dark, light).clip(0, 1))


# --- all styles -------------------------------------------------------------------------------------------------------

STYLES = {"xdog": xdog, "fdog": fdog, "photocopy": photocopy}
PRESETS = {  # style -> preset -> changes to the function's defaults, which are the first preset
    "xdog": {
        "celeba": {},  # the co-author's, used to train the published weights
        "textbook": {"form": "textbook"},  # the same edges without the grey haze on dark areas
        "pencil": {"form": "textbook", "sigma": 1.0, "k": 2.0, "tau": 0.99, "phi": 30.0},  # soft, showing edge strength
        "bold": {"form": "textbook", "sigma": 1.0, "k": 2.5, "tau": 0.97, "phi": 100.0},  # a thick felt pen
    },
    "fdog": {
        "kang": {},  # the settings of the paper, at 64 pixels
        "contour": {"radius": 3.0, "sigma_m": 3.0, "rho": 0.98},  # few long lines
        "pencil": {"radius": 3.0, "tau": 1.0, "phi": 0.3},  # soft, showing edge strength
    },
    "photocopy": {
        "copy": {},
        "shaded": {"threshold": 0.88, "pct_white": 0.3},  # keeps greys, like GIMP's own settings
        "filled": {"mask_radius": 30.0, "sharpness": 0.9, "threshold": 0.8, "pct_black": 0.6},  # black hair and shadows
    },
}


def parameters_of(style="xdog", preset=None, **numbers):
    """All parameters of a style: its defaults, changed by the preset (default: the first), changed by `numbers`.

    Returns a dict of JSON values. Raises ValueError, in one line, for an unknown style, preset or parameter, and for
    a value out of `RANGES`.
    """
    if style not in STYLES:
        raise ValueError(f"style is {style!r}; it must be one of {', '.join(STYLES)}")
    defaults = {name: p.default for name, p in inspect.signature(STYLES[style]).parameters.items() if name != "photo"}
    preset = next(iter(PRESETS[style])) if preset is None else preset
    if preset not in PRESETS[style]:
        raise ValueError(f"preset of {style} is {preset!r}; it must be one of {', '.join(PRESETS[style])}")
    for name in numbers:
        if name not in defaults:
            raise ValueError(f"{style} has no parameter {name}; it has {', '.join(defaults)}")
    found = defaults | PRESETS[style][preset] | numbers
    _check(None, **found)
    return found


def draw(photo, style="xdog", preset=None, **numbers):
    """Draw a photo in a style of `STYLES` with a preset of `PRESETS[style]` (default: the first).

    photo: (H, W, 3) uint8 RGB, of 64 pixels for the presets to fit. Returns (H, W, 3) uint8 with equal channels, dark
    strokes on white. numbers: parameters that override the preset's.
    Raises ValueError, in one line, like `parameters_of`, and for an invalid photo.
    """
    parameters = parameters_of(style, preset, **numbers)
    return STYLES[style](photo, **parameters)


def ink_density(sketch):
    """Share of the pixels of an (H, W, 3) uint8 sketch that are darker than middle grey; 0.05 to 0.4 is usual."""
    return float((sketch[..., 0] < 127.5).mean())


def _check(photo, **parameters):
    """Raise ValueError, naming the problem, unless photo and parameters are valid for the styles."""
    if photo is not None and (photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or photo.size == 0):
        raise ValueError(f"a photo must be (H, W, 3) uint8, not {photo.shape} {photo.dtype}")
    for name, value in parameters.items():
        if name in CHOICES:
            if value not in CHOICES[name]:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(CHOICES[name])}")
            continue
        low, high = RANGES[name]
        kind, word = (int, "a whole number") if name == "iterations" else ((int, float), "a number")
        if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{name} is {value!r}; it must be {word} from {low:g} to {high:g}")


def _grey(photo):
    return cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)


def _blur(grey, sigma):
    return cv2.GaussianBlur(grey, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)


def _sketch(tone):
    """(H, W) float in [0, 1] -> (H, W, 3) uint8."""
    return np.repeat((tone * 255).round().astype(np.uint8)[..., None], 3, axis=2)

"""The metrics of evaluation: SSIM, PSNR, sketch consistency, and the bootstrap interval of a mean.

Images are uint8 batches, (n, H, W, 3) RGB; each metric returns (n,) float64, one value per image, which depends on
that image alone. Only the generated half is compared: the other half of a joint is a copy of the input.
"""

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from contextual_gan.preparation.sketches import INK_SIGMA, xdog

WINDOW = 11  # pixels: the Gaussian window of Wang 2004
LEVELS = 255.0  # the data range


def ssim(images, truths):
    """Structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004), from -1 to 1, 1 for identical images.

    Gaussian window of 11 x 11 pixels with sigma 1.5, K1 0.01, K2 0.03, data range 255, population covariance; the mean
    over the channels and over all positions of the window inside the image.
    Raises ValueError for another shape or type, and for fewer than 11 x 11 pixels.
    """
    images, truths = _checked(images, truths)
    height, width = images.shape[1:3]
    if min(height, width) < WINDOW:
        raise ValueError(f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, got {width} x {height}")
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": LEVELS}
    pairs = zip(images.astype(np.float64), truths.astype(np.float64), strict=True)
    return np.array([structural_similarity(x, y, channel_axis=-1, **wang) for x, y in pairs])


def psnr(images, truths):
    """Peak signal-to-noise ratio in dB over all pixels and channels of each image, inf for identical images.

    10 log10(255^2 / mean squared error). Raises ValueError for another shape or type.
    """
    images, truths = _checked(images, truths)
    errors = np.array([np.square(i.astype(np.float64) - t).mean() for i, t in zip(images, truths, strict=True)])
    with np.errstate(divide="ignore"):
        return 10 * np.log10(LEVELS**2 / errors)


def likeness(images, truths):
    """SSIM and PSNR of the same images: {"ssim": (n,), "psnr": (n,)}."""
    return {"ssim": ssim(images, truths), "psnr": psnr(images, truths)}


def sketch_consistency(sketches, photos):
    """Sketch consistency: how well the edges of a photo match the strokes of a sketch; higher is better, 1 is perfect.

    corr(G * sketch, G * xdog(photo)): the Pearson correlation, over the pixels, of the grey sketch and the sketch that
    `sketches.xdog` draws of the photo, both blurred with a Gaussian of 1 pixel. It lies between -1 and 1, and is 0 if
    either is blank. [measured] Faces look alike: a photo of somebody else still scores 0.19. Paler strokes score the
    same; a sketch shifted by one pixel scores 0.90, strokes one pixel thicker 0.93, one pixel thinner 0.90.
    sketches, photos: pairs; either may be the generated one. Raises ValueError for another shape or type.
    """
    sketches, photos = _checked(sketches, photos)
    return np.array([_correlation(_ink(s), _ink(xdog(p))) for s, p in zip(sketches, photos, strict=True)])


def _ink(sketch):
    """Blurred grey minus its mean."""
    grey = cv2.cvtColor(sketch, cv2.COLOR_RGB2GRAY).astype(np.float64)
    grey = cv2.GaussianBlur(grey, (0, 0), INK_SIGMA, borderType=cv2.BORDER_REPLICATE)
    return grey - grey.mean()


def _correlation(a, b):
    scale = np.sqrt((a * a).mean() * (b * b).mean())
    if scale < 1e-9:  # a blank page, up to rounding
        return 0.0
    return float(np.clip((a * b).mean() / scale, -1, 1))


def diversity(samples):
    """Diversity of K samples per input: (n, K, H, W, 3) uint8 -> (n,), in levels out of 255.

    The mean absolute difference over all pixels, channels and pairs of samples; 0 if all samples are equal.
    Raises ValueError for fewer than two samples.
    """
    samples = np.asarray(samples)
    if samples.dtype != np.uint8 or samples.ndim != 5 or samples.shape[1] < 2:
        raise ValueError(
            f"samples must be (n, K, height, width, 3) uint8 with K at least 2; got {samples.shape} {samples.dtype}"
        )
    k = samples.shape[1]
    pairs = [(i, j) for j in range(k) for i in range(j)]
    wide = samples.astype(np.int16)
    return np.mean([np.abs(wide[:, i] - wide[:, j]).mean(axis=(1, 2, 3)) for i, j in pairs], axis=0)


def bootstrap(values, seed=0, resamples=2000):
    """Mean of the finite values and its 95% interval by the percentile bootstrap -> (mean, low, high), floats.

    Depends only on the set of values and the seed, not on the order. Raises ValueError if no value is finite.
    """
    values = np.sort(np.asarray(values, np.float64))
    values = values[np.isfinite(values)]
    if not len(values):
        raise ValueError("the mean needs at least one finite value")
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(resamples)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(values.mean()), float(low), float(high)


def summary(values):
    """{"mean", "low", "high"} from `bootstrap` as JSON values: inf is "inf", the mean of no values None."""
    values = np.asarray(values, np.float64)
    if np.isfinite(values).any():
        return dict(zip(("mean", "low", "high"), bootstrap(values), strict=True))
    return dict.fromkeys(("mean", "low", "high"), json_value(values[0]) if len(values) else None)


def summaries(values):
    """{metric: (n,)} -> {metric: its `summary`}; for PSNR, identical images are counted, not averaged."""
    found = {metric: summary(numbers) for metric, numbers in values.items()}
    if "psnr" in values:
        found["psnr"]["identical"] = int(np.isposinf(values["psnr"]).sum())
    return found


def json_value(value):
    """A float in strict JSON: inf as "inf", NaN as None."""
    return "inf" if value == np.inf else float(value) if np.isfinite(value) else None


def _checked(images, truths):
    images, truths = np.asarray(images), np.asarray(truths)
    for batch in (images, truths):
        if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[-1] != 3 or not batch.size:
            raise ValueError(f"images must be (n, height, width, 3) uint8, got {batch.shape} {batch.dtype}")
    if images.shape != truths.shape:
        raise ValueError(f"images and truths differ in shape: {images.shape} and {truths.shape}")
    return images, truths

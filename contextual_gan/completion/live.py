"""A model kept in memory: a face immediately after every stroke, and a stepwise search from that face.

    from contextual_gan.completion.live import Live

    live = Live("celeba")
    face = live.encode(sketch)  # (64, 64, 3) uint8, as from `drawings.read_drawing`; a few milliseconds
    for face in live.refine(sketch, faithful=0.5):  # break to stop
        show(face.joints[0])  # (64, 128, 3) uint8: the generated sketch and photo

The web page uses this module, but the module needs none of the page's dependencies.
"""

from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from contextual_gan.completion.losses import distribution, kl_divergence
from contextual_gan.completion.search import anchored, search_in_steps, starts
from contextual_gan.config import DEFAULT_PRESET, PRESETS
from contextual_gan.files.images import to_float, to_uint8
from contextual_gan.joint import DIRECTIONS, SIZE, half
from contextual_gan.models.consistency import consistency, grey
from contextual_gan.models.dcgan import LATENT
from contextual_gan.models.inference import folded, padded
from contextual_gan.models.weights import learned_from_joints, load_encoder, load_networks, pin


@dataclass(frozen=True)
class Faces:
    """K faces for one known half, the best first, after `step` of `steps` evaluations of the search."""

    joints: np.ndarray  # (K, 64, 128, 3) uint8: G(z)
    z: np.ndarray  # (K, 100) float32 in [-1, 1]
    contextual: np.ndarray  # (K,) KL(generated || known) of the known half, in nats
    consistency: np.ndarray  # (K,) correlation of the sketch with the edges of the photo, at most 1
    step: int = 0
    steps: int = 0


class Live:
    """Networks, loaded and compiled once; only one thread may call them at a time.

    weights: a published name, a .safetensors file or a run folder, with encoders.
    preset: one of `config.PRESETS` that starts from an encoder.
    Raises `WeightsError` if there are no such weights or no encoder for them.
    """

    def __init__(self, weights="celeba", preset=DEFAULT_PRESET):
        weights = pin(weights)
        self.settings = PRESETS[preset]
        self.encoders = {direction: load_encoder(weights, direction) for direction in DIRECTIONS}
        self.learned_from_joints = {direction: learned_from_joints(weights, direction) for direction in DIRECTIONS}
        self.generator, self.discriminator = load_networks(weights)
        self._generate = folded(self.generator)
        self._encode = {direction: folded(encoder.network) for direction, encoder in self.encoders.items()}

    def warm(self, direction="photo"):
        """Compile the search now, in a second or two, so the first user does not wait."""
        next(self.refine(np.full((SIZE, SIZE, 3), 255, np.uint8), direction=direction, samples=2))

    def encode(self, known, *, direction="photo"):
        """The encoder's result for a known half -> `Faces` with one face, without a search.

        known: (64, 64, 3) uint8: a sketch, or with `direction="sketch"` a photo.
        """
        z = _forward(self._encode[direction], _checked(known)[None])
        return self._faces(z, known, direction)

    def generate(self, z, known=None, *, direction="photo"):
        """G of z (K, 100) float32 -> `Faces`; compared with a known half, or with its own half if there is none.

        Raises ValueError for another shape, and for numbers outside [-1, 1].
        """
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or z.shape[1] != LATENT or not len(z) or not np.all(np.abs(z) <= 1):
            raise ValueError(f"z must be (K, {LATENT}) numbers from -1 to 1, got {z.shape}")
        return self._faces(z, known, direction)

    def refine(self, known, *, direction="photo", faithful=1.0, samples=1, seed=0, every=5):
        """Search from the encoder's face: a generator of `Faces`, one after each `every` evaluations; the last is the
        result.

        faithful: from 0, the encoder's face without a search, to 1, as close to the drawing as G can get. samples: K
        different faces. The result equals that of `search.complete` with the same settings.
        Raises ValueError for numbers out of range.
        """
        settings, encoder = self.settings, self.encoders[direction]
        if not 1 <= samples <= settings.n_init:
            raise ValueError(f"samples is {samples}; it must be from 1 to {settings.n_init}")
        halves, steps = _checked(known)[None], settings.iterations + 1
        prior, is_searched = anchored(faithful, 1, settings, encoder)
        (initial,) = starts(self.generator, halves, direction, settings, samples, seed, samples, encoder)
        if not is_searched:
            yield replace(self._faces(initial, known, direction), step=steps, steps=steps)
            return
        step, rows = 0, np.repeat(halves, samples, axis=0)
        anchor = {"prior": np.repeat(prior, samples), "centre": initial, "encoder": encoder}
        options = {"direction": direction, "settings": settings, "chunk": every, **anchor}
        for state, losses in search_in_steps(self.generator, self.discriminator, rows, initial, **options):
            step += len(losses)
            rank = np.argsort(state.best_total.numpy()[:samples], kind="stable")
            yield replace(self._faces(state.best_z.numpy()[rank], known, direction), step=step, steps=steps)

    def _faces(self, z, known, direction):
        joints = _forward(self._generate, z)
        if not np.isfinite(joints).all():
            raise FloatingPointError("the network produced non-finite values: its weights are damaged")
        name = DIRECTIONS[direction]
        knowns = half(joints, name) if known is None else np.repeat(_checked(known)[None], len(z), axis=0)
        pair = {name: knowns, direction: half(joints, direction)}
        contextual, fit = _rated(half(joints, name), knowns, pair["sketch"], pair["photo"])
        return Faces(to_uint8(joints), z, contextual.numpy(), fit.numpy())


def _checked(known):
    """A known half as float32 in [-1, 1]. Raises ValueError."""
    known = np.asarray(known)
    if known.shape != (SIZE, SIZE, 3) or known.dtype != np.uint8:
        raise ValueError(f"a known half must be ({SIZE}, {SIZE}, 3) uint8, got {known.shape} {known.dtype}")
    return to_float(known)


def _forward(network, rows):
    """Run a `folded` network, like `inference.encode` and `generate`, which fold it first."""
    return network(padded(rows))[: len(rows)].numpy()


HALF = tf.TensorSpec((None, SIZE, SIZE, 3))


@tf.function(input_signature=[HALF] * 4, autograph=False)
def _rated(generated, known, sketches, photos):
    """(contextual loss (n,), sketch consistency (n,)) of halves (n, 64, 64, 3) in [-1, 1]."""
    contextual = kl_divergence(distribution(generated), distribution(known))
    return contextual, consistency(*(tf.cast(grey(images), tf.float64) for images in (sketches, photos)))

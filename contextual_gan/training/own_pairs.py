"""Own-pair consistency: whether the two halves of G's joints belong together, which shows that training succeeds."""

import numpy as np
import tensorflow as tf

from contextual_gan.files.images import to_uint8
from contextual_gan.joint import half
from contextual_gan.models import consistency
from contextual_gan.preparation import sketches

NAMES = ("own_pairs_g", "own_pairs_average")  # in stats.jsonl
STRANGERS = 0.5  # halves with a lower consistency do not belong together; those of two people have 0.19
OWN_STYLE = 0.9  # a sketch with at least this consistency was drawn by that filter, up to rounding


def consistencies(joints, styles):
    """Consistency of each joint's sketch with the sketch that each style's filter draws of its photo -> (n, styles).

    joints: (n, 64, 128, 3) uint8. From -1 to 1, like `metrics.sketch_consistency`.
    """
    drawn, photos = half(joints, "sketch"), half(joints, "photo")
    grey = consistency.grey(tf.constant(drawn, tf.float32) / 127.5 - 1)
    columns = []
    for style in styles:
        filtered = np.stack([sketches.draw(photo, style)[..., 0] for photo in photos])
        columns.append(consistency.correlation(grey, tf.constant(filtered, tf.float32) / 255))
    return tf.stack(columns, axis=1).numpy()


def styles_of(joints):
    """The styles of `sketches.STYLES` in which the sketches of true joints (n, 64, 128, 3) uint8 were drawn.

    If none matches, as for drawings by people or by a filter with other parameters, the most consistent style.
    """
    found = consistencies(joints, sketches.STYLES)
    drew = (found.max(axis=1, keepdims=True) > OWN_STYLE) & (found == found.max(axis=1, keepdims=True))
    names = [style for style, any_ in zip(sketches.STYLES, drew.any(axis=0), strict=True) if any_]
    return names or [list(sketches.STYLES)[int(found.mean(axis=0).argmax())]]


def summary(joints, styles):
    """{"": mean consistency of joints, each with its best style; STYLE: that of the joints of a style, if several}."""
    found = consistencies(joints, styles)
    best, drawn_in = found.max(axis=1), found.argmax(axis=1)
    parts = {style: best[drawn_in == i] for i, style in enumerate(styles) if len(styles) > 1}
    return {name: float(values.mean()) for name, values in ({"": best} | parts).items() if len(values)}


def judge_function(networks, z, styles, *, epoch, lines, warn):
    """judge(step) -> {"own_pairs_NAME": mean consistency of the joints of z, ...} for `loop.train`.

    networks: {name: generator}; z: (n, 100); styles: from `styles_of`. If several, adds "own_pairs_NAME_STYLE".
    warn(line) is called if the best of all networks has been below 0.5 for an epoch. epoch: its length in steps. lines:
    of stats.jsonl, with earlier results.
    """
    judged = [(line["step"], best) for line in lines if (best := _best(line, networks)) is not None]

    def judge(step):
        values = {}
        for name, network in networks.items():
            found = summary(to_uint8(network(z, training=False).numpy()), styles)
            values |= {"_".join(filter(None, ("own_pairs", name, style))): value for style, value in found.items()}
        before = judged[-1][0] if judged else 0
        judged.append((step, _best(values, networks)))
        if step // epoch > before // epoch:
            highest = max(best for at, best in judged if at > min(step - epoch, before))
            if highest < STRANGERS:
                warn(
                    f"step {step}: the halves of generated joints have not belonged together for an epoch (own-pair "
                    f"consistency {highest:.2f}, near 1 for true joints); train.pairs and train.edges tie them together"
                )
        return values

    return judge


def _best(values, networks):
    return max((values[key] for name in networks if (key := f"own_pairs_{name}") in values), default=None)

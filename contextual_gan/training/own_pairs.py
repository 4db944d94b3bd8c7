"""Own-pair consistency: whether the two halves of what G draws belong together, the sign that training goes well."""

import numpy as np
import tensorflow as tf

from contextual_gan.files.images import to_uint8
from contextual_gan.joint import half
from contextual_gan.models import consistency
from contextual_gan.preparation import sketches

NAMES = ("own_pairs_g", "own_pairs_average")  # in stats.jsonl
STRANGERS = 0.5  # halves that fit less well than this do not belong together; faces of two people have 0.19
OWN_STYLE = 0.9  # a sketch that fits its photo as well as this was drawn by that filter, but for the rounding


def consistencies(joints, styles):
    """How well the sketch of each joint fits what the filter of each style draws of its photo -> (n, styles) float.

    joints: (n, 64, 128, 3) uint8. From -1 to 1, as `metrics.sketch_consistency`.
    """
    drawn, photos = half(joints, "sketch"), half(joints, "photo")
    grey = consistency.grey(tf.constant(drawn, tf.float32) / 127.5 - 1)
    columns = []
    for style in styles:
        filtered = np.stack([sketches.draw(photo, style)[..., 0] for photo in photos])
        columns.append(consistency.correlation(grey, tf.constant(filtered, tf.float32) / 255))
    return tf.stack(columns, axis=1).numpy()


def styles_of(joints):
    """Which of `sketches.STYLES` drew the sketches of true joints (n, 64, 128, 3) uint8.

    The one that fits best where none did: strokes of people, or of a filter with other parameters.
    """
    found = consistencies(joints, sketches.STYLES)
    drew = (found.max(axis=1, keepdims=True) > OWN_STYLE) & (found == found.max(axis=1, keepdims=True))
    names = [style for style, any_ in zip(sketches.STYLES, drew.any(axis=0), strict=True) if any_]
    return names or [list(sketches.STYLES)[int(found.mean(axis=0).argmax())]]


def summary(joints, styles):
    """{"": mean consistency of joints, each with the style that fits it best; STYLE: that of those, if several}."""
    found = consistencies(joints, styles)
    best, drawn_in = found.max(axis=1), found.argmax(axis=1)
    parts = {style: best[drawn_in == i] for i, style in enumerate(styles) if len(styles) > 1}
    return {name: float(values.mean()) for name, values in ({"": best} | parts).items() if len(values)}


def judge_function(networks, z, styles, *, epoch, lines, warn):
    """judge(step) -> {"own_pairs_NAME": mean consistency of the joints of z, ...} for `loop.train`.

    networks: {name: generator}; z: (n, 100); styles: of `styles_of`. If several, there is "own_pairs_NAME_STYLE" too.
    warn(line) is called when the best of all networks has been under 0.5 over an epoch of so many steps. lines: of
    stats.jsonl, what was judged before.
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
                    f"step {step}: the halves of generated joints have not belonged together over an epoch (own-pair "
                    f"consistency {highest:.2f}, of true joints near 1); train.pairs and train.edges tie them together"
                )
        return values

    return judge


def _best(values, networks):
    return max((values[key] for name in networks if (key := f"own_pairs_{name}") in values), default=None)

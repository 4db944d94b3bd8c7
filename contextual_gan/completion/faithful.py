"""How closely a search follows its input: from 0, the encoder's plausible face, to 1, a free search.

The centre of the search's prior is the encoder's z. The weight of the prior limits how far the search may leave it.
"""

import numpy as np

# Defaults by kind of input, for encoders that were trained on true joint images; with others, whose own results are
# blurred, the prior of the preset is the default. On drawings by people, any search blackens eyes and adds blotches.
# Computed sketches deserve trust if the encoder finds a face that explains their strokes: F rises from 0 to `most`
# while the fit (see `search.encoder_fit`) rises from `low` to `high`. All numbers were chosen on the images of
# `config.CHOOSING`, at five roughnesses; a larger `most` loses PSNR, a smaller one identity.
BY_KIND = {"sketch": {"most": 0.75, "low": 0.6, "high": 0.8}, "drawing": 0.0, "photo": 1.0}


def prior_weight(faithful):
    """The weight of the prior: it falls geometrically, from 100 near 0, where z hardly moves, to 0.1 at 1."""
    return 10 ** (2 - 3 * faithful)


def of_kinds(faithful, kinds, known, fit):
    """How closely to follow n known halves of these kinds -> (n,), or None, so that the prior of the settings applies.

    faithful: one number for all, a dict like `BY_KIND`, or None. fit: a function of known halves that returns their
    fit; it is called only for those whose value depends on it. Such values are rounded to two digits.
    """
    if faithful is None:
        return None
    found = [faithful[kind] if isinstance(faithful, dict) else faithful for kind in kinds]
    rows = [row for row, value in enumerate(found) if isinstance(value, dict)]
    for row, value in zip(rows, fit(known[rows]) if rows else (), strict=True):
        rule = found[row]
        share = (float(value) - rule["low"]) / (rule["high"] - rule["low"])
        found[row] = round(rule["most"] * min(max(share, 0), 1), 2)
    return np.array(found, np.float64)

"""How closely a search follows its input: from 0, the plausible face that the encoder gives, to 1, a free search.

The prior of the search is about the z that the encoder gives. Its weight says how far the search may leave that.
"""

import numpy as np

BY_KIND = {"sketch": 0.5, "drawing": 0.0, "photo": 0.75}  # of what a reader of images takes its input for


def prior_weight(faithful):
    """The weight of the prior: it falls geometrically, from 10 near 0, where z hardly moves, to 0.1 at 1."""
    return 10 ** (1 - 2 * faithful)


def of_kinds(faithful, kinds):
    """How closely to follow inputs of these kinds -> (n,), or None, which leaves it to the prior of the settings.

    faithful: one number for all, a dict as `BY_KIND`, or None.
    """
    if faithful is None:
        return None
    return np.array([faithful[kind] if isinstance(faithful, dict) else faithful for kind in kinds], np.float64)

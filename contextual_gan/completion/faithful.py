"""How closely a search follows its input: from 0, the encoder's plausible face, to 1, a free search.

The centre of the search's prior is the encoder's z. The weight of the prior limits how far the search may leave it.
"""

import numpy as np

# Defaults by kind of input, for encoders that were trained on true joint images; with others, whose own results are
# blurred, the prior of the preset is the default. On drawings by people, any search blackens eyes and adds blotches.
# For computed sketches, 0.75 is a compromise on the images of `config.CHOOSING`: more loses PSNR, less loses identity.
BY_KIND = {"sketch": 0.75, "drawing": 0.0, "photo": 1.0}


def prior_weight(faithful):
    """The weight of the prior: it falls geometrically, from 100 near 0, where z hardly moves, to 0.1 at 1."""
    return 10 ** (2 - 3 * faithful)


def of_kinds(faithful, kinds):
    """How closely to follow inputs of these kinds -> (n,), or None, so that the prior of the settings applies.

    faithful: one number for all, a dict like `BY_KIND`, or None.
    """
    if faithful is None:
        return None
    return np.array([faithful[kind] if isinstance(faithful, dict) else faithful for kind in kinds], np.float64)

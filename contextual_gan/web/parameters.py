"""The parameters of a request, read from its query; values that do not match their pattern are refused."""

import re
from types import SimpleNamespace

from contextual_gan.joint import DIRECTIONS
from contextual_gan.web.guard import Refused

MOST_SAMPLES = 4
PATTERNS = {  # name: (pattern, conversion, default)
    "direction": ("|".join(DIRECTIONS), str, "photo"),
    "kind": ("canvas|known", str, "canvas"),
    "crop": ("auto|none", str, "auto"),
    "page": ("[A-Za-z0-9-]{1,64}", str, ""),
    "number": ("[0-9]{1,9}", int, 0),
    "seed": ("[0-9]{1,9}", int, 0),
    "samples": (f"[1-{MOST_SAMPLES}]", int, 1),
    "faithful": (r"0|1|0?\.[0-9]{1,6}|[01]\.0{1,6}", float, 1.0),
}


def parameters(request, *names):
    """The named parameters as attributes. Raises `Refused` for an invalid value or an unknown parameter."""
    given, found = request.query_params.multi_items(), {name: PATTERNS[name][2] for name in names}
    for name, text in given:
        if name not in names:
            raise Refused(422, f"Unknown parameter; the parameters are: {', '.join(names)}.")
        pattern, read, _ = PATTERNS[name]
        if not re.fullmatch(pattern, text, re.ASCII):
            raise Refused(422, f"The parameter {name} is not valid.")
        found[name] = read(text)
    return SimpleNamespace(**found)

"""Fields of settings: their help, range or choices, and the conversion of YAML values."""

import json
import math
import re
import reprlib
from dataclasses import field, fields
from types import UnionType
from typing import get_args, get_origin

KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")  # YAML 1.1 reads 1e-4 as text


def setting(default, help, *, low=None, high=None, choices=None):
    """A field of settings: its default, one line of help, and its range (both ends included) or its choices."""
    return field(default=default, metadata={"help": help, "range": (low, high), "choices": choices})


def check(settings):
    """The `__post_init__` of settings. Raises ValueError, in one line, for a value that is not allowed."""
    for f in fields(settings):
        value = getattr(settings, f.name)
        if reason := refusal(f, value):
            raise ValueError(f"{key_of(f)} is {shown(value)}; {reason}")


def key_of(field):
    """The name of a field in files, flags and messages; `lambda` is a Python keyword."""
    return field.name.rstrip("_")


def converted(value, kind):
    """Convert a YAML value to the type of a field. Raises TypeError naming the required type."""
    if get_origin(kind) is UnionType:  # int | None
        return None if value is None else converted(value, get_args(kind)[0])
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError("it must be a list in brackets, such as [a, b]")
        return tuple(converted(element, get_args(kind)[0]) for element in value)
    if kind is float and (type(value) is int or (type(value) is str and EXPONENT.fullmatch(value))):
        return float(str(value))  # an integer too large for a float becomes infinite, which is refused
    if type(value) is not kind:  # not isinstance: true is not a number
        raise TypeError(f"it must be {KINDS[kind]}")
    return value


def refusal(field, value):
    """The requirement that the value violates, or None if it is valid."""
    if isinstance(value, tuple):
        if not value:
            return "it must not be empty"
        if len(set(value)) < len(value):
            return "it must not contain duplicates"
    choices, (low, high) = field.metadata["choices"], field.metadata["range"]
    for element in value if isinstance(value, tuple) else (value,):
        if choices and element not in choices:
            return f"it must be {'made of' if isinstance(value, tuple) else 'one of'} {', '.join(choices)}"
        if low is not None and element is not None and not low <= element <= high:  # also for NaN
            return f"it must be from {low} to {high}"
        if isinstance(element, float) and not math.isfinite(element):
            return "it must be finite"
    return None


def shown(value):
    """A value for a message: short, in one line, in YAML."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else reprlib.repr(value)
    return text if len(text) <= 80 else text[:80] + "..."

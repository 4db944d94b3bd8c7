"""Fields of settings: their help, range or choices, and how a value read from YAML becomes one of them."""

import json
import math
import re
import reprlib
from dataclasses import field, fields
from types import UnionType
from typing import get_args, get_origin

KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
EXPONENT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")  # YAML 1.1 takes 1e-4 for a text


def setting(default, help, *, low=None, high=None, choices=None):
    """A field of settings: its default, one line of help, and its range (both ends included) or its choices."""
    return field(default=default, metadata={"help": help, "range": (low, high), "choices": choices})


def check(settings):
    """The `__post_init__` of settings. Raises ValueError, in one line, for a value out of range or not offered."""
    for f in fields(settings):
        value = getattr(settings, f.name)
        if reason := refusal(f, value):
            raise ValueError(f"{key_of(f)} is {shown(value)}, {reason}")


def key_of(field):
    """What a field is called in files, flags and messages: `lambda` is a word of Python's."""
    return field.name.rstrip("_")


def converted(value, kind):
    """A value that YAML has read, as the type of a field. Raises TypeError saying what it must be."""
    if get_origin(kind) is UnionType:  # int | None
        return None if value is None else converted(value, get_args(kind)[0])
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError("it must be a list in brackets, such as [a, b]")
        return tuple(converted(element, get_args(kind)[0]) for element in value)
    if kind is float and (type(value) is int or (type(value) is str and EXPONENT.fullmatch(value))):
        return float(str(value))  # an integer beyond all floats becomes infinite, which is refused
    if type(value) is not kind:  # not isinstance: true is no number
        raise TypeError(f"it must be {KINDS[kind]}")
    return value


def refusal(field, value):
    """What the value must be instead, or None if a field may have it."""
    if isinstance(value, tuple):
        if not value:
            return "it must not be empty"
        if len(set(value)) < len(value):
            return "it must not name anything twice"
    choices, (low, high) = field.metadata["choices"], field.metadata["range"]
    for element in value if isinstance(value, tuple) else (value,):
        if choices and element not in choices:
            return f"it must be {'made of' if isinstance(value, tuple) else 'one of'} {', '.join(choices)}"
        if low is not None and element is not None and not low <= element <= high:  # also where it is not a number
            return f"it must be from {low} to {high}"
        if isinstance(element, float) and not math.isfinite(element):
            return "it must be finite"
    return None


def shown(value):
    """A value in a message: short, in one line, as YAML writes it."""
    text = json.dumps(value) if value is None or isinstance(value, bool) else reprlib.repr(value)
    return text if len(text) <= 80 else text[:80] + "..."

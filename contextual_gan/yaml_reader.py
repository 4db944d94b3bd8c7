"""A strict YAML reader: only plain values, no duplicate keys, and one-line errors with the line number.

Imports nothing heavy, so that `--help` responds at once.
"""

from pathlib import Path

LARGEST_FILE = 10**5  # bytes; a configuration has a few thousand


def read(path):
    """The content of a YAML file, None if it is empty. Raises ValueError in one line."""
    try:
        if not Path(path).is_file():
            raise ValueError(f"{path}: {'not a file' if Path(path).exists() else 'no such file'}")
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise ValueError(f"{path}: over {LARGEST_FILE / 1e3:.0f} kB, not a configuration")
    try:
        return parse(data.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text, so not a configuration") from error


def parse(text, origin):
    """YAML -> plain values, with the loader that creates no other objects. Raises ValueError with origin and line."""
    import yaml

    try:
        _check_keys(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = f"line {mark.line + 1}: {error.problem or error.context}"
    except yaml.reader.ReaderError:
        reason = "not text, so not a configuration"
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:  # also for values: 40 May, a number of 5,000 digits
        reason = str(error)
    except Exception as error:  # a tag with an invalid value, such as !!timestamp "99-99" or !!bool x
        reason = f"a value invalid for its tag ({type(error).__name__})"
    raise ValueError(f"{origin}: {' '.join(reason.split())}")


def _check_keys(root):
    """Raise ValueError for a duplicate key (YAML would keep the last) and for merged mappings.

    A few lines of nested merges could create mappings that fill the memory.
    """
    todo, seen = [("", root)], set()
    while todo:
        prefix, node = todo.pop()
        if node is None or node.id == "scalar" or id(node) in seen:
            continue
        seen.add(id(node))
        if node.id == "sequence":
            todo += [(prefix, element) for element in node.value]
            continue
        lines = {}
        for key, value in node.value:
            line, name = key.start_mark.line + 1, f"{prefix}{key.value}" if key.id == "scalar" else prefix
            if key.tag == "tag:yaml.org,2002:merge":
                raise ValueError(f"line {line}: << is not supported")
            if key.id == "scalar" and name in lines:
                raise ValueError(f"line {line}: duplicate key {name}, first in line {lines[name]}")
            lines[name] = line
            todo += [("", key), (f"{name}.", value)]

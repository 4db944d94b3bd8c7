"""The library in layers: which modules may import which, checked from the source."""

import ast
from functools import lru_cache
from graphlib import TopologicalSorter

import pytest
from conftest import ROOT

LIBRARY = ROOT / "contextual_gan"
FOUNDATION = {"config", "fields", "yaml_reader", "joint", "terminal"}
LAYERS = ["files", "preparation", "models", "completion"]  # each may import the earlier ones
TOP = {"training", "evaluation", "web"}  # may import all layers, but not each other
COMMANDS = {"command", "flags"}  # only scripts import these
WITHOUT_TENSORFLOW = [
    "config",
    "fields",
    "yaml_reader",
    "joint",
    "command",
    "flags",
    "models.locations",
    "files.checkpoints",
]


@lru_cache
def modules():
    """{name below contextual_gan: path}."""
    paths = [path for path in LIBRARY.rglob("*.py") if path.name != "__init__.py"]
    return {".".join(path.relative_to(LIBRARY).with_suffix("").parts): path for path in paths}


def imports(tree):
    """Dotted names that the nodes of a syntax tree import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def top_level(tree):
    """A syntax tree without the bodies of its functions, which hold the late imports."""
    return ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])


@lru_cache
def imported(name, late=True):
    """The library's modules and other packages that a module imports; with `late`, also those in its functions."""
    tree = ast.parse(modules()[name].read_text())
    found = set()
    for dotted in imports(tree if late else top_level(tree)):
        first, *rest = dotted.split(".")
        if first != "contextual_gan":
            found.add(first)
            continue
        known = (".".join(rest[:n]) for n in range(len(rest), 0, -1))
        found.update([next(part for part in known if part in modules())])
    return found


def inside(name):
    return {other for other in imported(name) if other in modules()}


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_run_one_way(name):
    folder = name.split(".")[0] if "." in name else None
    others = {other.split(".")[0] if "." in other else other for other in inside(name)} - {folder}
    if name in COMMANDS:
        return
    allowed = set(FOUNDATION)
    if folder:
        allowed |= set(LAYERS[: LAYERS.index(folder)] if folder in LAYERS else LAYERS)
    assert not others - allowed, "each layer may import only the layers before it"


def test_every_folder_has_a_rule():
    found = {path.parent.name for path in LIBRARY.glob("*/__init__.py")}
    assert found <= {*LAYERS, *TOP, "pretrained"}
    assert {name for name in modules() if "." not in name} == FOUNDATION | COMMANDS


def test_only_scripts_import_commands():
    assert not [name for name in modules() if inside(name) & COMMANDS and name not in COMMANDS]


def test_nothing_imports_in_circles():
    order = TopologicalSorter({name: inside(name) for name in modules()})
    order.prepare()  # raises CycleError


@pytest.mark.parametrize("folder", [*LAYERS, *sorted(TOP - {"web"})])
def test_a_folder_is_at_most_five_levels_deep(folder):
    members = {name: inside(name) for name in modules() if name.startswith(f"{folder}.")}

    def level(name):
        return 1 + max((level(other) for other in members[name] if other in members), default=0)

    assert max(map(level, members)) <= 5


@pytest.mark.parametrize("name", WITHOUT_TENSORFLOW)
def test_a_module_needs_no_tensorflow_to_be_imported(name):
    todo, seen = {name}, set()
    while todo:
        module = todo.pop()
        seen.add(module)
        found = imported(module, late=False)
        assert not found & {"tensorflow", "keras"}, module
        todo |= {other for other in found if other in modules()} - seen


def test_files_and_functions_are_short():
    scripts = [path for folder in ("scripts", "datasets") for path in (ROOT / folder).rglob("*.py")]
    for path in [*modules().values(), *scripts]:
        text = path.read_text()
        assert text.count("\n") <= 320, path
        assert path.stem not in ("utils", "helpers", "misc")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno <= 65, f"{path}: {node.name}"

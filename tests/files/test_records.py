"""Records edited by hand or from somebody else are either read or refused in one line.

Every value of real records is replaced by values of other types, or left out; only ValueError may be raised.
"""

import copy
import json
import shutil

import numpy as np
import pytest
from conftest import draw_face

from contextual_gan import config
from contextual_gan.completion.folder import CompletionTask, batches_to_complete, complete_folder, plan
from contextual_gan.completion.record import Run
from contextual_gan.evaluation import predictions
from contextual_gan.evaluation.scores import read_scores, score, table, truth, write
from contextual_gan.files import sources
from contextual_gan.files.apply import Item, apply_to_folder
from contextual_gan.files.images import write_png
from contextual_gan.joint import join

OTHERS = (
    None,
    True,
    "",
    "x",
    "../../victim/x",
    "/victim/x",
    "a/\0",
    "\ud800",
    -1,
    10**400,
    1.5,
    [],
    [[]],
    ["x"],
    {},
    {"x": {}},
)
TEXTS = ("", "null", "[]", "{}", "0", '"x"', "NaN", "{" * 10**5, "[" * 10**5, "\udcff", '{"a": 1e999}', "\x00", "\n\n")
TASK = CompletionTask(
    "celeba", "0" * 64, "coauthor", config.SearchSettings(update="nesterov", lr=0.1, iterations=1, n_init=2)
)


def paths(value, before=()):
    """The paths (keys and indices) of all values nested in a value, including itself."""
    yield before
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*before, key))


def mutations(record):
    """Every variant with one value replaced by one of OTHERS, or left out."""
    for path in paths(record):
        for other in (*OTHERS, NotImplemented):
            changed = copy.deepcopy(record)
            parent = changed
            for key in path[:-1]:
                parent = parent[key]
            if not path:
                changed = None if other is NotImplemented else other
            elif other is NotImplemented:
                del parent[path[-1]]
            else:
                parent[path[-1]] = other
            yield json.dumps(changed)


def tries(path, texts, function):
    """Number of texts for which function() is refused, each time in one line that names the file."""
    count, whole = [0, 0], path.read_bytes()
    for text in texts:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        try:
            function()
        except ValueError as error:
            assert len(str(error).splitlines()) == 1 and len(str(error)) < 2000, text
            assert str(path.parent) in str(error), (text, error)
            count[1] += 1
        count[0] += 1
    path.write_bytes(whole)
    return count


@pytest.fixture(scope="module")
def completed(tmp_path_factory, networks):
    """The folder of a finished run, and its inputs."""
    folder = tmp_path_factory.mktemp("records")
    for i in range(2):
        write_png(folder / "in" / f"{i}.png", draw_face(i))
    (folder / "in" / "bad.png").write_bytes(b"bad")
    (folder / "victim").mkdir()
    stems = sources.output_stems(sources.find_images([folder / "in"])[0])
    run = Run(folder / "out", TASK)
    todo = plan(run, stems)
    run.announce(todo, TASK)
    complete_folder(run, TASK, batches_to_complete(stems, todo, 64), networks)
    return folder, stems


@pytest.mark.parametrize("overwrite", [False, True])
def test_results(completed, tmp_path, overwrite):
    folder, stems = completed
    shutil.copytree(folder / "out", out := tmp_path / "out")
    write_png(tmp_path / "victim" / "x.png", draw_face(3))
    path = out / "results.json"
    record = json.loads(path.read_text()) | {"figures": ["compare.png"], "writing": ["3_joint.png"]}

    def read():
        run = Run(out, TASK, overwrite)
        run.announce(plan(run, stems), TASK, initializations=True)
        assert all((out / name).resolve().is_relative_to(out) for name in run.own)
        run.pages()
        json.dumps([run.results, run.failed, run.figures], allow_nan=False)

    number, refused = tries(path, [*mutations(record), *TEXTS], read)
    assert number > 500 and refused > number / 4
    assert (tmp_path / "victim" / "x.png").exists()


def same(image):
    return image, {"ink": 0.5}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["manifest.jsonl", "manifest.journal"])
def test_manifests(tmp_path, name, overwrite):
    for i in range(2):
        write_png(tmp_path / "in" / f"{i}.png", draw_face(i))
    write_png(tmp_path / "victim" / "x", draw_face(3))
    (tmp_path / "in" / "bad.png").write_bytes(b"bad")
    items = [Item(source.name, source.name, (source,)) for source in sources.images_in(tmp_path / "in")[0]]
    out = tmp_path / "out"
    apply_to_folder(same, items, out, parameters={"size": 64}, workers=1)
    lines = (out / "manifest.jsonl").read_text().splitlines()
    (out / "manifest.jsonl").rename(out / name)
    texts = [
        "\n".join([*lines[:i], text, *lines[i + 1 :]]) + "\n"
        for i in range(4)
        for text in mutations(json.loads(lines[i]))
    ]
    joints = [predictions.Joint(item.source, item.output, "", None) for item in items]

    def read():
        manifest, _ = predictions.plan(out, {"size": 64}, joints, overwrite)
        for item in items:
            manifest.has(item.source, item.output)
        for entry in (*manifest.outdated, *manifest.entries.values()):
            assert "output" not in entry or (out / entry["output"]).resolve().is_relative_to(out)
            np.array([entry.get("ink")], np.float64)

    number, refused = tries(out / name, [*texts, *TEXTS], read)
    assert number > 300 and refused > number / 4
    assert (tmp_path / "victim" / "x").exists()


def test_metrics(tmp_path):
    joints = []
    for i in range(4):
        pixels = join(draw_face(i), np.full((64, 64, 3), 40 * i, np.uint8))
        joints.append(predictions.Joint(f"{i}.png", f"{i}.png", str(i), pixels))
        write_png(tmp_path / "out" / "mean" / f"{i}.png", draw_face(i))
    predicted = {"mean": np.stack([draw_face(i) for i in range(4)])}
    scores = {"mean": score(predicted["mean"], truth(joints, "photo"))}
    settings = {"direction": "photo", "images": 4}
    write(tmp_path / "out", scores, settings, [], joints, predicted)
    plans = {"mean": (predictions.Manifest(tmp_path / "out" / "mean", {}),)}
    path = tmp_path / "out" / "metrics.json"
    whole = path.read_text()

    def read():
        found = read_scores(tmp_path / "out", plans, settings, [], joints)
        assert (found is None) == (json.loads(path.read_text()) != json.loads(whole))
        table(found or {})

    path.write_text(whole)
    read()
    record = json.loads(whole)
    number, _ = tries(path, [*mutations(record)], read)
    assert number > 500
    tries(path, TEXTS, lambda: read_scores(tmp_path / "out", plans, settings, [], joints))


def test_a_yaml_value_invalid_for_its_tag(tmp_path):
    path = tmp_path / "config.yaml"
    tags = ("timestamp", "int", "float", "bool", "null", "binary", "set", "omap", "pairs", "seq", "map", "str", "x")
    for tag in tags:
        for value in ('"99999-99-99"', '""', "x", "[x]", "{x: y}", '"0b"', '"\\ud800"'):
            path.write_text(f"train:\n  lr: !!{tag} {value}\n")
            with pytest.raises(ValueError, match=r"config\.yaml: ") as error:
                config.load(path, "train", config.TrainSettings)
            assert len(str(error.value).splitlines()) == 1

"""Photos -> joint images: all steps of the data pipeline on one photo in memory."""

import gc
import hashlib
import json
import os
from collections import Counter
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import PIL

from contextual_gan.config import resolved
from contextual_gan.files.apply import Item, apply_to_folder
from contextual_gan.files.images import ImageError, centre_square, read_bytes, replace_file, stretch
from contextual_gan.files.manifest import outputs_of
from contextual_gan.files.sources import images_in
from contextual_gan.joint import SIZE, join
from contextual_gan.preparation import alignment, sketches, splits

SUMMARY = "dataset.json"


def joint_of(photo, *, crop, landmarks, multiple, style, box=None, reduction=1, points=None):
    """A photo, (H, W, 3) uint8 -> (its joint image, (64, 128, 3) uint8, {"ink": density of the sketch}).

    With multiple "all", it returns a list of the joint images of all faces, and their mean density.
    crop, landmarks, multiple: as in `DataSettings`. box, reduction: see `alignment.crop_box`, for the crop "boxes";
    points: the five annotated points of CelebA, in pixels, instead of face detection.
    Raises `Skip` if there is no face.
    """
    if crop == "boxes":
        square = alignment.crop_box(photo, box, size=SIZE, reduction=reduction)
    elif crop == "centre":
        square = centre_square(photo, SIZE)
    elif crop == "none":
        square = stretch(photo, SIZE)
    elif points is not None:
        square = alignment.align_by_points(photo, points, size=SIZE, landmarks=landmarks)
    else:
        square = alignment.align(photo, size=SIZE, landmarks=landmarks, multiple=multiple)
    squares = square if isinstance(square, list) else [square]
    drawn = [sketches.draw(square, style) for square in squares]
    joints = [join(*halves) for halves in zip(drawn, squares, strict=True)]
    ink = {"ink": round(float(np.mean([sketches.ink_density(sketch) for sketch in drawn])), 4)}
    return joints if multiple == "all" else joints[0], ink


def prepare(location, out, settings, *, split_file=None, celeba_landmarks=None, overwrite=False, **how):
    """Make a data set: `out`/train and `out`/test of joint images, dataset.json, split.csv -> `apply.Report`.

    location: folder or zip archive of photos; settings: a `config.DataSettings`; split_file: see `splits.read_split`;
    celeba_landmarks: see `alignment.read_celeba_landmarks`; how: workers, scheduler and label of `apply_to_folder`.
    Raises ValueError and FileNotFoundError for unusable input, before anything is written.
    """
    function, items, refuse, parts, options = _plan(location, out, settings, split_file, celeba_landmarks, overwrite)
    report = apply_to_folder(function, items, out, refuse=refuse, overwrite=overwrite, **options, **how)
    splits.finish(report, parts)
    content = json.dumps(summary(report, options["parameters"]), indent=1) + "\n"
    replace_file(Path(out) / SUMMARY, content.encode())
    return report


@contextmanager
def _no_collection():
    """Many lasting objects are created here, which the garbage collector would scan again and again (1 s of 5)."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@_no_collection()
def _plan(location, out, settings, split_file, celeba_landmarks, overwrite):
    """The arguments of `apply_to_folder` and `splits.finish`: (function, items, refuse, parts, further options)."""
    found, refused = images_in(location, excluded=out)
    function = {"crop": settings.crop, "landmarks": settings.landmarks, "multiple": settings.multiple}
    parameters = {"step": "prepare"} | resolved(settings)
    parameters["split by"] = "list" if split_file else splits.rule(out, "split by", overwrite)
    parameters["sketch"] = {style: sketches.parameters_of(style) for style in settings.styles}
    arguments, lacking = {}, None
    if settings.crop == "boxes":
        arguments, lacking = cub_boxes(location), "no bounding box"
    elif settings.crop == "align" and celeba_landmarks:
        known = alignment.read_celeba_landmarks(celeba_landmarks)
        known = {PurePosixPath(name).stem: {"points": points} for name, points in known.items()}
        arguments = {s.name: known[s.relative.stem] for s in found if s.relative.stem in known}
        lacking, parameters["aligned by"] = f"not in {Path(celeba_landmarks).name}", "the points of CelebA"
    elif settings.crop == "align":
        parameters["aligned by"] = alignment.predictor_id()
    if len(settings.styles) == 1:
        function["style"] = settings.styles[0]
    items = _items(found, arguments, settings)
    choice = {"test": settings.test, "seed": settings.seed, "listed": split_file, "by": parameters["split by"]}
    items, refuse, parts, _ = splits.divide(items, out, parameters, overwrite=overwrite, also=[SUMMARY], **choice)

    def refuse_or_lacking(item, sha256):
        return lacking if lacking and item.source not in arguments else refuse(item, sha256)

    options = {"parameters": parameters, "refused": refused, "with_reduction": settings.crop == "boxes"}
    return partial(joint_of, **function), items, refuse_or_lacking, parts, options


def _items(found, arguments, settings):
    """`apply.Item`s without train/ or test/; if there are several styles, the hash of an image's name selects one."""
    items = []
    for name, (flat, source) in flat_names(found).items():
        own = dict(arguments[name]) if name in arguments else {}
        if len(settings.styles) > 1:
            number = int.from_bytes(_hash(f"{settings.seed}/style/{name}")[:8])
            own["style"] = settings.styles[number % len(settings.styles)]
        items.append(Item(name, f"{flat}.png", (source,), own))
    return items


def flat_names(found):
    """{name: (name without folders and extension, source)}; if two would be equal, the folders are prepended.

    If that is ambiguous too (a/b.jpg and a_b.jpg, or a.jpg and a.png), a hash of the name is appended.
    """

    def longer(name):
        return os.path.splitext(name)[0].replace("/", "_")

    def hashed(name):
        return f"{longer(name)}_{_hash(name).hex()[:8]}"

    flat = {source.name: os.path.splitext(source.name.rpartition("/")[2])[0] for source in found}
    for other in (longer, hashed):
        counts = Counter(stem.casefold() for stem in flat.values())
        if len(counts) < len(flat):
            flat |= {name: other(name) for name, stem in flat.items() if counts[stem.casefold()] > 1}
    return {source.name: (splits.spelled_out(flat[source.name]), source) for source in found}


def _hash(text):
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()


def cub_boxes(folder):
    """The bounding boxes of CUB-200-2011 -> {"images/" + path: {"box": [x, y, w, h]}} in pixels.

    folder: the unpacked archive, with images.txt and bounding_boxes.txt. Raises ValueError with file and line.
    """
    rows = {}
    for name, columns in (("images.txt", 2), ("bounding_boxes.txt", 5)):
        path = Path(folder) / name
        try:
            lines = read_bytes(path).decode().splitlines()
            rows[name] = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
        except (ImageError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: {error}; --images must be the folder CUB_200_2011 of the archive") from error
        for number, line in enumerate(lines, 1):
            if line.strip() and len(line.split()) != columns:
                raise ValueError(f"{path}, line {number}: {len(line.split())} columns, but there must be {columns}")
    try:
        boxes = {key: [float(value) for value in box] for key, box in rows["bounding_boxes.txt"].items()}
    except ValueError as error:
        raise ValueError(f"{Path(folder) / 'bounding_boxes.txt'}: {error}") from error
    return {f"images/{path}": {"box": boxes[key]} for key, (path,) in rows["images.txt"].items() if key in boxes}


def summary(report, parameters):
    """The content of dataset.json: counts, parameters, omitted photos with reasons, ink of sketches, versions."""
    ink = [entry["ink"] for entry in report.done]
    made = [name for entry in report.done for name in outputs_of(entry)]
    versions = {"contextual_gan": version("contextual_gan"), "numpy": np.__version__, "opencv": cv2.__version__}
    if parameters["crop"] == "align":
        import dlib

        versions["dlib"] = dlib.__version__
    return {
        "counts": {part: sum(name.startswith(part) for name in made) for part in ("train", "test")}
        | {"skipped": len(report.skipped), "failed": len(report.failed)},
        "parameters": parameters,
        "ink": {name: float(f(ink)) for name, f in (("min", min), ("median", np.median), ("max", max)) if ink},
        "skipped": [{"source": entry["source"], "reason": entry["skipped"]} for entry in report.skipped],
        "failed": [{"source": entry["source"], "reason": entry["failed"]} for entry in report.failed],
        "versions": versions | {"pillow": PIL.__version__},
    }

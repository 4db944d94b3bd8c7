"""A whole evaluation: plan it, predict what is missing, score everything, write the results, print the table."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from contextual_gan.config import SearchSettings
from contextual_gan.evaluation import methods, predictions, scores, two_folders
from contextual_gan.files.checkpoints import file_sha256
from contextual_gan.files.images import replace_file
from contextual_gan.files.progress import progress
from contextual_gan.models.locations import pin
from contextual_gan.terminal import import_tensorflow, mistakes, printable, report_failed


@dataclass(frozen=True)
class Request:
    """The request of one evaluation: see `scripts/evaluate.py --help`."""

    data: str  # folder of joint images
    out: str  # folder for the results
    methods: tuple[str, ...]  # names in methods.METHODS
    search: SearchSettings
    preset: str  # source of the search settings; only recorded
    faithful: float | dict | None = None  # see `faithful.of_kinds`
    weights: str = "celeba"
    direction: str = "photo"
    seed: int = 0
    samples: int = 1
    batch_size: int = 64
    limit: int | None = None  # only the first images by name
    train_data: str | None = None  # folder of the joint images of the training set
    identity: bool = False  # whether dlib compares the faces of photos
    inception: str | None = None  # its weights file, for KID
    pix2pix: str = "celeba"  # weights
    dropout: bool = True  # of pix2pix
    rough: float = 0.0  # how rough the sketches are made, see preparation/rough.py; the truth is unchanged
    overwrite: bool = False


def evaluate(request):
    """Evaluate a `Request` and print the table -> exit status: 0, or 1 if some images could not be used.

    Raises `terminal.UserError` for a user's mistake, before anything is written.
    """
    out = Path(request.out)
    with mistakes():
        if request.identity and request.direction == "sketch":
            raise ValueError("--identity is for photos: dlib does not recognise faces in sketches")
        record = scores.read_json(out, of_folders=False)
        task = methods.PredictionTask(
            direction=request.direction,
            seed=request.seed,
            weights=pin(request.weights),
            search=request.search,
            faithful=request.faithful,
            train_data=request.train_data,
            excluded=request.out,
            pix2pix=request.pix2pix,
            dropout=request.dropout,
            samples=request.samples,
        )
        chosen = {name: methods.METHODS[name](task) for name in methods.METHODS if name in request.methods}
        if request.rough:
            roughness = {"rough": request.rough, "rough_seed": request.seed}
            chosen = {
                name: replace(method, parameters=method.parameters | roughness) for name, method in chosen.items()
            }
        joints, failed = predictions.load_joints(request.data, excluded=request.out, limit=request.limit)
        plans = {
            name: predictions.plan(out / name, method.parameters, joints, request.overwrite)
            for name, method in chosen.items()
        }
        settings = _settings(request, chosen, joints)
        if not request.overwrite:
            predictions.refuse_foreign(out, record, plans.values())
    if not joints:
        report_failed(failed)
        print(f"none of the {len(failed)} images could be used")
        return 1
    found = None
    if not any(left for _, left in plans.values()):
        print("nothing to do: all predictions exist")
        predictions.close(out, plans.values())
        with mistakes():
            found = scores.read_scores(out, plans, settings, failed, joints)
    if not found:
        found = _score(request, chosen, plans, joints, failed, settings)
    report_failed(failed)
    print(scores.table(found), end="")
    print(f"{len(joints)} images, {len(failed)} failed   pictures: {out}/grid.png   numbers: {out}/metrics.json")
    return 1 if failed else 0


def _settings(request, chosen, joints):
    """Everything that determines the numbers, for metrics.json."""
    settings = {"data": request.data, "limit": request.limit, "images": len(joints), "train_data": request.train_data}
    settings |= {"weights": request.weights, "preset": request.preset, "identity": request.identity}
    is_there = request.inception and Path(request.inception).is_file()  # a missing file is reported later
    settings["inception_sha256"] = file_sha256(request.inception) if is_there else None
    for method in chosen.values():
        settings |= method.parameters
    return settings


def _score(request, chosen, plans, joints, failed, settings):
    """Make the missing predictions, score all, write the results -> scores."""
    out, found = Path(request.out), {}
    if request.inception:
        import_tensorflow()
    with mistakes(), _recognising(request, len(joints)) as advance:  # before the search, which takes longer
        truth = scores.truth(joints, request.direction, request.inception, request.identity, advance)
    if any(left for _, left in plans.values()):
        _predict(request, chosen, plans, joints)
    with mistakes():
        predicted = {name: predictions.predictions(out / name, joints) for name in plans}
    with _recognising(request, len(plans) * len(joints)) as advance:
        for name, (manifest, _) in plans.items():
            notes = [manifest.entries[joint.name] for joint in joints]
            found[name] = scores.score(predicted[name], truth, notes, advance)
    scores.write(out, found, settings, failed, joints, predicted)
    return found


def _recognising(request, n):
    """Progress display for dlib over n photos, if requested."""
    return progress(n, "recognising faces", "faces") if request.identity else nullcontext(lambda n: None)


def _predict(request, chosen, plans, joints):
    """Make the missing predictions."""
    todo = {name: plan for name, plan in plans.items() if plan[1]}
    if todo.keys() - {"mean-face", "nearest-sketch"}:  # these two need no networks
        import_tensorflow()
    with mistakes():
        predictors = {name: chosen[name].predictor(request.batch_size) for name in todo}
        predictions.close(request.out, plans.values())
        predictions.begin(request.out, plans.values(), joints, request.overwrite)
    for name, (manifest, left) in todo.items():
        steps, batches = chosen[name].steps, predictions.batches_to_predict(joints, left, request.batch_size)
        unit = "steps" if steps > 1 else "images"  # inputs that are not searched count too
        n = sum(map(len, batches))
        with progress(steps * n, f"{name}, {len(left)} images", unit) as advance:
            options = {"direction": request.direction, "rough": request.rough, "seed": request.seed}
            options["progress"] = advance
            predictions.predict(manifest, left, batches, predictors[name], **options)


def score_folders(predicted, truths, *, direction="photo", limit=None, out=None, overwrite=False):
    """Score one folder of images against another, print the table and write it to `out`, if given -> exit status."""
    with mistakes():
        if out:
            record = scores.read_json(out, of_folders=True)
            if not overwrite:
                predictions.refuse_foreign(out, record)
        found, failed, unused = two_folders.score_folders(predicted, truths, direction=direction, limit=limit)
    report_failed(failed)
    print(table := scores.table({"predictions": found}), end="")
    print(f"{len(found['images'])} pairs, {len(failed)} failed, {len(unused)} images of {predicted} not used")
    if unused:
        print(f"not used: {', '.join(map(printable, unused[:10]))}{' ...' * (len(unused) > 10)}")
    if out:
        settings = {"folder": [predicted, truths], "direction": direction, "limit": limit}
        scores.write_json(out, {"predictions": found}, settings, failed, unused=unused)  # early: its versions
        replace_file(Path(out) / "table.md", table.encode())
    return 1 if failed else 0

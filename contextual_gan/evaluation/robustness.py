"""The robustness of methods to rough sketches: evaluations at several roughnesses, a table and a plot."""

import io
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from contextual_gan.evaluation import run, scores
from contextual_gan.files.images import replace_file
from contextual_gan.files.lock import lock
from contextual_gan.terminal import UserError, mistakes

SHOWN = ("ssim", "psnr", "verification", "hog_distance", "faces")
RESULTS = ("robustness.md", "robustness.png")


def evaluate_rough(request, levels):
    """Evaluate a `run.Request` at each roughness of `levels` into OUT/LEVEL/ -> exit status, like `run.evaluate`.

    OUT/robustness.md holds the means with their intervals, OUT/robustness.png one line for each method.
    Raises `UserError` like `run.evaluate`, and for the direction whose inputs are photos.
    """
    if request.direction == "sketch":
        raise UserError("--rough is for sketches, but the inputs of --direction sketch are photos")
    figure = _figure(request)
    status, found = 0, {}
    for level in levels:
        out = Path(request.out) / f"{level:g}"
        print(f"--- roughness {level:g}", flush=True)
        with ExitStack() as stack:
            with mistakes():
                stack.enter_context(lock(out))
            status = max(status, run.evaluate(replace(request, rough=level, out=str(out))))
        found[level] = scores.read_json(out, of_folders=False)
    rows = {f"{name}, {level:g}": found[level][name] for name in request.methods for level in levels}
    images = f"{min(record['settings']['images'] for record in found.values())} images, roughness"
    replace_file(Path(request.out) / RESULTS[0], scores.table(rows, images, SHOWN).encode())
    _plot(figure, found, request.methods, Path(request.out) / RESULTS[1])
    print(f"all roughnesses: {request.out}/{RESULTS[0]}   plot: {request.out}/{RESULTS[1]}")
    return status


def _figure(request):
    """An empty figure. Raises `UserError` before anything is computed if matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UserError("plots need matplotlib: pip install -e '.[plots]'") from error
    return Figure((4 * (len(SHOWN) if request.identity else 3), 3.5), layout="constrained")


def _plot(figure, found, methods, path):
    """One panel for each available metric: its means over roughness, with their intervals, one line per method."""
    there = [name for name in SHOWN if all(name in record[method] for record in found.values() for method in methods)]
    for axes, metric in zip(figure.subplots(1, len(there), squeeze=False)[0], there, strict=True):
        for method in methods:
            values = [(level, record[method][metric]) for level, record in found.items()]
            values = [(level, value) for level, value in values if isinstance(value["mean"], float)]
            if not values:
                continue
            x = [level for level, _ in values]
            low, mean, high = ([value[name] for _, value in values] for name in ("low", "mean", "high"))
            (line,) = axes.plot(x, mean, marker="o", label=method)
            axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2)
        axes.set(xlabel="roughness", title=scores.COLUMNS[metric][0])
        axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format="png")
    replace_file(path, buffer.getvalue())

"""Complete image files and folders into a run folder, and print a summary."""

import statistics
import sys
from collections import Counter

from contextual_gan.completion import folder, record
from contextual_gan.files import sources
from contextual_gan.files.progress import progress
from contextual_gan.models.weights import load_encoder, load_networks
from contextual_gan.terminal import import_tensorflow, mistakes, report_failed, report_notes


def complete_inputs(
    inputs, out, task, weights, *, batch_size=64, overwrite=False, show_initializations=False, figure=None
):
    """Complete files and folders with a `folder.CompletionTask` -> exit status: 0, or 1 if some inputs failed.

    weights: the `locations.Pinned` weights of the task. show_initializations: draw the candidates of each input.
    figure: (stem, rows per page) of a figure of the results that the caller will draw.
    Raises `terminal.UserError` for a user's mistake, before anything is written.
    """
    with mistakes():
        found, refused, passed = sources.find_images(inputs, excluded=out)
        run = record.Run(out, task, overwrite)
        stems = sources.output_stems(found)
        todo = folder.plan(run, stems)
        batches = folder.batches_to_complete(stems, todo, max(1, batch_size // task.samples))
        if not found and not refused:
            raise sources.no_images(", ".join(inputs), passed)
        run.failed |= dict(refused)
        run.announce(todo, task, show_initializations, figure)
    for line in sources.passed_over(passed):
        print(line, file=sys.stderr)
    if todo or run.outdated or run.lacks_pages() or show_initializations:
        import_tensorflow()
        from contextual_gan.completion import figures

        with mistakes():
            networks, encoder = load_networks(weights, task.search.lambda_ > 0), None
            if task.encoder_sha256:
                encoder = load_encoder(weights, task.direction, task.encoder_sha256)
        options = {"encoder": encoder, "batch_size": batch_size}
        evaluations = task.evaluations() * sum(map(len, batches))
        with progress(evaluations, f"completing {len(todo)}", "steps") as advance:
            folder.complete_folder(run, task, batches, networks, progress=advance, **options)
        figures.draw_pages(run, task, networks[0])
        if show_initializations:
            figures.draw_initializations(run, task, networks[0], encoder)
    else:
        run.save()
        print("nothing to do: all usable inputs are done")
    report_notes(run.notes)
    failed = sorted(run.failed.keys() & {*(source.name for source in found), *(name for name, _ in refused)})
    report_failed([(name, run.failed[name]) for name in failed])
    begun = {stem for stem, *_ in todo}
    new = [stem for stem, entry in run.results.items() if entry.get("of", stem) in begun]
    print(f"{len(new)} completed, {len(run.results) - len(new)} already done, {len(failed)} failed")
    if isinstance(task.faithful, dict) and run.results:
        print(_faithful(run.results.values()))
    if alignments := Counter(entry["alignment"] for entry in run.results.values() if "alignment" in entry):
        print(f"photos: {', '.join(f'{count} {done}' for done, count in alignments.most_common())}")
    if losses := _contextual(run.results.values()):
        print(losses)
    if run.results:
        print(f"pictures: {run.out}/grid.png   losses: {run.out}/results.json")
    return 1 if failed else 0


def _faithful(entries):
    """How closely inputs were followed, in one line."""
    values = {}
    for entry in entries:
        values.setdefault(entry["kind"], []).append(entry["faithful"])
    several, parts = {"sketch": "sketches", "drawing": "drawings", "photo": "photos"}, []
    for kind, found in sorted(values.items()):
        low, high = min(found), max(found)
        name = several[kind] if len(found) > 1 else kind
        parts.append(f"{low:g}{f' to {high:g}' * (high > low)} for {len(found)} {name}")
    return f"faithful: {', '.join(parts)} (--faithful F: from 0, the encoder's face, to 1, a free search)"


def _contextual(entries):
    """The median contextual loss of the inputs with and without a search, in one line; "" if there are none."""
    known = [entry for entry in entries if None not in entry["contextual"].values()]
    parts = []
    if searched := [entry["contextual"] for entry in known if entry["iterations"]]:
        initial, best = (statistics.median(loss[name] for loss in searched) for name in ("initial", "best"))
        parts.append(f"median of {len(searched)}: {initial:.3f} at the start, {best:.3f} after the search")
    if others := [entry["contextual"]["best"] for entry in known if not entry["iterations"]]:
        parts.append(f"median of {len(others)} without a search: {statistics.median(others):.3f}")
    return f"contextual loss, {'; '.join(parts)}" if parts else ""

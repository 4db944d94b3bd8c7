"""Complete sketches to photos (or photos to sketches) with a trained contextual GAN."""

import statistics
import sys

try:
    from contextual_gan import command, flags
except ModuleNotFoundError:
    print("contextual_gan is not installed: run `pip install -e .` in the repository, or `make demo`", file=sys.stderr)
    sys.exit(2)

EXAMPLES = """\
  python scripts/complete.py my_sketches/ --out runs/mine
  python scripts/complete.py face.png --out runs/face --samples 4 --show-initializations
  python scripts/complete.py photos/ --out runs/drawn --direction sketch
  python scripts/complete.py page.jpg --out runs/page --faces all
  python scripts/complete.py face.png --out runs/quick --preset fast --iterations 25

Running it again continues, adds new files and tries failed ones again.
Exit status: 0 all completed, 1 some inputs failed (listed in results.json), 2 wrong usage.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    flags.add_completion_arguments(parser)
    parser.add_argument("--show-initializations", action="store_true", help="draw the N candidates of each input")
    flags.add_search_arguments(parser)
    parser.set_defaults(figure=None)  # that compare.py draws of the results
    return parser.parse_args()


def main(args):
    from contextual_gan.completion import folder, record
    from contextual_gan.files import sources
    from contextual_gan.files.progress import progress
    from contextual_gan.models.locations import encoder_sha256, pin
    from contextual_gan.models.weights import load_encoder, load_networks

    with command.mistakes():
        weights = pin(args.weights)
        search = flags.search_settings(args)
        task = folder.CompletionTask(
            weights=args.weights,
            weights_sha256=weights.sha256,
            preset=args.preset,
            search=search,
            encoder_sha256=encoder_sha256(weights, args.direction, search),
            direction=args.direction,
            seed=args.seed,
            samples=args.samples,
            crop=args.crop,
            joint=args.joint,
            faces=args.faces,
        )
        found, ignored = sources.find_images(args.input, excluded=args.out)
        run = record.Run(args.out, task, args.overwrite)
        stems = sources.output_stems(found)
        todo = folder.plan(run, stems)
        batches = folder.batches_to_complete(stems, todo, max(1, args.batch_size // args.samples))
        if not found:
            raise ValueError(f"no images in {', '.join(args.input)}")
        run.announce(todo, task, args.show_initializations, args.figure)
    if ignored:
        names = ", ".join(map(command.printable, ignored[:5]))
        print(f"left out, no images: {names}{' ...' * (len(ignored) > 5)}", file=sys.stderr)
    if todo or run.outdated or run.lacks_pages() or args.show_initializations:
        command.import_tensorflow()
        from contextual_gan.completion import figures

        with command.mistakes():
            networks, encoder = load_networks(weights), None
            if task.encoder_sha256:
                encoder = load_encoder(weights, args.direction, task.encoder_sha256)
        options = {"encoder": encoder, "batch_size": args.batch_size}
        evaluations = task.evaluations() * sum(map(len, batches))
        with progress(evaluations, f"completing {len(todo)}", "iterations") as advance:
            folder.complete_folder(run, task, batches, networks, progress=advance, **options)
        figures.draw_pages(run, task, networks[0])
        if args.show_initializations:
            figures.draw_initializations(run, task, networks[0], encoder)
    else:
        run.save()
        print("nothing to do: all inputs that can be completed are done")
    command.report_notes(run.notes)
    failed = sorted(run.failed.keys() & {source.name for source in found})
    command.report_failed([(name, run.failed[name]) for name in failed])
    begun = {stem for stem, *_ in todo}
    new = [stem for stem, entry in run.results.items() if entry.get("of", stem) in begun]
    print(f"{len(new)} completed, {len(run.results) - len(new)} were done before, {len(failed)} failed")
    losses = [entry["contextual"] for entry in run.results.values() if entry["contextual"]["best"] is not None]
    if losses:
        initial, best = (statistics.median(loss[name] for loss in losses) for name in ("initial", "best"))
        print(f"contextual loss, median of {len(losses)}: {initial:.3f} at the start, {best:.3f} after the search")
    if run.results:
        print(f"pictures: {run.out}/grid.png   losses: {run.out}/results.json")
    return 1 if failed else 0


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)

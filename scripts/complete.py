"""Complete sketches to photos (or photos to sketches) with a trained contextual GAN."""

import statistics
import sys

try:
    from contextual_gan import command
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
    command.add_completion_arguments(parser)
    parser.add_argument("--show-initializations", action="store_true", help="draw the N candidates of each input")
    command.add_search_arguments(parser)
    return parser.parse_args()


def main(args):
    from contextual_gan import checkpoints, folder_completion, sources
    from contextual_gan.progress import progress

    with command.mistakes():
        search = command.search_settings(args)
        task = folder_completion.Task(
            weights=args.weights,
            weights_sha256=checkpoints.file_sha256(checkpoints.weights_file(args.weights)),
            preset=args.preset,
            search=search,
            encoder_sha256=checkpoints.encoder_sha256(args.weights, args.direction, search),
            direction=args.direction,
            seed=args.seed,
            samples=args.samples,
            crop=args.crop,
            joint=args.joint,
            faces=args.faces,
        )
        found, ignored = sources.find_images(args.input, excluded=args.out)
        run = folder_completion.Run(args.out, task, args.overwrite)
        todo = folder_completion.plan(run, sources.output_stems(found))
        if not found:
            raise ValueError(f"no images in {', '.join(args.input)}")
    if ignored:
        print(f"left out, no images: {', '.join(map(str, ignored[:5]))}{' ...' * (len(ignored) > 5)}", file=sys.stderr)
    if todo or run.outdated or (run.results and not run.pages()) or args.show_initializations:
        command.import_tensorflow()
        from contextual_gan import figures

        with command.mistakes():
            networks = checkpoints.load_networks(args.weights)
            encoder = checkpoints.load_encoder(args.weights, args.direction) if task.encoder_sha256 else None
        options = {"encoder": encoder, "batch_size": args.batch_size}
        with progress(task.evaluations() * len(todo), f"completing {len(todo)}", "iterations") as advance:
            folder_completion.complete_folder(run, task, todo, networks, progress=advance, **options)
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
    command.run(main, parse())

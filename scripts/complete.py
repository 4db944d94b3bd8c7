"""Complete sketches to photos (or photos to sketches) with a trained contextual GAN."""

from installed import command, flags

EXAMPLES = """\
  python scripts/complete.py my_sketches/ --out runs/mine
  python scripts/complete.py face.png --out runs/face --samples 4 --show-initializations
  python scripts/complete.py photos/ --out runs/drawn --direction sketch
  python scripts/complete.py page.jpg --out runs/page --faces all
  python scripts/complete.py face.png --out runs/quick --edges 0 --iterations 25

Run the command again to continue, to add new files, and to retry failed ones.
Exit status: 0 all completed, 1 some inputs failed (listed in results.json), 2 usage error.
"""


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    flags.add_completion_arguments(parser)
    parser.add_argument("--show-initializations", action="store_true", help="draw each input's N candidates")
    flags.add_search_arguments(parser)
    return parser.parse_args()


def main(args):
    from contextual_gan.completion.run import complete_inputs

    with command.mistakes():
        task, weights = flags.completion_task(args)
    options = {"batch_size": args.batch_size, "overwrite": args.overwrite}
    return complete_inputs(
        args.input, args.out, task, weights, show_initializations=args.show_initializations, **options
    )


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)

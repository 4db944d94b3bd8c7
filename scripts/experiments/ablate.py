"""Ablate the settings of the search: run evaluate.py with each change and collect the results in one table."""

from pathlib import Path

from installed import command, flags

EXAMPLES = """\
  python scripts/experiments/ablate.py --data data/celeba/test --out runs/ablations
  python scripts/experiments/ablate.py --data data/celeba/test --out runs/ablations --limit 8 --rows lambda

OUT/ROW/ is the run of evaluate.py for each row, OUT/ablations.md the table.
You can interrupt the command and run it again.
Exit status: 0 done, 1 some images could not be used, 2 usage error.
"""
ROWS = {  # name: flags of evaluate.py
    "default": "",
    **{f"N = {n}": f"--n-init {n}" for n in (1, 10, 30, 100)},
    "N = 1, random start": "--start random --n-init 1",
    "N = 30, random start": "--start random --n-init 30",
    **{f"lambda = {x}": f"--lambda {x}" for x in (0, 0.001, 0.01, 0.1, 1)},
    "contextual loss: L1": "--contextual l1",
    "contextual loss: L2": "--contextual l2",
    "contextual loss: KL(input, generated)": "--search-kl input-generated",
    **{f"edges = {x}": f"--edges {x}" for x in (0, 0.5, 1, 4)},
    **{f"faithful = {x}": f"--faithful {x}" for x in (0, 0.25, 0.5, 0.75, 1)},
    **{f"prior = {x}": f"--prior {x}" for x in (0, 0.2, 0.4, 0.8)},
    "initialization only": "--preset coauthor",
    "readme, 1000 iterations": "--preset readme",
    "coauthor, 1000 iterations": "--preset coauthor",
}
COLUMNS = ("ssim", "psnr", "consistency", "contextual")


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--data", required=True, metavar="DIR", help="folder of joint images")
    parser.add_argument("--out", required=True, metavar="OUT", help="folder for the runs and the table")
    parser.add_argument("--limit", type=command.positive, default=100, metavar="N", help="images (default: 100)")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows whose name starts with TEXT")
    parser.add_argument("--overwrite", action="store_true", help="replace predictions made with other settings")
    parser.add_argument("--weights", default="celeba", help="as for complete.py (default: celeba)")
    args = parser.parse_args()
    if not any(name.startswith(args.rows) for name in ROWS):
        parser.error(f"no row starts with {args.rows!r}; available: {'; '.join(ROWS)}")
    return args


def search_of(words):
    """Search flags as arguments of `Request`."""
    parser = command.ArgumentParser("", "")
    flags.add_search_arguments(parser)
    args = parser.parse_args(words)
    given = {name: getattr(args, name) for name in ("preset", "weights", "direction", "seed", "batch_size")}
    with command.mistakes():
        search = flags.search_settings(args)
    return given | {"search": search, "faithful": flags.faithful(args, search)}


def folder_of(out, name):
    """The run of a row."""
    return Path(out) / "".join(c if c.isalnum() or c == "." else "_" for c in name)


def main(args):
    from contextual_gan.evaluation import predictions, scores
    from contextual_gan.evaluation.run import Request, evaluate
    from contextual_gan.files.images import replace_file

    table = Path(args.out) / "ablations.md"
    command.check_file(
        table, args.overwrite or any((folder_of(args.out, name) / "metrics.json").is_file() for name in ROWS)
    )
    with command.mistakes():
        predictions.usable_joints(args.data, excluded=args.out, limit=args.limit)
    status, rows, images = 0, {}, 0
    for name, words in ROWS.items():
        if not name.startswith(args.rows):
            continue
        method = "initialization" if "initialization" in name else "contextual"
        out = folder_of(args.out, name)
        print(f"--- {name}: evaluate.py {words}", flush=True)
        options = {"data": args.data, "limit": args.limit, "out": str(out), "overwrite": args.overwrite}
        with command.locked(out):
            search = search_of(["--weights", args.weights, *words.split()])
            status = max(status, evaluate(Request(methods=(method,), **search, **options)))
        record = scores.read_json(out, of_folders=False)
        rows[name], images = record[method], record["settings"]["images"]
    text = scores.table(rows, f"{images} images", COLUMNS)
    replace_file(table, text.encode())
    print(text, end="")
    return status


if __name__ == "__main__":
    command.run(main, arguments := parse(), out=arguments.out)

"""Measure speed, as ratios within one run: these figures compare on any machine, seconds do not."""

import sys
import time
from dataclasses import replace

try:
    from contextual_gan import command
except ModuleNotFoundError:
    print("contextual_gan is not installed: run `pip install -e .` in the repository, or `make demo`", file=sys.stderr)
    sys.exit(2)

EXAMPLES = """\
  python scripts/benchmark.py completion            about a minute on 2 cores
  python scripts/benchmark.py completion --direction sketch --batch-size 1
"""
GFLOP_PER_ITERATION = 2.6  # multiply-adds counted twice: G and D forward, and backward to z only


def parse():
    parser = command.ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("what", choices=("completion",), help="completion: iterations of the search")
    parser.add_argument("--batch-size", type=command.positive, default=64, metavar="B", help="default: %(default)s")
    parser.add_argument("--iterations", type=command.positive, default=10, help="per measurement (default: 10)")
    parser.add_argument("--repeats", type=command.positive, default=5, help="measurements (default: 5)")
    parser.add_argument("--direction", choices=("photo", "sketch"), default="photo", help="default: photo")
    return parser.parse_args()


def seconds(work):
    """Wall time of work(), which must wait for its result."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def matrix_product_rate(tf, side=2048, products=10):
    """GFLOP/s of a float32 matrix product: what this machine can do."""
    matrix = tf.random.normal((side, side), seed=0)

    @tf.function
    def product():
        return tf.matmul(matrix, matrix)

    product()
    return 2 * side**3 * products / 1e9 / seconds(lambda: [product() for _ in range(products)][-1].numpy())


def completion(args):
    """The search with the published weights beside a matrix product, in turn; medians."""
    tf = command.import_tensorflow()
    import numpy as np

    from contextual_gan import completion, joint
    from contextual_gan.checkpoints import load_pretrained
    from contextual_gan.config import PRESETS

    generator, discriminator = load_pretrained()
    z = np.random.default_rng(0).uniform(-1, 1, (2, args.batch_size, 100)).astype(np.float32)
    known = joint.half(completion.generate(generator, z[0]), joint.DIRECTIONS[args.direction])
    settings = replace(PRESETS["coauthor"], iterations=args.iterations - 1)  # and the evaluation of the start

    def search():
        completion.search(generator, discriminator, known, z[1], direction=args.direction, settings=settings)

    search()
    rates = []
    for _ in range(args.repeats):
        before = matrix_product_rate(tf)
        rate = args.batch_size * args.iterations / seconds(search)
        product = (before + matrix_product_rate(tf)) / 2
        rates.append((rate, rate * GFLOP_PER_ITERATION, product, rate * GFLOP_PER_ITERATION / product))
    for name, values in zip(
        ("sketch-iterations/s", f"GFLOP/s at {GFLOP_PER_ITERATION} each", "GFLOP/s of a 2048x2048 product", "ratio"),
        zip(*rates, strict=True),
        strict=True,
    ):
        low, median, high = np.percentile(values, (0, 50, 100))
        print(f"{name:32} {median:8.2f}   ({low:.2f} to {high:.2f})")
    return 0


if __name__ == "__main__":
    command.run(completion, parse())

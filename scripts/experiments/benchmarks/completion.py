"""The search for z, with the published weights."""

from dataclasses import replace

import numpy as np

from benchmarks.clocks import matrix_product_rate, print_medians, seconds
from contextual_gan import joint
from contextual_gan.completion.search import search
from contextual_gan.config import PRESETS
from contextual_gan.models import inference
from contextual_gan.models.weights import load_pretrained

GFLOP_PER_ITERATION = 2.6  # multiply-adds counted twice: G and D forward, and backward to z only


def main(args):
    """Time the search and a matrix product in turn; print medians."""
    generator, discriminator = load_pretrained()
    z = np.random.default_rng(0).uniform(-1, 1, (2, args.batch_size, 100)).astype(np.float32)
    known = joint.half(inference.generate(generator, z[0]), joint.DIRECTIONS[args.direction])
    settings = replace(PRESETS["coauthor"], iterations=args.iterations - 1)  # one more is the evaluation of the start

    def run():
        search(generator, discriminator, known, z[1], direction=args.direction, settings=settings)

    run()
    rates = []
    for _ in range(args.repeats):
        before = matrix_product_rate()
        rate = args.batch_size * args.iterations / seconds(run)
        product = (before + matrix_product_rate()) / 2
        rates.append((rate, rate * GFLOP_PER_ITERATION, product, rate * GFLOP_PER_ITERATION / product))
    flop = f"GFLOP/s at {GFLOP_PER_ITERATION} each"
    names = ("sketch-iterations/s", flop, "GFLOP/s of a 2048x2048 product", "ratio")
    print_medians(dict(zip(names, zip(*rates, strict=True), strict=True)))
    return 0

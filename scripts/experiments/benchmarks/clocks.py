"""Clocks and tables for all subjects."""

import time

import numpy as np
import tensorflow as tf


def clocks(work):
    """(wall seconds, processor seconds) of work(), which must wait for its result."""
    start, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - processor


def seconds(work):
    return clocks(work)[0]


def matrix_product_rate(side=2048, products=10):
    """GFLOP/s of a float32 matrix product: the speed of this machine."""
    matrix = tf.random.normal((side, side), seed=0)
    _square(matrix)
    return 2 * side**3 * products / 1e9 / seconds(lambda: [_square(matrix) for _ in range(products)][-1].numpy())


@tf.function
def _square(matrix):
    return tf.matmul(matrix, matrix)


def print_medians(rows):
    """Print {name: measured values} as a table, with their range."""
    for name, values in rows.items():
        low, median, high = np.percentile(values, (0, 50, 100))
        print(f"{name:32} {median:8.2f}   ({low:.2f} to {high:.2f})")

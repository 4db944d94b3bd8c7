"""The update rules of z in the search: momentum, Nesterov momentum, and limited-memory BFGS.

Each is a pair of functions: begin(z) -> memory, and step(memory, z, objective, gradient) -> (memory, next z), where
objective (n,) and gradient (n, 100) are taken at z (n, 100). The memory is a NamedTuple of tensors (n, ...). Rows are
independent. z is clipped to [-1, 1].
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from contextual_gan.models.dcgan import LATENT

MEMORY = 10  # number of (step, gradient change) pairs that L-BFGS keeps; rejected steps add none
ENOUGH = 1e-4  # share of the decrease predicted by the gradient that a step must achieve (Armijo)
BEGINNING = 0.3  # first step, as a share of the largest step
SHORTER = 0.3  # factor that shortens a rejected step


def rule(settings, curvature=None):
    """(begin, step) for the given settings. curvature: mean Hessian of the objective over z (100, 100), for L-BFGS."""
    if settings.update == "lbfgs":
        return _lbfgs(settings, curvature)
    return _momentum(settings)


class Velocity(NamedTuple):
    """The memory of both kinds of momentum."""

    v: tf.Tensor  # (n, 100)


def _momentum(settings):
    """Momentum; clipping z does not change the velocity."""
    m, nesterov = settings.momentum, settings.update == "nesterov"

    def step(memory, z, objective, gradient):
        v = memory.v
        new = m * v - settings.lr * gradient
        return Velocity(new), tf.clip_by_value(z - m * v + (1 + m) * new if nesterov else z + new, -1, 1)

    return lambda z: Velocity(tf.zeros_like(z)), step


class Pairs(NamedTuple):
    """The memory of L-BFGS, in float64."""

    x: tf.Tensor  # (n, 100), the last accepted z
    of_x: tf.Tensor  # (n, 1), its objective
    g: tf.Tensor  # (n, 100), its gradient
    direction: tf.Tensor  # (n, 100), the search direction from x
    fraction: tf.Tensor  # (n, 1), step length, as a share of the direction
    steps: tf.Tensor  # (n, 10, 100), the last changes of z
    changes: tf.Tensor  # (n, 10, 100), the gradient changes of these steps


def _lbfgs(settings, curvature):
    """Projected L-BFGS (Nocedal 1980), each row with its own curvature and step length.

    `lr` is the largest change of a component of z in one step. A step that does not lower the objective is rejected and
    retried with a shorter step in the next iteration. The initial Hessian is the identity plus the curvature, if given,
    in units of its mean eigenvalue; once there is a pair, the last one scales it.
    """
    inverse = np.eye(LATENT)
    if curvature is not None:
        inverse = np.linalg.inv(inverse + curvature * LATENT / np.trace(curvature))

    def begin(z):
        n = tf.shape(z)[0]
        wide, pairs = tf.cast(z, tf.float64), tf.zeros((n, MEMORY, z.shape[1]), tf.float64)
        nothing = tf.zeros_like(wide)
        infinite, whole = tf.fill([n, 1], np.float64(np.inf)), tf.ones([n, 1], tf.float64)
        return Pairs(wide, infinite, nothing, nothing, whole, pairs, pairs)

    def step(memory, z, objective, gradient):
        x, of_x, g, direction, fraction, steps, changes = memory
        z, gradient, objective = tf.cast(z, tf.float64), tf.cast(gradient, tf.float64), objective[:, None]
        accepted = objective <= of_x + ENOUGH * _dot(z - x, g)
        of_x = tf.where(accepted, objective, of_x)
        s, y = z - x, gradient - g
        useful = accepted & (_dot(s, y) > 1e-12)
        steps = tf.concat([steps[:, 1:], tf.where(useful, s, np.float64(0))[:, None]], 1)
        changes = tf.concat([changes[:, 1:], tf.where(useful, y, np.float64(0))[:, None]], 1)
        x, g = tf.where(accepted, z, x), tf.where(accepted, gradient, g)
        downhill = tf.where(((x >= 1) & (g < 0)) | ((x <= -1) & (g > 0)), np.float64(0), -g)
        new = tf.where(downhill == 0, np.float64(0), _newton(downhill, steps, changes, inverse))
        new = tf.where(_dot(new, downhill) > 0, new, downhill)
        largest = tf.reduce_max(tf.abs(new), 1, keepdims=True)
        begins = tf.reduce_all(tf.equal(changes, 0), [1, 2])[:, None]  # no pair gives a curvature yet
        longest = tf.where(begins, np.float64(BEGINNING * settings.lr), np.float64(settings.lr))
        factor = tf.math.divide_no_nan(longest, largest)
        new *= tf.where(begins, factor, tf.minimum(np.float64(1), factor))
        direction = tf.where(accepted, new, direction)
        fraction = tf.where(accepted, np.float64(1), SHORTER * fraction)
        memory = Pairs(x, of_x, g, direction, fraction, steps, changes)
        return memory, tf.cast(tf.clip_by_value(x + fraction * direction, -1, 1), tf.float32)

    return begin, step


def _newton(descent, steps, changes, inverse):
    """The inverse Hessian implied by the pairs, times `descent`: the two-loop recursion.

    Each loop is a triangular system, because the result for a pair depends on the pairs before it.
    """
    products = tf.matmul(steps, changes, transpose_b=True)  # (n, 10, 10)
    bends = tf.linalg.diag_part(products)
    used = tf.not_equal(bends, 0)
    triangle = tf.linalg.set_diag(tf.linalg.band_part(products, 0, -1), tf.where(used, bends, np.float64(1)))
    first = tf.linalg.triangular_solve(triangle, tf.matmul(steps, descent[..., None]), lower=False)
    descent -= tf.matmul(changes, first, transpose_a=True)[..., 0]
    latest = tf.reduce_max(tf.where(used, tf.range(MEMORY), 0), axis=1)
    s, y = (tf.gather(pairs, latest, batch_dims=1) for pairs in (steps, changes))
    ratio = tf.math.divide_no_nan(_dot(s, y), _dot(y, y @ inverse))
    descent = tf.where(ratio > 0, ratio, np.float64(1)) * (descent @ inverse)
    rest = bends[..., None] * first - tf.matmul(changes, descent[..., None])
    second = tf.linalg.triangular_solve(triangle, rest, lower=False, adjoint=True)
    return descent + tf.matmul(steps, second, transpose_a=True)[..., 0]


def _dot(a, b):
    """Dot product of the rows of two (n, k) tensors -> (n, 1)."""
    return tf.reduce_sum(a * b, 1, keepdims=True)

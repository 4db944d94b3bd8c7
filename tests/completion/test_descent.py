"""The update rules on objectives with known minima."""

import numpy as np
import pytest
import tensorflow as tf

from contextual_gan.completion import descent
from contextual_gan.config import SearchSettings

LBFGS = SearchSettings(update="lbfgs", lr=0.3)


def quadratics(n, condition, reach, seed=0):
    """(Hessians (n, 100, 100), minima (n, 100)) of n convex quadratics; minima within `reach` of 0."""
    rng = np.random.default_rng(seed)
    turns = np.linalg.qr(rng.normal(size=(n, 100, 100)))[0]
    hessians = turns @ (np.geomspace(1, condition, 100)[:, None] * turns.transpose(0, 2, 1))
    return hessians, rng.uniform(-reach, reach, (n, 100))


def descend(rule, hessians, minima, iterations, start=0.0):
    """Objectives and z in the course of a descent, (iterations + 1, n) and (iterations + 1, n, 100)."""
    begin, step = rule
    z = tf.fill(minima.shape, np.float32(start))
    memory, found = begin(z), []
    for _ in range(iterations + 1):
        away = z.numpy().astype(np.float64) - minima
        gradient = np.einsum("nij,nj->ni", hessians, away)
        objective = np.einsum("ni,ni->n", away, gradient) / 2
        found.append((objective, z.numpy()))
        memory, z = step(memory, z, tf.constant(objective), tf.constant(gradient, tf.float32))
    return [np.stack(part) for part in zip(*found, strict=True)]


def test_lbfgs_finds_the_minimum_where_momentum_does_not():
    problem = quadratics(3, 1000.0, 0.9)
    objective, z = descend(descent.rule(LBFGS), *problem, 120)
    assert np.abs(z[-1] - problem[1]).max() < 0.05 and (objective[-1] < 1e-4 * objective[0]).all()
    other, _ = descend(descent.rule(SearchSettings(update="nesterov", lr=1e-3)), *problem, 120)
    assert (objective[-1] < 0.01 * other[-1]).all()


def test_a_row_does_not_depend_on_the_other_rows():
    hessians, minima = quadratics(3, 1000.0, 1.5)
    _, together = descend(descent.rule(LBFGS), hessians, minima, 40)
    _, alone = descend(descent.rule(LBFGS), hessians[1:2], minima[1:2], 40)
    assert np.array_equal(together[:, 1:2], alone)


def test_rising_steps_are_rejected_and_no_step_exceeds_the_limit():
    hessians, minima = quadratics(2, 1e4, 0.9, seed=3)
    objective, z = descend(descent.rule(LBFGS), hessians, minima, 60, start=-0.9)
    assert np.abs(z).max() <= 1
    lowest = np.minimum.accumulate(objective)
    rises = objective[1:] > lowest[:-1]
    assert rises.any() and (lowest[-1] < 0.01 * objective[0]).all()
    for i, row in zip(*np.nonzero(rises[:-1]), strict=True):  # the next trial is a shorter step from the same z
        before = z[np.argmin(objective[: i + 1, row]), row]
        inside = (np.abs(z[i + 1, row]) < 1) & (np.abs(z[i + 2, row]) < 1)
        trial, next_trial = ((z[j, row] - before)[inside] for j in (i + 1, i + 2))
        np.testing.assert_allclose(next_trial, descent.SHORTER * trial, atol=1e-5)
    assert np.abs(np.diff(z, axis=0))[~rises[:, :, None].repeat(100, 2)].max() <= 0.3 + 1e-6


def test_minima_outside_the_range_are_found_at_its_border():
    minima = np.random.default_rng(0).uniform(-2, 2, (2, 100))
    hessians = np.geomspace(1, 100, 100) * np.eye(100) * np.ones((2, 1, 1))  # separable, so clipping is exact
    _, z = descend(descent.rule(LBFGS), hessians, minima, 100)
    assert np.abs(z[-1] - np.clip(minima, -1, 1)).max() < 0.01


def test_known_curvature_helps():
    hessians, minima = quadratics(1, 1e4, 0.9)
    with_curvature, _ = descend(descent.rule(LBFGS, 1e3 * hessians[0]), hessians, minima, 25)
    without, _ = descend(descent.rule(LBFGS), hessians, minima, 25)
    assert with_curvature.min() < 0.5 * without.min()


@pytest.mark.parametrize("update", ["momentum", "nesterov", "lbfgs"])
def test_nothing_moves_without_a_gradient(update):
    begin, step = descent.rule(SearchSettings(update=update))
    z = tf.fill((2, 100), 0.5)
    nothing = tf.zeros((2, 100))
    flat = tf.zeros(2, tf.float64)
    memory, after = step(begin(z), z, flat, nothing)
    assert np.array_equal(after, z) and np.array_equal(step(memory, after, flat, nothing)[1], z)

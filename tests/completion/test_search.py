import keras
import numpy as np
import pytest
import tensorflow as tf

from contextual_gan.completion import initialization, search
from contextual_gan.completion.candidates import draw_candidates
from contextual_gan.completion.faithful import of_kinds
from contextual_gan.completion.losses import GREY, distribution, kl_divergence, perceptual_loss, target
from contextual_gan.completion.search import complete, encoder_fit
from contextual_gan.config import PRESETS, SearchSettings
from contextual_gan.evaluation.metrics import sketch_consistency
from contextual_gan.files.images import decode_rgba, on_background, to_float, to_uint8
from contextual_gan.joint import half
from contextual_gan.models import dcgan, inference
from contextual_gan.models.encoder import Encoder
from contextual_gan.models.inference import encode, generate
from contextual_gan.preparation.sketches import xdog

# --- a slow and simple reference in float64 ---------------------------------------------------------------------------


def twin_distribution(image, epsilon=1e-8):
    grey = 0.2989 * image[..., 0] + 0.5870 * image[..., 1] + 0.1140 * image[..., 2]
    pixels = ((grey + 1) / 2 + epsilon).reshape(len(image), -1)
    return pixels / pixels.sum(axis=1, keepdims=True)


def twin_kl(p, q):
    return np.array([sum(a * np.log(a / b) for a, b in zip(x, y, strict=True)) for x, y in zip(p, q, strict=True)])


def twin_contextual(joints, known, direction="photo"):
    generated = half(np.asarray(joints, np.float64), "sketch" if direction == "photo" else "photo")
    return twin_kl(twin_distribution(generated), twin_distribution(known.astype(np.float64)))


@pytest.fixture(scope="module")
def tiny():
    """A generator and a discriminator of width 2 in float64, with weights large enough for steep losses."""
    keras.config.set_dtype_policy("float64")
    models = dcgan.generator(2), dcgan.discriminator(2)
    keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(2)
    for model in models:
        for variable in model.trainable_variables:
            mean, deviation = {"kernel": (0, 0.15), "gamma": (1, 0.02)}.get(variable.name, (0, 0))
            variable.assign(rng.normal(mean, deviation, variable.shape))
    return models


def halves(n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, 64, 64, 3)).astype(np.float32)


def latents(n):
    return np.random.default_rng(1).uniform(-1, 1, (n, 100)).astype(np.float32)


def gradients(networks, z, known, **numbers):
    """The gradient of the objective for each row, derived from one step without momentum at learning rate 1."""
    settings = SearchSettings(update="momentum", lr=1.0, momentum=0.0, **numbers)
    advance = search._compiled_search(*networks, "photo", settings)
    (_, (v,), *_), _ = advance(search.begin(z, settings), target(known, settings), tf.constant(1))
    return -v.numpy()


# --- losses -----------------------------------------------------------------------------------------------------------


def test_kl_and_distribution_agree_with_the_reference():
    a, b = halves(3), halves(3, seed=1)
    p, q = distribution(a), distribution(b)
    assert np.allclose(p, twin_distribution(a.astype(np.float64)), rtol=1e-12)
    assert np.allclose(kl_divergence(p, q), twin_kl(p.numpy(), q.numpy()), rtol=1e-9)


def test_black_is_a_valid_distribution():
    black = distribution(-np.ones((1, 64, 64, 3), np.float32))
    assert np.allclose(black, 1 / 4096)


def test_gradient_of_kl_equals_the_formula_and_the_finite_difference():
    generated, known = halves(1).astype(np.float64) * 0.99, halves(1, seed=1).astype(np.float64)
    q = twin_distribution(known)
    x = tf.constant(generated)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = kl_divergence(distribution(x), distribution(known))
    gradient = tape.gradient(loss, x).numpy()[0]
    p, grey_sum = twin_distribution(generated), ((generated @ GREY + 1) / 2 + 1e-8).sum()
    by_grey = ((np.log(p / q) - twin_kl(p, q)) / grey_sum).reshape(64, 64)
    for channel, weight in enumerate((0.2989, 0.5870, 0.1140)):
        assert np.allclose(gradient[..., channel], by_grey * weight / 2, rtol=1e-8, atol=1e-14)
    for row, column, channel in ((0, 0, 0), (31, 7, 1), (63, 63, 2)):
        sides = []
        for step in (1e-5, -1e-5):
            moved = generated.copy()
            moved[0, row, column, channel] += step
            sides.append(twin_kl(twin_distribution(moved), q)[0])
        difference = (sides[0] - sides[1]) / 2e-5
        assert gradient[row, column, channel] == pytest.approx(difference, rel=1e-4, abs=1e-10)


@pytest.mark.parametrize("search_kl", ["generated-input", "input-generated"])
@pytest.mark.parametrize("perceptual", ["non-saturating", "saturating"])
def test_gradient_of_z_equals_the_finite_difference_through_both_networks(tiny, search_kl, perceptual):
    z, known = latents(2), halves(2)

    def objective(z):
        joint = inference.forward(tiny[0], tf.constant(z, tf.float64))
        p = twin_distribution(half(joint.numpy(), "sketch"))
        q = twin_distribution(known.astype(np.float64))
        kl = twin_kl(p, q) if search_kl == "generated-input" else twin_kl(q, p)
        d = 1 / (1 + np.exp(-inference.forward(tiny[1], joint).numpy()[:, 0]))
        return kl + 0.7 * (-np.log(d) if perceptual == "non-saturating" else np.log(1 - d))

    gradient = gradients(tiny, z, known, lambda_=0.7, search_kl=search_kl, perceptual=perceptual)
    for i in (0, 41, 99):
        step = np.zeros_like(z, np.float64)
        step[:, i] = 1e-6
        difference = (objective(z + step) - objective(z - step)) / 2e-6
        assert np.allclose(gradient[:, i], difference, rtol=1e-3, atol=1e-6 * np.abs(gradient).max())


def test_perceptual_losses_are_right_for_large_logits():
    logits = tf.constant([-1e4, 0.0, 1e4])
    assert np.allclose(perceptual_loss(logits), [1e4, np.log(2), 0])
    assert np.allclose(perceptual_loss(logits, "saturating"), [0, -np.log(2), -1e4])


# --- the search -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("update", ["momentum", "nesterov"])
def test_updates_follow_their_formula_with_clipped_z_and_unclipped_velocity(tiny, update):
    z, known = latents(2), halves(2)
    settings = SearchSettings(update=update, lr=5.0, momentum=0.9, lambda_=0.1)
    advance = search._compiled_search(*tiny, "photo", settings)
    (found, (velocity,), *_), _ = advance(search.begin(z, settings), target(known, settings), tf.constant(4))
    v = np.zeros_like(z)
    for _ in range(4):
        new = 0.9 * v - 5.0 * gradients(tiny, z, known, lambda_=0.1)
        z = np.clip(z + (new if update == "momentum" else -0.9 * v + 1.9 * new), -1, 1)
        v = new
    assert (np.abs(z) == 1).any() and (np.abs(z) < 1).any()
    assert np.allclose(found, z, atol=1e-5) and np.allclose(velocity, v, atol=1e-5)


def test_the_prior_pulls_towards_zero(tiny):
    z, known = latents(2), halves(2)
    for lambda_ in (0.0, 0.1):
        pulled = gradients(tiny, z, known, lambda_=lambda_, prior=3.0)
        free = gradients(tiny, z, known, lambda_=lambda_)
        assert np.allclose(pulled - free, 2 * 3.0 * z / 100, atol=1e-4)
    found = complete(*tiny, known, iterations=5, prior=3.0, n_init=1, lambda_=0.0)
    contextual = twin_contextual(found.initial_joints[:, 0], known)
    assert np.allclose(found.contextual[:, 0, 0], contextual, rtol=1e-4)
    assert np.allclose(found.total[:, 0, 0], contextual + 3 * np.mean(found.initial_z[:, 0] ** 2, axis=1), rtol=1e-4)


def test_a_search_in_chunks_matches_a_search_in_one_piece(tiny):
    z, known = latents(2), halves(2)
    settings = SearchSettings(update="lbfgs", lr=0.3, iterations=9)
    advance, begin = search._compiled_search(*tiny, "photo", settings), search.begin(z, settings)
    whole, losses = advance(begin, target(known, settings), tf.constant(10))
    state, first = advance(begin, target(known, settings), tf.constant(4))
    state, second = advance(state, target(known, settings), tf.constant(6))
    assert np.array_equal(losses, np.concatenate([first, second]))
    assert all(np.array_equal(a, b) for a, b in zip(tf.nest.flatten(whole), tf.nest.flatten(state), strict=True))


def test_the_iterate_of_lowest_total_is_kept_not_the_last(tiny):
    known = halves(1)
    found = complete(*tiny, known, iterations=30, lr=1000.0, lambda_=0.1, update="momentum")
    kept = found.total[0, 0].argmin()
    assert 0 < kept < 30  # at this learning rate the search overshoots
    assert twin_contextual(found.joints[:, 0], known) == pytest.approx(found.contextual[0, 0, kept], rel=1e-5)
    d = 1 / (1 + np.exp(-tiny[1](found.joints[:, 0], training=False).numpy()[:, 0]))
    assert found.total[0, 0, kept] == pytest.approx(found.contextual[0, 0, kept] - 0.1 * np.log(d[0]), rel=1e-5)


def test_the_start_is_kept_if_no_iterate_is_better(tiny):
    found = complete(*tiny, halves(1), iterations=3, lr=1e6)
    assert found.total[0, 0].argmin() == 0
    assert np.array_equal(found.joints, found.initial_joints)


def test_the_start_is_the_best_of_n_and_counts_for_the_first_loss(tiny):
    known = halves(2)
    z, divergences = initialization.initialize(tiny[0], known, n_init=7)
    for row in range(2):
        joints = tiny[0](z[row], training=False).numpy()
        q = twin_distribution(np.repeat(known[row : row + 1], 7, axis=0).astype(np.float64))
        assert np.allclose(divergences[row], twin_kl(q, twin_distribution(half(joints, "sketch"))), rtol=1e-4)
    found = complete(*tiny, known, n_init=7, iterations=1)
    assert np.array_equal(found.initial_z[:, 0], z[np.arange(2), divergences.argmin(axis=1)])
    assert np.allclose(found.contextual[:, 0, 0], twin_contextual(found.initial_joints[:, 0], known), rtol=1e-4)


def constant_encoder(z):
    """An encoder that returns the same z for every input."""
    known = keras.Input((64, 64, 3))
    layer = keras.layers.Dense(100, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(z))
    return Encoder(keras.Model(known, layer(keras.layers.Flatten()(known))), np.eye(100, dtype=np.float32))


def test_the_search_starts_from_the_encoder_and_its_neighbourhood(tiny):
    known, encoder = halves(2), constant_encoder(0.9)
    z, divergences = initialization.initialize(tiny[0], known, n_init=5, encoder=encoder, spread=0.2)
    assert np.allclose(z[:, 0], 0.9) and z.max() == 1
    random = draw_candidates(known, (5, 100), seed=0)
    assert np.allclose(z[:, 1:], np.minimum(0.9 + 0.2 * random[:, 1:], 1))
    options = {"start": "encoder", "n_init": 5, "spread": 0.2, "iterations": 1}
    found = complete(*tiny, known, encoder=encoder, **options)
    assert np.allclose(found.initial_z, 0.9)  # the encoder's output is always the first
    found = complete(*tiny, known, encoder=encoder, samples=3, faithful=0, **options)
    others = 1 + np.argsort(divergences[:, 1:], axis=1)[:, :2]
    assert np.array_equal(found.z[:, 0], z[:, 0])
    assert np.array_equal(found.z[:, 1:], np.take_along_axis(z, others[..., None], axis=1))
    with pytest.raises(ValueError, match="encoder, but none"):
        complete(*tiny, known, **options)


def test_the_centre_of_the_prior_is_the_encoders_z(tiny):
    known, settings = halves(2), SearchSettings(update="momentum", lr=1.0, momentum=0.0, prior=3.0)
    z, centre = latents(2), np.full((2, 100), 0.3, np.float32)
    steps = []
    for where in (centre, z):
        advance = search._compiled_search(*tiny, "photo", settings)
        (_, (v,), *_), _ = advance(search.begin(z, settings), target(known, settings, where), tf.constant(1))
        steps.append(-v.numpy())
    assert np.allclose(steps[0] - steps[1], 2 * 3.0 * (z - centre) / 100, atol=1e-4)


FAITHFUL = {"start": "encoder", "n_init": 4, "lambda_": 0.0, "update": "lbfgs", "lr": 0.3, "iterations": 20}


def test_faithful_results_are_nearer_to_the_input_and_further_from_the_encoder(tiny):
    known, encoder = halves(2), constant_encoder(0.5)
    z0 = inference.encode(encoder.network, known)
    found = [complete(*tiny, known, encoder=encoder, faithful=f, **FAITHFUL) for f in (0, 0.25, 0.5, 0.75, 1)]
    moved = [np.square(x.z[:, 0] - z0).mean() for x in found]
    fit = [np.mean(twin_contextual(x.joints[:, 0], known)) for x in found]
    assert moved[0] == 0 and (np.diff(moved) > 0).all()
    assert (np.diff(fit) < 0).all()
    assert np.isnan(found[0].total[..., 1:]).all() and np.isfinite(found[0].total[..., 0]).all()
    assert np.allclose(found[0].contextual[:, 0, 0], found[1].contextual[:, 0, 0], rtol=1e-6)
    assert np.allclose(found[0].total[:, 0, 0], found[1].total[:, 0, 0], rtol=1e-6)
    free = complete(*tiny, known, encoder=encoder, prior=0.1, **FAITHFUL)
    assert np.array_equal(found[4].z, free.z)


def test_each_input_may_have_its_own_faithfulness(tiny):
    known, encoder, calls = halves(3), constant_encoder(0.5), []
    alone = [
        complete(*tiny, known[i : i + 1], encoder=encoder, faithful=f, samples=2, **FAITHFUL)
        for i, f in enumerate((0.8, 0, 0.3))
    ]
    options = {"faithful": [0.8, 0, 0.3], "samples": 2, "progress": lambda n, loss: calls.append((n, loss))}
    together = complete(*tiny, known, encoder=encoder, **options, **FAITHFUL)
    for i, one in enumerate(alone):
        assert np.array_equal(together.z[i], one.z[0])
        assert np.array_equal(together.total[i], one.total[0], equal_nan=True)
        assert not np.array_equal(one.z[0, 0], one.z[0, 1])
    assert sum(n for n, _ in calls) == 3 * 2 * 21 and all(np.isfinite(loss) for _, loss in calls)


def test_the_fit_is_the_consistency_of_the_encoders_photo(networks, encoder, sketches):
    photos = half(generate(networks[0], encode(encoder.network, to_float(sketches))), "photo")
    fit = encoder_fit(networks[0], encoder, sketches)
    np.testing.assert_allclose(fit, sketch_consistency(sketches, to_uint8(photos)), atol=5e-3)
    np.testing.assert_allclose(encoder_fit(networks[0], encoder, sketches[:1]), fit[:1], rtol=1e-6)


def test_computed_sketches_are_followed_as_far_as_the_encoder_explains_them():
    kinds, known = ["sketch", "drawing", "sketch", "sketch", "photo"], np.arange(5)
    rules = {"sketch": {"most": 0.8, "low": 0.5, "high": 0.9}, "drawing": 0.1, "photo": 1.0}
    fits = {0: 0.3, 2: 0.6, 3: 0.95}  # of the sketches alone
    found = of_kinds(rules, kinds, known, lambda rows: [fits[row] for row in rows])
    np.testing.assert_array_equal(found, [0, 0.1, 0.2, 0.8, 1])
    np.testing.assert_array_equal(of_kinds(0.3, kinds, known, None), [0.3] * 5)
    assert of_kinds(None, kinds, known, None) is None


@pytest.mark.parametrize("faithful", [1.1, -0.1, float("nan"), [0.5, 0.5]])
def test_a_faithfulness_out_of_range_is_refused(tiny, faithful):
    with pytest.raises(ValueError, match="faithful is"):
        complete(*tiny, halves(3), encoder=constant_encoder(0.5), faithful=faithful, **FAITHFUL)
    with pytest.raises(ValueError, match="faithful is for searches that start from an encoder"):
        complete(*tiny, halves(3), faithful=0.5)


def test_photos_are_known_in_the_other_direction(tiny):
    known = halves(2)
    found = complete(*tiny, known, direction="sketch", iterations=5, n_init=3)
    assert np.allclose(
        found.contextual[:, 0, 0], twin_contextual(found.initial_joints[:, 0], known, "sketch"), rtol=1e-4
    )
    assert (found.total[:, 0].min(axis=1) < found.total[:, 0, 0]).all()


@pytest.mark.parametrize("preset", ["coauthor", "edges"])
def test_a_result_does_not_depend_on_batch_or_order(networks, encoder, sketches, preset):
    options = {"preset": preset, "iterations": 20, "encoder": encoder}
    together = complete(*networks, sketches, **options)
    order = np.array([3, 0, 4, 2, 1])
    shuffled = complete(*networks, sketches[order], batch_size=3, **options)
    alone = complete(*networks, sketches[2:3], **options)
    assert np.array_equal(together.joints[order], shuffled.joints)
    assert np.array_equal(together.joints[2], alone.joints[0])
    assert np.abs(together.joints - together.initial_joints).max() > 0.5  # the search did something


def test_randomness_depends_on_seed_and_content(tiny):
    known = halves(2)
    z = draw_candidates(known, (4, 100), seed=0)
    assert np.array_equal(z[::-1], draw_candidates(known[::-1], (4, 100), seed=0))
    assert not np.array_equal(z[0], z[1])
    assert not np.array_equal(z, draw_candidates(known, (4, 100), seed=1))
    assert np.array_equal(z[:, :2], draw_candidates(known, (2, 100), seed=0))
    assert np.abs(z).max() <= 1 and abs(z.mean()) < 0.1


def test_uint8_and_float_inputs_give_the_same(tiny, sketches):
    a = complete(*tiny, sketches[:1], iterations=2, n_init=2)
    b = complete(*tiny, to_float(sketches[:1]), iterations=2, n_init=2)
    assert np.array_equal(a.joints, b.joints)


@pytest.mark.parametrize("direction", ["photo", "sketch"])
def test_black_and_white_input_stay_finite(networks, direction):
    known = np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])
    found = complete(*networks, known, direction=direction, iterations=20, n_init=2)
    assert np.isfinite(found.contextual).all() and np.isfinite(found.total).all() and np.isfinite(found.joints).all()


class Cliff(keras.layers.Layer):
    """NaN for every joint in which one value, by its flat index, is above an edge."""

    def __init__(self, index, edge):
        super().__init__(dtype="float64")
        self.index, self.edge = index, edge

    def call(self, joints):
        value = tf.reshape(joints, (-1, 64 * 128 * 3))[:, self.index]
        return tf.where(value[:, None, None, None] > self.edge, tf.constant(np.nan, joints.dtype), joints)


def test_only_the_row_that_becomes_non_finite_stops(tiny):
    z, known = latents(1).repeat(3, axis=0), halves(3)
    settings = SearchSettings(iterations=40, lr=0.05, momentum=0.0)
    advance = search._compiled_search(*tiny, "photo", settings)
    (end, *_), _ = advance(search.begin(z, settings), target(known, settings), tf.constant(40))
    values = inference.generate(tiny[0], np.concatenate([end.numpy(), z[:1]])).reshape(4, -1)
    others = values[1:].max(axis=0)
    index = (values[0] - others).argmax()  # rises most in row 0 alone: put an edge in its path
    cliff = keras.Sequential([*tiny[0].layers, Cliff(index, (values[0, index] + others[index]) / 2)])
    victim = 0
    best, contextual, total = search.search(cliff, tiny[1], known, z, direction="photo", settings=settings)
    free, free_contextual, _ = search.search(*tiny, known, z, direction="photo", settings=settings)
    stopped = np.isfinite(total[victim]).sum()
    assert 1 <= stopped < 41 and np.isnan(total[victim, stopped:]).all() and np.isnan(contextual[victim, -1])
    assert np.isfinite(best).all() and total[victim, :stopped].min() <= total[victim, 0]
    others = np.arange(3) != victim
    assert np.array_equal(contextual[others], free_contextual[others]) and np.array_equal(best[others], free[others])


def test_samples_differ_and_the_best_comes_first(tiny):
    found = complete(*tiny, halves(2), samples=3, n_init=5, iterations=10)
    assert found.joints.shape == (2, 3, 64, 128, 3) and found.z.shape == (2, 3, 100)
    lowest = found.total.min(axis=2)
    assert (np.diff(lowest, axis=1) >= 0).all()
    starts = found.initial_z[0]
    assert len(np.unique(starts, axis=0)) == 3
    single = complete(*tiny, halves(1), samples=1, n_init=5, iterations=10)
    assert single.joints.shape == (1, 1, 64, 128, 3)


def test_progress_counts_every_evaluation(tiny):
    calls = []
    complete(*tiny, halves(3), iterations=7, n_init=2, batch_size=2, progress=lambda n, loss: calls.append((n, loss)))
    assert sum(n for n, _ in calls) == 3 * 8 and all(np.isfinite(loss) for _, loss in calls)


def test_presets_match_the_specification():
    readme, coauthor = PRESETS["readme"], PRESETS["coauthor"]
    assert (readme.n_init, readme.lambda_, readme.update, readme.lr, readme.momentum) == (
        30,
        0.01,
        "momentum",
        0.01,
        0.9,
    )
    assert (coauthor.n_init, coauthor.lambda_, coauthor.update, coauthor.lr) == (30, 0.01, "nesterov", 0.1)
    assert readme.iterations == coauthor.iterations == 1000 and coauthor.momentum == 0.9
    assert {s.init_kl for s in PRESETS.values()} == {"input-generated"}
    assert {s.search_kl for s in PRESETS.values()} == {"generated-input"}


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"lr": -1}, "lr is -1"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lambda_": -0.1}, "lambda is -0.1"),
        ({"update": "newton"}, "momentum, nesterov, lbfgs"),
        ({"samples": 5, "n_init": 4}, "n_init is 4"),
        ({"preset": "best"}, "best"),
        ({"direction": "left"}, "left"),
    ],
)
def test_invalid_numbers_are_refused(tiny, numbers, message):
    with pytest.raises(ValueError, match=message):
        complete(*tiny, halves(1), **numbers)


def test_invalid_halves_are_refused(tiny):
    for known in (halves(1)[0], np.zeros((1, 64, 128, 3), np.uint8), 200 * halves(1), halves(1) * np.nan):
        with pytest.raises(ValueError, match="known halves"):
            complete(*tiny, known)


@pytest.mark.parametrize(
    ("count", "samples", "iterations"), [(2, 4, 150), pytest.param(16, 1, 1000, marks=pytest.mark.full)]
)
def test_the_sketch_of_a_generated_joint_is_found_again(networks, count, samples, iterations):
    """Few searches need several starts: from one in three, 150 iterations end in a local minimum."""
    z = np.random.default_rng(1).uniform(-1, 1, (count, 100)).astype(np.float32)
    known = half(inference.generate(networks[0], z), "sketch")
    found = complete(*networks, known, preset="coauthor", iterations=iterations, samples=samples)
    initial, best = np.median(found.contextual[:, 0, 0]), np.median(found.contextual[:, 0].min(axis=1))
    print(f"median contextual loss of {count}: {initial:.4f} to {best:.4f}, {initial / best:.1f} times lower")
    assert initial > 10 * best


def test_real_test_faces_get_a_clearly_lower_loss(networks, data):
    with open(data / "faces_test.pack", "rb") as pack:  # a count, the sizes, then as many WebP images
        sizes = np.frombuffer(pack.read(4 * (int.from_bytes(pack.read(4), "little"))), "<u4")[:6]
        photos = [on_background(decode_rgba(pack.read(size))) for size in sizes]
    known = np.stack([xdog(photo) for photo in photos])
    found = complete(*networks, known, iterations=100)
    initial, best = np.median(found.contextual[:, 0, 0]), np.median(found.contextual[:, 0].min(axis=1))
    assert best < 0.9 * initial
    drawn = complete(*networks, np.stack(photos), direction="sketch", iterations=100)
    initial, best = np.median(drawn.contextual[:, 0, 0]), np.median(drawn.contextual[:, 0].min(axis=1))
    assert best < 0.7 * initial

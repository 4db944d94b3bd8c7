"""The networks of `contextual_gan.models` as functions of {name: array} in JAX, and the losses of both trainings.

Arrays are named as in the weight files, without the name of the network: "up1.kernel". Each network returns its output
and the statistics of batch normalization after a training step. `compute` is the type of the arithmetic between
float32 weights and outputs.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from contextual_gan.joint import SIZE, half
from contextual_gan.preparation.sketches import INK_SIGMA, parameters_of

LATENT = 100
STATISTICS = ("moving_mean", "moving_variance")
GREY = (0.299, 0.587, 0.114)  # of OpenCV
LUMINANCE = (0.2989, 0.5870, 0.1140)  # of the contextual loss
XDOG = parameters_of("xdog")


def trained(weights):
    """The arrays changed by the optimizer: all but the statistics."""
    return {name: value for name, value in weights.items() if not name.endswith(STATISTICS)}


def batch_norm(x, weights, name, training, *, momentum=0.9, epsilon=1e-5):
    """Normalise over all axes but the last -> (the result, the new statistics)."""
    mean, variance = (weights[f"{name}.{statistic}"] for statistic in STATISTICS)
    new = {}
    if training:
        wide, axes = x.astype(jnp.float32), tuple(range(x.ndim - 1))
        batch = wide.mean(axes)
        batch = batch, jnp.maximum((wide * wide).mean(axes) - batch * batch, 0)
        new = {
            f"{name}.{statistic}": lax.stop_gradient(momentum * old + (1 - momentum) * now)
            for statistic, old, now in zip(STATISTICS, (mean, variance), batch, strict=True)
        }
        mean, variance = batch
    scale = weights[f"{name}.gamma"] * lax.rsqrt(variance + epsilon)
    return ((x.astype(jnp.float32) - mean) * scale + weights[f"{name}.beta"]).astype(x.dtype), new


def conv(x, kernel, compute):
    """A 5x5 convolution of stride 2."""
    numbers = ("NHWC", "HWIO", "NHWC")
    x, kernel = x.astype(compute), kernel.astype(compute)
    return lax.conv_general_dilated(x, kernel, (2, 2), "SAME", dimension_numbers=numbers)


def conv_transpose(x, kernel, compute):
    """The transpose of `conv`."""
    numbers = ("NHWC", "HWIO", "NHWC")
    x, kernel = x.astype(compute), kernel.astype(compute)
    return lax.conv_transpose(x, kernel, (2, 2), "SAME", dimension_numbers=numbers, transpose_kernel=True)


def generator(weights, z, training=False, compute=jnp.float32):
    """G: z (n, 100) -> (joints (n, 64, 128, 3) in [-1, 1], new statistics)."""
    x = z.astype(compute) @ weights["dense.kernel"].astype(compute) + weights["dense.bias"].astype(compute)
    x, found = batch_norm(x.reshape(len(z), 4, 8, -1), weights, "bn0", training)
    x = jax.nn.relu(x)
    for i in (1, 2, 3):
        x = conv_transpose(x, weights[f"up{i}.kernel"], compute) + weights[f"up{i}.bias"].astype(compute)
        x, new = batch_norm(x, weights, f"bn{i}", training)
        x, found = jax.nn.relu(x), found | new
    x = conv_transpose(x, weights["up4.kernel"], compute).astype(jnp.float32) + weights["up4.bias"]
    return jnp.tanh(x), found


def discriminator(weights, images, training=True, compute=jnp.float32):
    """D or P: images (n, h, w, c) -> (logits (n,), new statistics)."""
    x, found = images, {}
    for i in range(4):
        x = conv(x, weights[f"conv{i}.kernel"], compute) + weights[f"conv{i}.bias"].astype(compute)
        if i:
            x, new = batch_norm(x, weights, f"bn{i}", training)
            found |= new
        x = jax.nn.leaky_relu(x, 0.2)
    x = x.reshape(len(x), -1).astype(jnp.float32)
    return (x @ weights["dense.kernel"] + weights["dense.bias"])[:, 0], found


def encoder(weights, known, training=False, compute=jnp.float32):
    """E: halves (n, 64, 64, 3) in [-1, 1] -> (z (n, 100) in [-1, 1], new statistics)."""
    x, found = known, {}
    for i in range(4):
        x = conv(x, weights[f"conv{i}.kernel"], compute)
        x, new = batch_norm(x, weights, f"bn{i}", training, momentum=0.99, epsilon=1e-3)
        x, found = jax.nn.relu(x), found | new
    x = x.reshape(len(x), -1).astype(compute)
    x = jax.nn.relu(x @ weights["hidden.kernel"].astype(compute) + weights["hidden.bias"].astype(compute))
    return jnp.tanh(x.astype(jnp.float32) @ weights["dense.kernel"] + weights["dense.bias"]), found


# --- joint images -----------------------------------------------------------------------------------------------------


def read_joints(files):
    """Joint PNGs -> (n, 64, 128, 3) uint8 RGB."""
    joints = np.empty((len(files), SIZE, 2 * SIZE, 3), np.uint8)

    def read(i):
        image = cv2.imread(files[i])
        if image is None or image.shape != joints.shape[1:]:
            raise ValueError(f"{files[i]}: not a joint image")
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=joints[i])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(read, range(len(files)), chunksize=64):
            pass
    return joints


def overlaid(joints):
    """Joints (n, 64, 128, 3) -> (n, 64, 64, 4): the grey sketch before the photo."""
    return jnp.concatenate([half(joints, "sketch").mean(-1, keepdims=True), half(joints, "photo")], -1)


# --- random weights ---------------------------------------------------------------------------------------------------


def drawn(key, shapes, kernel):
    """{name: array} of {name: shape}: kernels by kernel(key, name, shape), gamma from N(1, 0.02), the rest constant."""
    found = {}
    for i, (name, shape) in enumerate(shapes.items()):
        at = jax.random.fold_in(key, i)
        if name.endswith("kernel"):
            found[name] = kernel(at, name, shape)
        elif name.endswith("gamma"):
            found[name] = 1 + 0.02 * jax.random.normal(at, shape)
        else:
            found[name] = jnp.full(shape, float(name.endswith("moving_variance")))
    return found


def norm_shapes(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("gamma", "beta", *STATISTICS)}


def new_generator(key, width=64):
    shapes = {"dense.kernel": (LATENT, 4 * 8 * 8 * width), "dense.bias": (4 * 8 * 8 * width,)}
    shapes |= norm_shapes("bn0", 8 * width)
    channels = [8 * width, 4 * width, 2 * width, width, 3]
    for i in range(1, 5):
        shapes |= {f"up{i}.kernel": (5, 5, channels[i], channels[i - 1]), f"up{i}.bias": (channels[i],)}
        shapes |= norm_shapes(f"bn{i}", channels[i]) if i < 4 else {}
    return drawn(key, shapes, lambda at, name, shape: 0.02 * jax.random.normal(at, shape))


def new_discriminator(key, channels, positions, width=64):
    """D for 3 channels and 32 positions of the last map, P for 4 and 16."""
    shapes, widths = {}, [channels, width, 2 * width, 4 * width, 8 * width]
    for i in range(4):
        shapes |= {f"conv{i}.kernel": (5, 5, widths[i], widths[i + 1]), f"conv{i}.bias": (widths[i + 1],)}
        shapes |= norm_shapes(f"bn{i}", widths[i + 1]) if i else {}
    shapes |= {"dense.kernel": (positions * 8 * width, 1), "dense.bias": (1,)}

    def kernel(at, name, shape):
        if name.startswith("dense"):
            return 0.02 * jax.random.normal(at, shape)
        return 0.02 * jax.random.truncated_normal(at, -2, 2, shape)

    return drawn(key, shapes, kernel)


def new_encoder(key, width=32):
    shapes, widths = {}, [3, width, 2 * width, 4 * width, 8 * width]
    for i in range(4):
        shapes |= {f"conv{i}.kernel": (5, 5, widths[i], widths[i + 1])} | norm_shapes(f"bn{i}", widths[i + 1])
    shapes |= {"hidden.kernel": (16 * 8 * width, 512), "hidden.bias": (512,)}
    shapes |= {"dense.kernel": (512, LATENT), "dense.bias": (LATENT,)}
    glorot = jax.nn.initializers.glorot_uniform()
    found = drawn(key, shapes, lambda at, name, shape: glorot(at, shape))
    return found | {name: jnp.ones_like(value) for name, value in found.items() if name.endswith("gamma")}


# --- Adam -------------------------------------------------------------------------------------------------------------


def adam(weights):
    """The initial state of the optimizer: step and moments."""
    zeros = {name: jnp.zeros_like(value) for name, value in trained(weights).items()}
    return jnp.zeros((), jnp.int32), zeros, zeros


def adam_step(weights, state, gradients, lr, beta_1=0.5, beta_2=0.999, epsilon=1e-8):
    """One update -> (all weights, the new state of the optimizer)."""
    step, m, v = state
    t = (step + 1).astype(jnp.float32)
    m = {name: beta_1 * m[name] + (1 - beta_1) * gradients[name] for name in m}
    v = {name: beta_2 * v[name] + (1 - beta_2) * gradients[name] ** 2 for name in v}
    rate = lr * jnp.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    new = {name: weights[name] - rate * m[name] / (jnp.sqrt(v[name]) + epsilon) for name in m}
    return weights | new, (step + 1, m, v)


# --- losses -----------------------------------------------------------------------------------------------------------


def consistency(sketches, photos):
    """`models.consistency.consistency`: grey (n, 64, 64) in [0, 1] -> (n,)."""
    blurred = _blur(photos, XDOG["sigma"]) - XDOG["tau"] * _blur(photos, XDOG["k"] * XDOG["sigma"]) - XDOG["eps"]
    a, b = _ink(sketches), _ink(0.5 + 0.5 * jnp.tanh(XDOG["phi"] * blurred))
    scale = jnp.sqrt((a * a).mean((1, 2)) * (b * b).mean((1, 2)) + 1e-18)
    return (a * b).mean((1, 2)) / scale


def grey(images):
    """Images (..., 3) in [-1, 1] -> (...) in [0, 1]."""
    return ((images + 1) / 2 * jnp.array(GREY)).sum(-1)


def divergence(generated, known, epsilon=1e-8):
    """The contextual loss KL(generated || known) of halves (n, 64, 64, 3) in [-1, 1] -> (n,)."""
    pixels = [((images * jnp.array(LUMINANCE)).sum(-1) + 1) / 2 + epsilon for images in (generated, known)]
    p, q = (values / values.sum((1, 2), keepdims=True) for values in pixels)
    return (p * (jnp.log(p) - jnp.log(q))).sum((1, 2))


def _ink(sketch):
    blurred = _blur(sketch, INK_SIGMA)
    return blurred - blurred.mean((1, 2), keepdims=True)


def _blur(images, sigma):
    reach = round(4 * sigma)
    matrix = np.zeros((SIZE, SIZE), np.float32)
    for shift, weight in zip(range(-reach, reach + 1), cv2.getGaussianKernel(2 * reach + 1, sigma)[:, 0], strict=True):
        matrix[np.arange(SIZE), np.clip(np.arange(SIZE) + shift, 0, SIZE - 1)] += weight
    # tanh magnifies the rounding of the tensor cores' reduced float32 by 200
    return jnp.einsum("ij,njk,lk->nil", matrix, images, matrix, precision=lax.Precision.HIGHEST)

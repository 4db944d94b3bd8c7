"""A user's Keras configuration has no effect."""

import os
import subprocess
import sys

CODE = """
from contextual_gan.models import dcgan
import keras
model = dcgan.generator(1)
print(keras.config.backend(), model.output_shape, model.dtype, model.compute_dtype, keras.config.epsilon())
"""


def test_networks_are_the_same_under_any_keras_json(tmp_path):
    given = '{"floatx": "float64", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first"}'
    (tmp_path / "keras.json").write_text(given)
    env = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=env, timeout=120)
    assert done.stdout == "tensorflow (None, 64, 128, 3) float32 float32 1e-07\n", done.stderr

"""Keras's configuration as the networks here need it, whatever ~/.keras/keras.json says.

It is imported where networks are built. The backend is set in __init__.py, before Keras is imported.
"""

from keras import config

if config.backend() != "tensorflow":  # Keras was imported before this package
    raise ImportError("Keras runs on another backend: set KERAS_BACKEND=tensorflow, or import contextual_gan first")

config.set_image_data_format("channels_last")
config.set_floatx("float32")
config.set_epsilon(1e-7)

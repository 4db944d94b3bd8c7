"""Contextual GAN: photos from sketches by searching the latent space of a GAN over joint images (arXiv 1711.08972)."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # overrides the environment and ~/.keras/keras.json
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # otherwise TensorFlow prints pages about missing GPUs

"""Contextual GAN: photos from sketches by searching the latent space of a GAN over joint images (arXiv 1711.08972)."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the environment or ~/.keras/keras.json says
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets every process with pages about missing GPUs

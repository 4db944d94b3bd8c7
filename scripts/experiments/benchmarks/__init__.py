"""The subjects of benchmark.py: one module each, whose main(args) prints; TensorFlow is loaded before."""

"""The subjects of benchmark.py: one module each, whose main(args) prints the results after TensorFlow is loaded."""

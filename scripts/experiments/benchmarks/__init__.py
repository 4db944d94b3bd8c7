"""What benchmark.py measures: one module per subject, whose main(args) prints; TensorFlow is loaded before."""

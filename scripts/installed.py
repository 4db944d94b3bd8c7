"""The imports of every script; if the library is not installed, they print one line on how to install it."""

import sys

try:
    from contextual_gan import command, flags  # noqa: F401
except ModuleNotFoundError:
    print("contextual_gan is not installed: run `pip install -e .` in the repository, or `make demo`", file=sys.stderr)
    sys.exit(2)

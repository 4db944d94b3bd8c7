"""What every script imports of the library first; where that is not installed, one line says what to do."""

import sys

try:
    from contextual_gan import command, flags  # noqa: F401
except ModuleNotFoundError:
    print("contextual_gan is not installed: run `pip install -e .` in the repository, or `make demo`", file=sys.stderr)
    sys.exit(2)

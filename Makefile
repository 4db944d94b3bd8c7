# `make demo` completes the sample sketches, `make test` runs the tests, `make lint` checks the style,
# `make results` draws the figures of the README again.
# Each makes .venv first, once: Python 3.11 to 3.13 with venv is all that must be there.
# Another interpreter: make demo PYTHON=/path/to/python3.12

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
    && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo test test-full results lint clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/python scripts/complete.py datasets/samples/sketches --out runs/demo

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not full"

test-full: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The figures of the README.
results: demo
	$(BIN)/python scripts/diagrams.py
	$(BIN)/python scripts/draw_styles.py
	$(BIN)/python -c "from PIL import Image; Image.open('runs/demo/grid.png').save('results/demo.jpg', quality=90)"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The stamp is written last, so an installation that was cut off starts again.
.venv/installed: setup.py
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 with venv found;" \
	    "install one (Debian: python3-venv) or name it: make demo PYTHON=/path/to/python3.12" >&2; exit 2; }
	@echo "Installing into .venv once (TensorFlow is about 600 MB; a few minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[align,plots,test]"
	@touch $@

clean:
	rm -rf .venv

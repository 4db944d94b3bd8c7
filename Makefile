# `make demo` completes the sample sketches, `make web` opens a page to draw on, `make test` runs the tests,
# `make lint` checks the style, `make results` regenerates the figures and tables of the README.
# The first of them also creates .venv, which needs only Python 3.11 to 3.13 with venv.
# To use another interpreter: make demo PYTHON=/path/to/python3.12

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
    $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
    && echo $$p && break; done)
BIN := .venv/bin

.PHONY: demo web test test-full results figures training-figures tables paper-tables lint clean
.DELETE_ON_ERROR:

demo: .venv/installed
	$(BIN)/python scripts/complete.py datasets/samples/sketches --out runs/demo

# To use another port: make web PORT=9000
PORT := 8000

web: .venv/installed
	$(BIN)/python scripts/web.py --open --port $(PORT)

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not full"

test-full: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

jpeg = $(BIN)/python -c "from PIL import Image; Image.open('$(1)').save('$(2)', quality=90)"

# Everything in results/ except training, and web.png, which needs a browser. `make figures` and `make training-figures`
# take 6 minutes and need no data. With the data set and 2 cores, `make tables` takes about 5 hours, 4 of them for the
# 1,000 iterations of `coauthor` and `readme`, and `make paper-tables` about 1. The tables come first, because figures
# show some of them. You can interrupt it and run it again: finished work is kept in runs/results.
results: tables paper-tables figures training-figures

DRAWN := datasets/samples/sketches datasets/samples/more

figures: demo
	$(BIN)/python scripts/experiments/diagrams.py
	$(BIN)/python scripts/experiments/draw_styles.py
	$(BIN)/python scripts/experiments/draw_rough.py
	$(call jpeg,runs/demo/grid.png,results/demo.jpg)
	$(BIN)/python scripts/compare.py datasets/samples/sketches --out $(RUNS)/compare
	$(call jpeg,$(RUNS)/compare/compare.png,results/compare.jpg)
	$(BIN)/python scripts/complete.py $(DRAWN) --out $(RUNS)/gallery/default
	$(BIN)/python scripts/complete.py $(DRAWN) --preset coauthor --out $(RUNS)/gallery/coauthor
	$(BIN)/python scripts/experiments/gallery.py $(RUNS)/gallery/default $(RUNS)/gallery/coauthor --pix2pix celeba_rough \
	    --out $(RUNS)/gallery.png --overwrite
	$(call jpeg,$(RUNS)/gallery.png,results/gallery.jpg)
	$(BIN)/python scripts/experiments/walk.py --out results/walk.png --overwrite
	$(BIN)/python scripts/experiments/draw_blind.py --out results/blind --overwrite

# the losses of training runs, again from their committed results/*_stats.jsonl
training-figures: .venv/installed
	for name in beginning two_updates one_update cars pairs random; do \
	    $(BIN)/python scripts/experiments/plot_training.py results/$${name}_stats.jsonl --out results/$$name --overwrite || exit; done

DATA ?= data/celeba
RUNS := runs/results
EVALUATE = $(BIN)/python scripts/evaluate.py --data $(DATA)/test
ALL := mean-face,nearest-sketch,initialization,contextual,pix2pix

PAPER := --weights celeba_paper

tables: .venv/installed
	@test -d $(DATA)/test -a -d $(DATA)/train || { echo "make: there is no data set in $(DATA):" \
	    "make one with datasets/prepare.py, or give another with make tables DATA=DIR" >&2; exit 2; }
	$(EVALUATE) --train-data $(DATA)/train --method $(ALL) --identity --out $(RUNS)/photo
	$(EVALUATE) --train-data $(DATA)/train --method $(ALL) --direction sketch --out $(RUNS)/sketch
	$(EVALUATE) --method contextual --edges 0 --faithful 0.75 --identity --out $(RUNS)/no_edges
	$(EVALUATE) --method contextual --preset coauthor --identity --limit 200 --out $(RUNS)/coauthor
	cp $(RUNS)/coauthor/table.md results/coauthor_200.md
	$(EVALUATE) --method contextual --preset coauthor --identity --out $(RUNS)/coauthor
	$(EVALUATE) --method contextual --preset coauthor --direction sketch --out $(RUNS)/coauthor_sketch
	$(EVALUATE) --method initialization,contextual,pix2pix --samples 4 --limit 100 --out $(RUNS)/diversity
	for name in photo sketch no_edges coauthor coauthor_sketch diversity; do \
	    cp $(RUNS)/$$name/table.md results/$$name.md || exit; done
	$(BIN)/python scripts/experiments/agreement.py $(RUNS)/photo $(RUNS)/coauthor --out results/agreement.md --overwrite
	$(EVALUATE) --train-data $(DATA)/train --method nearest-sketch,initialization,contextual,pix2pix --identity \
	    --limit 300 --rough 0,0.25,0.5,0.75,1 --out $(RUNS)/robustness
	cp $(RUNS)/robustness/robustness.md $(RUNS)/robustness/robustness.png results/
	$(EVALUATE) --method pix2pix --pix2pix celeba_rough --identity --limit 300 --rough 0,0.25,0.5,0.75,1 \
	    --out $(RUNS)/robustness_rough
	cp $(RUNS)/robustness_rough/robustness.md results/robustness_rough.md
	$(BIN)/python scripts/experiments/ablate.py --data $(DATA)/test --out $(RUNS)/ablations
	cp $(RUNS)/ablations/ablations.md results/
	$(BIN)/python scripts/experiments/oracle.py --data $(DATA)/test --out $(RUNS)/oracle
	cp $(RUNS)/oracle/oracle.md results/
	$(BIN)/python scripts/experiments/shift.py --data $(DATA)/test --predictions $(RUNS)/photo/pix2pix --out results --overwrite
	$(BIN)/python scripts/experiments/samples.py celeba_paper celeba --data $(DATA)/train --out results/samples.md --overwrite
	$(BIN)/python scripts/experiments/benchmark.py search --data $(DATA)/test --limit 64 --metrics --plot results/search.png

# the same for the weights of the paper's losses
paper-tables: .venv/installed
	$(EVALUATE) $(PAPER) --method initialization,contextual --identity --out $(RUNS)/paper_photo
	$(EVALUATE) $(PAPER) --method initialization,contextual --direction sketch --out $(RUNS)/paper_sketch
	$(EVALUATE) $(PAPER) --method contextual --edges 0 --prior 0.2 --identity --out $(RUNS)/paper_no_edges
	$(EVALUATE) $(PAPER) --preset coauthor --limit 200 --method contextual --identity --out $(RUNS)/paper_coauthor_200
	for name in photo sketch no_edges coauthor_200; do cp $(RUNS)/paper_$$name/table.md results/paper_$$name.md || exit; done
	$(BIN)/python scripts/experiments/oracle.py $(PAPER) --data $(DATA)/test --out $(RUNS)/paper_oracle
	cp $(RUNS)/paper_oracle/oracle.md results/paper_oracle.md

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The stamp is written last, so an interrupted installation starts again.
.venv/installed: setup.py
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 with venv found;" \
	    "install one (Debian: python3-venv) or give its path: make demo PYTHON=/path/to/python3.12" >&2; exit 2; }
	@echo "Installing into .venv once (TensorFlow is about 600 MB; a few minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[align,plots,test,web]"
	@touch $@

clean:
	rm -rf .venv

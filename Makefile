# Every target installs what it needs first. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FAULT ?= vad
UTTERANCES ?= 60
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install check format test test-fast demo bench bench-wrapper bench-speech e2e-tools docs constraints wheel clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(VENV)/.installed  ## make .venv with headwater and everything its tests and examples need

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "headwater needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	@touch $@

check: install  ## lint, types, import contracts, size budgets, generated docs
	$(BIN)/ruff format --check src tests examples benchmarks scripts
	$(BIN)/ruff check src tests examples benchmarks scripts
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/budgets.py
	$(BIN)/python scripts/conventions_doc.py --check

format: install  ## let ruff put everything in shape
	$(BIN)/ruff format src tests examples benchmarks scripts
	$(BIN)/ruff check --fix src tests examples benchmarks scripts

test: install  ## all tests (those that need the real Collector, Jaeger or Chromium say so if they skip)
	$(BIN)/pytest

test-fast: install  ## tests without the real binaries, the browser and the recogniser
	$(BIN)/pytest -q -m 'not e2e and not browser and not speech'

demo: install  ## the main job on real speech: make demo FAULT=vad|asr|nlu|capture
	$(BIN)/python -m examples.demo --fault $(FAULT) --utterances $(UTTERANCES) $(if $(SERVE),--serve)

bench: install  ## every benchmark in its short form, ratios in one run
	for file in wrapper_cost ingest latency errors; do $(BIN)/python benchmarks/$$file.py || exit 1; done

bench-wrapper: install  ## what one wrapped call costs, as a ratio to a span by hand, with its goals
	$(BIN)/python benchmarks/wrapper_cost.py

bench-speech: install  ## blame on the real speech pipeline against the truth by rerun (some minutes; SEED=n)
	$(BIN)/python benchmarks/speech_errors.py $(if $(SEED),--seed $(SEED))

e2e-tools:  ## build the real Collector and Jaeger from Go modules into a cache outside the checkout
	bash scripts/e2e-tools.sh

docs: install  ## regenerate the generated documents
	$(BIN)/python scripts/conventions_doc.py

constraints:  ## compile constraints.txt anew in a throw-away environment
	bash scripts/constraints.sh

wheel: install  ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what the targets made
	rm -rf $(VENV) dist .headwater .headwater-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis

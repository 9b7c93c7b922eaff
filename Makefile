# quickstart: the whole path on an embedded corpus.  test, lint, bench: the checks.  Each sets up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
INPUTS := pyproject.toml constraints.txt
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test lint bench schemas notebooks clean

quickstart: .venv/.demo
	@$(BIN)/antiphon quickstart $(ARGS)

test: .venv/.dev
	@OMP_NUM_THREADS=1 $(BIN)/pytest $(ARGS)

lint: .venv/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: .venv/.dev
	@for script in tests/benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script $(ARGS) || exit 1; done

schemas: .venv/.dev
	@$(BIN)/python tests/test_schemas.py

clean:
	rm -rf .venv

.venv/bin/pip:
	@$(PYTHON) -m venv .venv

# The build's tools come first and isolation is off, so that the constraints hold for them too.
.venv/.build: $(INPUTS) | .venv/bin/pip
	@$(PIP) hatchling editables
	@touch $@

.venv/.demo: .venv/.build
	@echo "installing what the quickstart needs into .venv (once)"
	@$(PIP) --no-build-isolation --editable ".[cpu,demo]"
	@touch $@

.venv/.dev: .venv/.build
	@echo "installing what the checks need into .venv (once)"
	@$(PIP) --no-build-isolation --editable ".[cpu,demo,corpora,dev]"
	@touch $@ .venv/.demo

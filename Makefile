# `make demo` and `make test` need Python 3.11 or 3.12 and nothing else.
PYTHON ?= $(shell command -v python3.12 >/dev/null 2>&1 && python3.12 --version >/dev/null 2>&1 && echo python3.12 || echo python3)
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test check types lint format benchmarks clean

demo: $(READY)
	$(BIN)/python experiments/demo.py --out demo

test: $(READY)
	$(BIN)/python -m pytest

check: lint types

# One resolver pass for the whole set, so that a later install cannot replace torch.
$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 12) else "Python 3.11 or 3.12 is needed; say which with: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(READY)
	$(BIN)/python experiments/benchmarks/run.py

clean:
	rm -rf .venv build *.egg-info

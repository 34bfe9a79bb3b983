# `make` needs Python 3.11, 3.12, 3.13 or 3.14, and nothing else. PYTHON says which: make PYTHON=python3.11
BIN := .venv/bin

.PHONY: all ready demo test check lint types format benchmarks lock fresh release clean

all: ready
	@echo 'make test runs the tests, make demo the demo.'

# Makes .venv from requirements.lock, or repairs it.
ready:
	@sh tools/environment.sh ready $(PYTHON)

demo: ready
	$(BIN)/python experiments/demo.py --out demo

test: ready
	$(BIN)/python -m pytest

check: lint types

lint: ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: ready
	$(BIN)/mypy

format: ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: ready
	$(BIN)/python experiments/benchmarks/run.py

# Writes requirements.lock anew, from the newest versions in the ranges of pyproject.toml.
lock:
	@sh tools/environment.sh lock $(PYTHON)

# The tests with the newest versions in the ranges of pyproject.toml, in an environment of their own.
fresh:
	@sh tools/environment.sh fresh $(PYTHON)

# Builds what is published, tries it, and says how to publish it.
release: ready
	@sh tools/release.sh

clean:
	rm -rf .venv build dist *.egg-info

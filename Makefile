# `make` needs Python 3.11, 3.12, 3.13 or 3.14, and nothing else. PYTHON chooses one: make PYTHON=python3.11
BIN := .venv/bin

.PHONY: all ready demo test slow tflite exports kits browser check lint structure types format docs benchmarks lock fresh release clean

all: ready
	@echo 'make test runs the tests, make demo the demo.'

# Make .venv from requirements.lock, or repair it.
ready:
	@sh tools/environment.sh ready $(PYTHON)

demo: ready
	$(BIN)/python experiments/demo.py --out demo

test: ready
	$(BIN)/python -m pytest

# All tests, with those of more than 20 seconds: several processes, launchers, lost machines.
slow: ready
	$(BIN)/python -m pytest -m "slow or not slow"

# The tests of TensorFlow Lite files with LiteRT itself, which the other targets do not install.
tflite: ready
	$(BIN)/python -m pip install --no-build-isolation --editable '.[tflite]'
	$(BIN)/python -m pytest tests/teachers/test_tflite_file.py tests/teachers/test_tflite_graph.py

# The tests of exported students with LiteRT's converter and ExecuTorch themselves. They need 2 GB more.
exports: ready
	$(BIN)/python -m pip install 'litert-torch>=0.10,<0.11' 'executorch>=1.5,<1.6'
	$(BIN)/python -m pytest -o filterwarnings=default -p no:jaxtyping tests/distill/runtimes/test_tflite_file.py tests/distill/runtimes/test_pte_file.py

# The evaluation kits of docs/kits.md themselves, on a tiny local task. They need 1 GB, and run offline.
kits: ready
	$(BIN)/python -m pip install --no-build-isolation --editable '.[kits]'
	$(BIN)/python experiments/kits/run.py --install --out .kits

# An exported student under node and in a headless Chromium, and a click on the map of `distill report`. It needs node and
# npm. CHROMIUM=PATH names an installed Chromium; otherwise playwright downloads one.
browser: ready
	$(BIN)/python -m pip install playwright
	$(if $(CHROMIUM),,$(BIN)/python -m playwright install chromium)
	$(BIN)/python experiments/browser/run.py --out .browser --chromium '$(CHROMIUM)'

check: lint structure types

lint: ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# Compare the rooms, the imports between them and the lengths of functions with their goals.
structure: ready
	$(BIN)/python tools/structure.py

types: ready
	$(BIN)/mypy

format: ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Build the documentation site in site/, in a temporary environment. A warning is an error.
docs:
	@sh tools/environment.sh docs $(PYTHON)

# Measure the named benchmarks, or all, and write their parts of BENCHMARKS.md: make benchmarks ROWS="embed hear"
benchmarks: ready
	$(BIN)/python experiments/benchmarks/run.py $(ROWS)

# Write requirements.lock again, with the newest versions in the ranges of pyproject.toml.
lock:
	@sh tools/environment.sh lock $(PYTHON)

# Run the tests in a temporary environment, with the newest versions in the ranges of pyproject.toml.
fresh:
	@sh tools/environment.sh fresh $(PYTHON)

# Build the wheel and the sdist, try them, and print how to publish them.
release: ready
	@sh tools/release.sh

clean:
	rm -rf .venv build dist site *.egg-info

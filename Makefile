# make demo    install into .venv, then run the whole chain on a synthetic city
# make test    install what tests need, then lint, types and tests
# make bench   measure what the documentation states
# make install the package with everything the demo needs, into .venv
# make clean   remove .venv, caches and the demo's output

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= demo-out
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off

# A stamp is newer than what it was installed from, or the installation is repeated.
SPEC := pyproject.toml constraints.txt

.PHONY: install demo test bench clean
.DELETE_ON_ERROR:

install: $(VENV)/.installed-demo

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "found Python %d.%d, edgevpr needs 3.10 or newer: run make PYTHON=python3.12 (or another one you have)" % sys.version_info[:2])'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "this Python cannot make virtual environments: run sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: $(SPEC) | $(BIN)/python
	@echo "installing edgevpr and what the demo needs into $(VENV); the first time this takes minutes"
	$(PIP) -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-demo
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@

demo: install
	$(BIN)/edgevpr demo -o $(OUT)

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# Types are those of the newest numpy, which Python 3.10 does not get.
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 11))' || $(BIN)/mypy
	$(BIN)/python -m pytest

# With FRAMES=.../ie-tower (and WEIGHTS=...safetensors) also what is measured on real frames.
bench: $(VENV)/.installed-dev
	[ -f $(OUT)/summary.json ] || $(BIN)/edgevpr demo -o $(OUT)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/loop.py $(OUT)
	$(BIN)/python benchmarks/lean.py $(OUT) -o bench-out/lean
	$(BIN)/python benchmarks/sequence.py $(OUT)/city --bundle $(OUT)/bundles/gallery-cpu-fp32
	$(BIN)/python benchmarks/search.py -o bench-out/search
	$(BIN)/python benchmarks/scale.py -o bench-out/scale
	$(BIN)/python benchmarks/shards.py -o bench-out/shards
	$(BIN)/python benchmarks/gallery_updates.py
	$(BIN)/python benchmarks/bank.py -o bench-out/bank
	[ -z "$(FRAMES)" ] || $(BIN)/python benchmarks/parity.py $(FRAMES) -o bench-out/parity --city $(OUT)/city
	[ -z "$(WEIGHTS)" ] || $(BIN)/python benchmarks/real_frames.py $(FRAMES) $(WEIGHTS) -o bench-out/real

clean:
	rm -rf $(VENV) $(OUT) bench-out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find edgevpr tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +

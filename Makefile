# make demo    the main job on generated data, with a report
# make test    the tests
# make check   lint, types, import layers
# make bench   speed of the backbones beside other libraries (downloads them)
# Each does its own set-up in .venv; only Python 3.11+ and pip are needed.

SHELL := /bin/sh
JOBS ?= 2
BIN := .venv/bin
# OpenMP threads that wait by spinning are slow where processes share cores.
QUIET := OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1

.PHONY: demo test check bench setup clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt tools/setup.sh
	PYTHON="$(PYTHON)" tools/setup.sh

demo: .venv/ready
	$(BIN)/python -m warmstart.demo

test: .venv/ready
	$(QUIET) $(BIN)/python -m pytest -n $(JOBS)

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/python benchmarks/backbones.py --peers .venv-peers

clean:
	rm -rf .venv .venv-peers demo dist build

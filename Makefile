# Two commands do everything on a fresh machine with Rust, Python 3.11+ and make: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help build demo test lint bench clean

help:
	@echo 'make demo   real jobs, verified on this machine'
	@echo 'make test   every test'
	@echo 'make lint   every gate: fmt, clippy, ruff, mypy, stubtest, import-linter'
	@echo 'make bench  accuracy, regret and price, written to benches/results'

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q 'maturin>=1.9,<2' -e '.[dev]' || $(BIN)/python -m pip install -q '.[dev]'
	touch $@

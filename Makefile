# The house's own commands. A fresh machine with make, Rust and Python 3.11+ needs only `make demo` and `make test`.
#
#   make test PYTHON=python3.13 VENV=.venv-3.13     another interpreter, its own environment
#   make test ARGS='-k verdict -x'                  arguments for pytest
#   make pythons VERSIONS=3.15t                     other versions than the usual ones

PYTHON ?= python3
VENV ?= .venv
RIVALS ?= .venv-rivals
LIBRARIES ?= .venv-libraries
LOOPS ?= .venv-loops
EXTRAS ?= dev
ARGS ?=
# How long each of the stress runs takes.
SECONDS ?= 300
VERSIONS ?= 3.14 3.14t 3.15
BIN := $(VENV)/bin
SAY := tools/quietly
RUST := Cargo.toml Cargo.lock $(shell find crates -type f)
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
STUBTEST := --allowlist tools/stubtest-allowlist.txt --ignore-unused-allowlist
# Those that want rivals have targets of their own.
BENCHES := $(filter-out $(addprefix benches/,auto.py auto_short.py process_pool.py queues.py loops.py loop_micro.py),$(wildcard benches/[!_]*.py))

# One interpreter for every cargo command, or PyO3 is built again at each change between them.
export PYO3_PYTHON := $(abspath $(BIN))/python
# An environment that happens to be active must not receive our build.
unexport CONDA_PREFIX
export VIRTUAL_ENV := $(abspath $(VENV))

# A target each, so that `make -k lint` names all that fail and `make lint-mypy` runs one.
GATES := fmt clippy ruff format mypy stubtest layers sizes house tables

.PHONY: help build demo test test-rust test-loom test-python test-all lint bench bench-auto bench-rivals bench-loops conformance
.PHONY: conformance-loop soak soak-loop stress random-programs tables pythons clean
.PHONY: $(addprefix lint-,$(GATES))
.DELETE_ON_ERROR:

help:
	@echo 'make demo      real jobs, measured and verified on this machine'
	@echo 'make test      every test, with $(PYTHON)'
	@echo 'make lint      every gate: fmt, clippy, ruff, mypy, stubtest, import layers, sizes, tables'
	@echo 'make bench     accuracy, regret and price into benches/results, and the tables made of them'
	@echo 'make bench-auto  Pool() beside every engine and the usual pools on all workloads; hours; ARGS= for a look'
	@echo 'make bench-rivals  the process pool and the queue beside their rivals, which go into $(RIVALS); ARGS=--quick for a look'
	@echo 'make bench-loops  the event loop beside asyncio, uvloop and rloop, which go into $(LOOPS); ARGS=--quick for a look'
	@echo 'make conformance   CPython'"'"'s own tests of pools, futures and queues, under every CPython that has them'
	@echo 'make conformance-loop  CPython'"'"'s own tests of asyncio, and uvloop'"'"'s, on our event loop and its rivals'
	@echo 'make soak      the process pool hard and long: killed workers, 10 000 pools, ten million tasks'
	@echo 'make soak-loop  the event loop hard and long: ten million messages, resets, half closes, errors; ARGS="--seconds 60"'
	@echo 'make stress    queues and pools at random, ten minutes together: timeouts, cancellations, closings, kills; SECONDS=30 each'
	@echo 'make random-programs  a thousand random programs on Pool(), each against plain map; ARGS="--only N" for one'
	@echo 'make pythons   fetch CPython $(VERSIONS) into .pythons, for make test-all'
	@echo 'make test-all  build and test on every CPython found'
	@echo 'make clean     remove what the above made (fetched interpreters stay)'

build: $(VENV)/.built

$(VENV)/.made: tools/make_venv.py
	@$(PYTHON) tools/make_venv.py $(VENV)
	@touch $@

$(VENV)/.built: $(VENV)/.made pyproject.toml $(RUST)
	@command -v cargo >/dev/null || { echo 'make: no cargo: install a Rust toolchain, https://rustup.rs' >&2; exit 1; }
	@$(SAY) build $(BIN)/maturin develop --release --extras $(EXTRAS)
	@touch $@

demo: build
	@$(BIN)/whichever demo

test: test-rust test-loom test-python

test-rust: build
ifeq ($(NEXTEST),yes)
	@cargo nextest run --workspace --locked --cargo-quiet
	@$(SAY) 'Rust doctests' cargo test --doc --workspace --locked --quiet
else
	@cargo test --workspace --locked --quiet
endif

# Loom replaces the atomics, so everything is built anew: in a folder of its own.
test-loom: build
	@$(SAY) 'loom' env RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target-loom \
	  cargo test -p whichever-ring -p whichever-sync -p whichever-queue -p whichever-reactor --release --test loom --locked --quiet

test-python: build
	@$(BIN)/python -m pytest $(ARGS)

test-all: build
	@$(BIN)/python tools/test_all.py -- $(ARGS)

lint: $(addprefix lint-,$(GATES))

lint-fmt: build
	@$(SAY) 'cargo fmt' cargo fmt --all --check

lint-clippy: build
	@$(SAY) 'cargo clippy' cargo clippy --workspace --all-targets --locked --quiet -- -D warnings

lint-ruff: build
	@$(SAY) 'ruff check' $(BIN)/ruff check --no-fix

lint-format: build
	@$(SAY) 'ruff format' $(BIN)/ruff format --check

lint-mypy: build
	@$(SAY) mypy $(BIN)/python -m mypy

lint-stubtest: build
	@$(SAY) stubtest $(BIN)/python -m mypy.stubtest whichever._core $(STUBTEST)

lint-layers: build
	@$(SAY) 'import layers' $(BIN)/lint-imports

lint-sizes: build
	@$(SAY) sizes $(BIN)/python tools/check_sizes.py

lint-house: build
	@$(SAY) 'unsafe and paths' $(BIN)/python tools/check_house.py

lint-tables: build
	@$(SAY) tables $(BIN)/python tools/tables.py --check

bench: build
	@set -e; for bench in $(BENCHES); do echo "== $$bench"; $(BIN)/python $$bench; done
	@$(MAKE) --no-print-directory tables

# Their environment builds into a target folder of its own, or each switch would build PyO3 again.
bench-rivals:
	@$(MAKE) --no-print-directory build VENV=$(RIVALS) EXTRAS=dev,rivals CARGO_TARGET_DIR=target/rivals
	@$(RIVALS)/bin/python benches/process_pool.py $(ARGS)
	@$(RIVALS)/bin/python benches/queues.py $(filter --quick,$(ARGS))
	@$(MAKE) --no-print-directory tables

bench-loops: $(LOOPS)/.ready
	@$(LOOPS)/bin/python benches/loops.py $(ARGS)
	@$(LOOPS)/bin/python benches/loop_micro.py $(filter --quick,$(ARGS))
	@$(LOOPS)/bin/python benches/loop_memory.py $(if $(filter --quick,$(ARGS)),--rounds 1)
	@$(MAKE) --no-print-directory tables

# The libraries of all workloads, joblib among them, have an environment and a target folder of their own, too.
bench-auto: ARGS = --full --repeats 3
bench-auto:
	@$(MAKE) --no-print-directory build VENV=$(LIBRARIES) EXTRAS=dev,workloads CARGO_TARGET_DIR=target/libraries
	@$(LIBRARIES)/bin/python benches/auto.py $(ARGS)
	@$(LIBRARIES)/bin/python benches/auto_short.py $(filter --full,$(ARGS))
	@$(MAKE) --no-print-directory tables

# The other event loops have an environment and a target folder of their own, too.
.PHONY: $(LOOPS)/.ready
$(LOOPS)/.ready:
	@$(MAKE) --no-print-directory build VENV=$(LOOPS) EXTRAS=dev,loops CARGO_TARGET_DIR=target/loops

conformance: build
	@$(BIN)/python tools/conformance.py --every-python $(ARGS)
	@$(BIN)/python tools/conformance.py --every-python --threads $(ARGS)
	@$(BIN)/python tools/queue_conformance.py --every-python
	@$(MAKE) --no-print-directory tables

conformance-loop: $(LOOPS)/.ready
	@$(LOOPS)/bin/python tools/loop_conformance.py $(ARGS)
	@$(MAKE) --no-print-directory tables

soak: build
	@$(BIN)/python tools/soak.py --out soak_process_pool $(ARGS)
	@$(MAKE) --no-print-directory tables

soak-loop: build
	@$(BIN)/python tools/soak_loop.py --out soak_loop $(or $(ARGS),--messages 10000000)
	@$(MAKE) --no-print-directory tables

stress: build
	@$(BIN)/python tools/stress_queue.py --seconds $(SECONDS)
	@$(BIN)/python tools/stress_pools.py --seconds $(SECONDS)

random-programs: build
	@$(BIN)/python tools/random_programs.py --count 1000 $(ARGS)

tables: build
	@$(BIN)/python tools/tables.py

pythons: $(VENV)/.made
	@$(BIN)/python tools/get_python.py $(VERSIONS)

clean:
	rm -rf target target-* .venv .venv-* dist python/whichever/*.so .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find python tests tools benches workloads examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

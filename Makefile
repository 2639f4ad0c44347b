# make demo    build in a virtual environment and scan the bundled recording
# make test    pass the tests
# make help    the other targets

PYTHON ?= python3
VENV ?= .venv
CORPUS ?= ../shared
BIN := $(VENV)/bin
SOURCES := $(wildcard csrc/*.c csrc/*.h csrc/*.def csrc/*.py) setup.py pyproject.toml

export TAMPERSCOPE_CORPUS ?= $(CORPUS)

.PHONY: help demo test lint sanitize fuzz fuzz-replay fuzz-coverage fuzz-planted bench bench-short bench-levels judge
.PHONY: evaluate
.PHONY: record record-demo check-recordings clean

demo: $(VENV)/.built
	$(BIN)/pcap-scan pcaps/demo.pcap

test: $(VENV)/.tested
	$(BIN)/python -m pytest

help:
	@sed -n 's/^# \?//p' Makefile | head -3
	@echo "make lint          ruff, mypy, and the C compiler's warnings as errors"
	@echo "make sanitize      parser tests under AddressSanitizer and UBSan"
	@echo "make bench         benchmarks against dpkt and scapy on recorded and generated captures"
	@echo "make bench-levels  CPU time against cat and the levels to reach"
	@echo "make judge         hold the findings against labelled captures (CORPUS=../shared)"
	@echo "make evaluate      found, missed, false a mechanism, with every error; how far the confidence holds"
	@echo "make fuzz          coverage-guided fuzzing (clang; FUZZ_SECONDS a target); fuzz-replay, fuzz-coverage, fuzz-planted"
	@echo "make record        record the whole collection again (root, Linux namespaces); check-recordings holds it to tshark"
	@echo "make record-demo   record the demonstration capture again (root, Linux namespaces)"

# What is missing is named before anything is tried.
$(VENV)/.ready:
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON) (Python 3.11 or newer)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "missing: Python 3.11 or newer ($(PYTHON) is older)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "missing: the venv module (Debian: apt install python3-venv)"; exit 1; }
	@test -f "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || { echo "missing: Python's headers (Debian: apt install python3-dev)"; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "missing: a C compiler (Debian: apt install gcc)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.built: $(VENV)/.ready $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.tested: $(VENV)/.built
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.built
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

WARNINGS := -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wconversion -Wshadow -Werror

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	for file in csrc/*.c; do $${CC:-cc} $(WARNINGS) -fsyntax-only $$file || exit 1; done
	$(BIN)/python tests/exports.py

SANITIZED := build/sanitized
SANITIZED_TESTS := tests/test_prefixes.py tests/test_layers.py tests/test_core.py tests/test_against_reference.py tests/test_hostile.py

# The extension is built a second time, into a folder of its own, and found there first.
$(SANITIZED)/.built: $(VENV)/.tested $(SOURCES)
	rm -rf $(SANITIZED)
	TAMPERSCOPE_SANITIZE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(SANITIZED) .
	@touch $@

sanitize: $(SANITIZED)/.built
	LD_PRELOAD="$$($${CC:-cc} -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$(SANITIZED) \
		$(BIN)/python -m pytest $(SANITIZED_TESTS)

bench: $(VENV)/.dev
	$(BIN)/python -m pytest benchmarks -rs

bench-short: $(VENV)/.dev
	$(BIN)/python -m pytest benchmarks -rs --bench-packets 20000 --bench-scapy-packets 1000 --bench-repeat 3

bench-levels: $(VENV)/.dev
	$(BIN)/python benchmarks/ratio.py levels

judge: $(VENV)/.built
	PATH="$(abspath $(BIN)):$$PATH" $(CORPUS)/judge.py $(CORPUS)/cases
	PATH="$(abspath $(BIN)):$$PATH" $(CORPUS)/judge.py pcaps

evaluate: $(VENV)/.tested
	$(BIN)/python tests/evaluate.py $(EVALUATE)
	$(BIN)/python benchmarks/evaluate_policing.py

FUZZ_SECONDS ?= 60

fuzz:
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTHON) tests/fuzz/fuzz.py run

fuzz-replay:
	$(PYTHON) tests/fuzz/fuzz.py replay

fuzz-coverage:
	$(PYTHON) tests/fuzz/fuzz.py coverage

fuzz-planted:
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(PYTHON) tests/fuzz/fuzz.py planted

record:
	$(PYTHON) pcaps/record/all.py

record-demo:
	$(PYTHON) pcaps/record/demo.py

check-recordings:
	$(PYTHON) pcaps/record/check.py pcaps

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/tamperscope/_core*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis

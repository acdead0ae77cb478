# Two commands do everything on a fresh machine: `make demo` and `make test`. Both set up .venv by themselves.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Hundreds of processes are started here: each would compile torch and Ray anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup lint types style layers unit test demo map requirements clean

help:
	@echo "make demo   watch real conversations flow through Kafka, the detector on Ray Serve and Redis"
	@echo "make test   run everything: lint, types, layers, and all tests with a real Kafka, Redis and Ray"
	@echo "make unit   run the tests that need no server, no training and none of the shipped models (about a minute on 2 cores)"
	@echo "make lint   ruff, mypy --strict, import-linter"
	@echo "make map     write docs/map.md anew from the docstrings of all files"
	@echo "make setup  make .venv with the pinned packages; all other targets call it"

setup: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; set PYTHON to a Python 3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"
	$(BIN)/uv pip install --python $(BIN)/python --compile-bytecode --requirement requirements.txt
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

lint: setup
	@$(MAKE) --no-print-directory --jobs=2 types style layers

types:
	$(BIN)/mypy

style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

layers:
	$(BIN)/lint-imports

unit: setup
	$(BIN)/pytest

test: lint
	$(BIN)/pytest -m "" --hypothesis-profile=many --timeout=300

demo: setup
	$(BIN)/weir demo

map: setup
	$(BIN)/python -m tests.project_map

# The pinned versions, from the ranges in pyproject.toml; not the wheels of the larger encoder, which only a teacher needs.
requirements: setup
	$(BIN)/uv pip compile --quiet --extra train --extra eval --extra dev --python-version 3.11 --no-header --no-annotate \
		--no-emit-package uv -o requirements.txt pyproject.toml

clean:
	rm -rf $(VENV) .cache build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

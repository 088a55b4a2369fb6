# make train   set up, then learn to read the digits that come along
# make test    set up, then lint, types and all tests
# make docs    renew what the tutorial prints, draws and lists, and build the site in docs/_build
# make setup   the virtual environment .venv with everything, pinned by constraints.txt
# make constraints   resolve all extras anew and rewrite constraints.txt

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup train test docs constraints clean

help:
	@grep '^# make' Makefile | cut -c 3-

setup: $(READY)

$(READY): pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/unroll/scan/csrc/*)
	@$(PYTHON) -c 'import sys; sys.exit("unroll needs Python 3.11 or newer, got " + sys.version.split()[0] + "; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "setup: installing into .venv (once; PyTorch is the bulk of it)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

train: $(READY)
	@echo "train: unroll train (see unroll train --help)"
	@$(BIN)/unroll train

test: $(READY)
	@echo "test: ruff, mypy --strict, pytest"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest

docs: $(READY)
	@echo "docs: running docs/tutorial.md, then sphinx-build"
	@$(BIN)/python docs/page.py
	@$(BIN)/sphinx-build -W --keep-going -q docs docs/_build
	@echo "docs: open docs/_build/index.html"

constraints:
	@echo "constraints: resolving all extras in a fresh environment"
	@rm -rf .venv-resolve && $(PYTHON) -m venv .venv-resolve
	@.venv-resolve/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0' 'numpy==2.3.5' '.[dev,docs]'
	@{ sed '/^[^#]/d' constraints.txt; .venv-resolve/bin/python -m pip freeze --exclude unroll-rnn | sed 's/+cpu$$//'; } > .constraints.new
	@mv .constraints.new constraints.txt && rm -rf .venv-resolve

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache docs/_build

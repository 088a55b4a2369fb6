# make train   set up, then learn to read the digits that come along
# make test    set up, then lint and all tests: the gate
# make lint    ruff and mypy; clang-format for the kernels; eslint and tsc for the page, where npm is there
# make test-fast  the tests without a browser, a server or long work, in a minute
# make fuzz    the tests of random examples, each with many new ones: make fuzz EXAMPLES=2000
# make test-isa  the tests of the kernels once more, with no instruction set above generic and above AVX2
# make docs    renew what the tutorial prints, draws and lists, and build the site in docs/_build
# make sanitize  run the kernels under the address, undefined-behaviour and thread sanitizers (GCC or Clang; no .venv)
# make setup   the virtual environment .venv with everything, pinned by constraints.txt
# make constraints   resolve all extras anew and rewrite constraints.txt

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
unexport PYTHONDONTWRITEBYTECODE # the tests start a hundred processes, which would compile unroll anew each time

.PHONY: help setup train lint style types javascript test test-fast test-isa fuzz docs sanitize constraints clean

help:
	@grep '^# make' Makefile | cut -c 3-

setup: $(READY)

$(READY): pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/unroll/scan/csrc/*)
	@$(PYTHON) -c 'import sys; sys.exit("unroll needs Python 3.11 or newer, got " + sys.version.split()[0] + "; name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "setup: installing into .venv (once; PyTorch is the bulk of it)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || true # pip would use one core; some files are of other Pythons
	@touch $@

train: $(READY)
	@echo "train: unroll train (see unroll train --help)"
	@$(BIN)/unroll train

lint: style types javascript

style: $(READY)
	@echo "lint: ruff, clang-format, mypy --strict, eslint, tsc"
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@if test -x $(BIN)/clang-format; then \
	  $(BIN)/clang-format --dry-run -Werror $(wildcard $(CSRC)/*.cpp $(CSRC)/*.h tests/sanitize/*.cpp); \
	else echo "lint: clang-format is missing: the C++ was not checked"; fi

types: $(READY)
	@$(BIN)/mypy

# tsc is a program for each platform, which npm takes for optional: it succeeds where it could not fetch it.
javascript:
	@if ! command -v npm > /dev/null; then echo "lint: npm is missing: the JavaScript was not checked"; \
	elif ! test node_modules/.ready -nt package-lock.json && \
	  ! { npm ci --silent && node_modules/.bin/tsc --version && touch node_modules/.ready; } > /dev/null 2>&1; then \
	  echo "lint: npm could not install eslint and tsc: the JavaScript was not checked; npm ci says why"; \
	else node_modules/.bin/eslint src/unroll/page && node_modules/.bin/tsc; fi

# What takes longer than a second runs beside the tests.
test: style
	@$(MAKE) --no-print-directory --keep-going types javascript & lint=$$!; \
	  $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal; tests=$$?; \
	  wait $$lint || { echo "test: mypy, eslint or tsc has found mistakes: see above"; exit 1; }; exit $$tests

test-fast: $(READY)
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal -m 'not browser and not server and not slow'

EXAMPLES ?= 2000
fuzz: $(READY)
	@echo "fuzz: $(EXAMPLES) random examples for each test; what fails becomes an @example"
	@UNROLL_FUZZ=$(EXAMPLES) $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 -m 'hypothesis or fuzz'

# The sets below the best one are what other machines have. A machine that lacks one skips it.
ISA_TESTS := tests/models/test_fused_forward.py tests/training/test_fused_step.py tests/scan/test_choice.py

test-isa: $(READY)
	@sets=$$(UNROLL_ISA= $(BIN)/python -c 'from unroll.scan import cpu; print(*cpu.AVAILABLE["fp32"])') || exit 1; \
	for isa in generic avx2; do \
	  case " $$sets " in \
	    *" $$isa "*) \
	      echo "test-isa: the kernels under UNROLL_ISA=$$isa"; \
	      UNROLL_ISA=$$isa $(BIN)/python -m pytest $(ISA_TESTS) || exit 1;; \
	    *) echo "test-isa: this processor or build lacks $$isa: skipped";; \
	  esac; \
	done

docs: $(READY)
	@echo "docs: running docs/tutorial.md, then sphinx-build"
	@$(BIN)/python docs/page.py
	@$(BIN)/sphinx-build -W --keep-going -q docs docs/_build
	@echo "docs: open docs/_build/index.html"

# Of the scans in tests/sanitize/driver.cpp those of up to so many products; how to compile; where the programs go.
MOST_PRODUCTS ?= 3e6
SANITIZE ?= -O1 -g
SANITIZED ?= build/sanitize
CSRC := src/unroll/scan/csrc
X86 := $(filter x86_64 amd64 AMD64,$(shell uname -m))
BF16 := $(if $(X86),$(shell $(CXX) -mavx512bf16 -E -x c++ /dev/null > /dev/null 2>&1 && echo avx512_bf16))
AMX := $(if $(BF16),$(shell echo 'int main() { asm("tdpbf16ps %tmm2, %tmm1, %tmm0"); }' | \
  $(CXX) -mamx-tile -mamx-bf16 -c -x c++ - -o /dev/null > /dev/null 2>&1 && echo amx))
SETS := generic wide wide_bf16 wide_amx $(if $(X86),avx2 avx512) $(BF16) $(AMX)
DEFINES := $(if $(X86),-DUNROLL_X86) $(if $(BF16),-DUNROLL_BF16) $(if $(AMX),-DUNROLL_AMX)
FLAGS_avx2 := -mavx2 -mfma
FLAGS_avx512 := -mavx512f -mavx512vl -mavx512dq -mavx512bw -mfma
FLAGS_avx512_bf16 := $(FLAGS_avx512) -mavx512bf16
FLAGS_amx := $(FLAGS_avx512_bf16) -mamx-tile -mamx-bf16

sanitize:
	@$(MAKE) --silent --jobs 2 $(SANITIZED)/address,undefined/driver $(SANITIZED)/thread/driver
	@$(SANITIZED)/address,undefined/driver tests/sanitize/programs.txt $(MOST_PRODUCTS)
	@$(SANITIZED)/thread/driver tests/sanitize/programs.txt 1e5

OBJECTS := $(SETS) threads memory passes reading answer step table driver
# The driver's own code is the test, not what is tested; its memory is watched all the same.
define COMPILE
@$(CXX) -std=c++17 $(SANITIZE) -fno-math-errno -Wno-psabi $(DEFINES) $(FLAGS_$(1)) -I$(CSRC) \
  $(if $(filter-out driver,$(1))$(filter thread,$*),-fsanitize=$* -fno-sanitize-recover=all) \
  -pthread -c $(wildcard $(CSRC)/$(1).cpp tests/sanitize/$(1).cpp) -o $(@D)/$(1).o

endef

$(SANITIZED)/%/driver: Makefile $(wildcard $(CSRC)/*) $(wildcard tests/sanitize/*.cpp)
	@echo "sanitize: compiling for $*"
	@mkdir -p $(@D)
	$(foreach name,$(OBJECTS),$(call COMPILE,$(name)))
	@$(CXX) -fsanitize=$* -pthread $(OBJECTS:%=$(@D)/%.o) -o $@

constraints:
	@echo "constraints: resolving all extras in a fresh environment"
	@rm -rf .venv-resolve && $(PYTHON) -m venv .venv-resolve
	@.venv-resolve/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0' 'numpy==2.3.5' '.[dev,docs]'
	@{ sed '/^[^#]/d' constraints.txt; .venv-resolve/bin/python -m pip freeze --exclude unroll-rnn | sed 's/+cpu$$//'; } > .constraints.new
	@mv .constraints.new constraints.txt && rm -rf .venv-resolve

clean:
	rm -rf .venv node_modules .mypy_cache .pytest_cache .ruff_cache docs/_build

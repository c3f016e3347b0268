# opML. `make` alone lists what there is. Everything sets up what it needs in .venv; only python3 (3.11 or newer) must be there.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test check prove fuzz guest kernels contracts docs clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1   \2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.user ## a LLaMA answers, a server lies, a validator disputes, EVM bytecode decides
	@$(BIN)/opml demo

test: check ## all tests (what CI runs), after the checks
	@$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.developer ## style, types and import rules
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

prove: $(VENV)/.developer ## every z3 statement
	@$(BIN)/opml-prove

fuzz: $(VENV)/.developer ## spec, opml_min and EVM bytecode against each other for ten minutes
	@$(BIN)/opml-fuzz run --seconds 600

guest: $(VENV)/.developer ## rebuild the RISC-V program that every image carries
	@$(BIN)/python -m opml_min.guest.build

kernels: $(VENV)/.developer ## recompile the kernels for NVIDIA's cards
	@$(BIN)/python -m opml_min.model.gpu.build

contracts: $(VENV)/.developer ## recompile the contracts
	@$(BIN)/python -m evm_arbiter.compile

docs: $(VENV)/.developer ## one static site from all texts and docstrings, in build/site
	@$(BIN)/python -m docs

clean: ## remove the virtual environment, the site and caches
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The two set-ups: what a user needs, and what a developer needs on top (compilers, provers, linters).
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "opML needs Python 3.11 or newer")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.user: pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) …"
	@$(PIP) install --only-binary=:all: --no-binary=opml -e .
	@touch $@

$(VENV)/.developer: pyproject.toml | $(VENV)/bin/python
	@echo "setting up $(VENV) for developers …"
	@$(PIP) install --only-binary=:all: --no-binary=opml -e '.[dev]'
	@touch $@ $(VENV)/.user

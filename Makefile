# `make demo` and `make test` each build all that they need from nothing: a virtual
# environment with the versions of constraints.txt, and in it the wheel of this checkout.
# VENV=path puts the environment elsewhere; `make help` lists the targets.

PYTHON ?= python3
VENV ?= .venv
VENV_OLDEST ?= .venv-oldest
PYTEST_ARGS ?=

BIN := $(VENV)/bin
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"$$/\1/p' skvae/__init__.py)
WHEEL := dist/skvae-$(VERSION)-py3-none-any.whl
# folders are listed too: removing a file touches its folder
SOURCES := $(shell find skvae -name __pycache__ -prune -o -print) \
	pyproject.toml README.md LICENSE

# Python puts neither the working directory nor a script's own folder on its path, so
# that `import skvae` finds the installed wheel and never the source tree
export PYTHONSAFEPATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# build backend, run-time dependencies and the extra `test`, as pyproject.toml has them
define LIST_REQUIREMENTS
import tomllib
with open("pyproject.toml", "rb") as file:
    tables = tomllib.load(file)
project = tables["project"]
print(*tables["build-system"]["requires"], *project["dependencies"],
      *project["optional-dependencies"]["test"], sep="\n")
endef
export LIST_REQUIREMENTS

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest lint types clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)$$/\1: \2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.wheel  ## run examples/quickstart.py, which writes quickstart.png
	$(BIN)/python examples/quickstart.py

# two processes on one thread each: the nets of the tests are too small for more
test: $(VENV)/.wheel  ## run all tests against the installed wheel
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 $(PYTEST_ARGS)

test-oldest: $(VENV_OLDEST)/.wheel  ## the estimator contract on the oldest dependencies
	OMP_NUM_THREADS=1 $(VENV_OLDEST)/bin/pytest -n 2 $(PYTEST_ARGS) tests/test_contract.py

lint: $(VENV)/.requirements  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.requirements  ## mypy over skvae/_engine and skvae/_table
	$(BIN)/mypy

clean:  ## remove what was built, but no environment
	rm -rf dist build .mypy_cache .pytest_cache .ruff_cache
	rm -f quickstart.png distributions.png inverse_design.png latents_*.png
	find skvae tests examples benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python $(VENV_OLDEST)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "skvae needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(patsubst %/bin/python,%,$@)

$(VENV)/.requirements: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -c "$$LIST_REQUIREMENTS" > $@.tmp
	$(BIN)/pip install -q -c constraints.txt -r $@.tmp
	mv $@.tmp $@

$(WHEEL): $(SOURCES) $(VENV)/.requirements
	$(BIN)/pip wheel -q --no-deps --no-build-isolation -w dist .

# the same version may be installed from an older wheel, which pip would keep
$(VENV)/.wheel: $(WHEEL)
	$(BIN)/pip uninstall -qq -y skvae
	$(BIN)/pip install -q -c constraints.txt "$(WHEEL)[test]"
	touch $@

$(VENV_OLDEST)/.wheel: $(WHEEL) constraints-oldest.txt | $(VENV_OLDEST)/bin/python
	$(VENV_OLDEST)/bin/pip uninstall -qq -y skvae
	$(VENV_OLDEST)/bin/pip install -q -c constraints-oldest.txt $(WHEEL) pytest pytest-xdist
	touch $@

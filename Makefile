# Everything a fresh machine needs is made here: Python 3.11+, git and make are all that is assumed.
# The first that runs and is new enough; a name on the PATH may be a shim for a version that is not there.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench oracle clean help

help:            ## what there is
	@grep -E '^[a-z]+: .*##|^[a-z]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(STAMP)   ## bring the quickstart up, ask, kill, recover, stop
	@$(BIN)/dspex demo

test: $(STAMP)   ## the whole test suite
	@$(BIN)/python -m pytest

lint: $(STAMP)   ## formatting, lint rules, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: $(STAMP)  ## every benchmark beside its alternative
	@$(BIN)/python -m bench

oracle: $(STAMP) ## ask Erlang's supervisor and Elixir's again (needs erlang-base and elixir)
	@$(BIN)/python -m tests.conformance.record

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found; set PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is no Python 3.11 or newer" >&2; exit 1; }
	@echo "preparing $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $(STAMP)

clean:           ## remove what was made
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

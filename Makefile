# What people type. Every target is safe to run again, and does only what is still missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup dev demo test check bench run lock

PYTHON ?= python3
BIN := .venv/bin
# pip keeps its own cache; a prompt would hang where nobody sits before the screen.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# bash counts its own age in a variable of this name, so only the command line of make may set it.
ifneq ($(filter command%,$(origin SECONDS)),)
DEMO_ARGUMENTS := --seconds $(SECONDS)
endif

help:  ## what can be done here                                            make
	@echo "carebell: alarms from elderly people's safety devices. Needs make, git and python3-venv."
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*[^ ]\)   *\([^ ].*\)$$/\1|\2|\3/p' $(firstword $(MAKEFILE_LIST)) | \
	  awk -F'|' '{ printf "  %-7s %-66s %s\n", $$1, $$2, $$3 }'

setup: .venv/runtime  ## a Python environment in .venv with what carebell needs    make setup
	@echo "ready: $(BIN)/carebell"

demo: .venv/runtime  ## the whole line on embedded parts with a simulated town      make demo SECONDS=40
	@$(BIN)/carebell demo $(DEMO_ARGUMENTS)

test: .venv/dev  ## every test, on real mosquitto and TimescaleDB                make test  (or: make test ARGS="tests/unit -k sos")
	@tests/services.sh install
	@$(BIN)/python -m pytest --durations=10 $(ARGS)

check: .venv/dev  ## lint, format, types and who may import whom                 make check
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: .venv/dev  ## measure this machine against the targets                  make bench ARGS=--help
	@$(BIN)/python -m bench $(ARGS)

run: .venv/runtime carebell.toml  ## serve with carebell.toml (made from the sample at first)   make run
	@$(BIN)/carebell serve --config carebell.toml

lock: .venv/lock  ## write the lock files anew from pyproject.toml              make lock
	@tests/lock.sh

dev: .venv/dev  ## the same environment with the tools for check and test       make dev
	@echo "ready: $(BIN)/pytest, $(BIN)/ruff, $(BIN)/mypy, $(BIN)/lint-imports"

carebell.toml:
	@cp schemas/sample.toml $@
	@echo "carebell.toml made from schemas/sample.toml: look it through before you serve real people."

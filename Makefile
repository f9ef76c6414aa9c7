# Keyturn. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONDONTWRITEBYTECODE := 1

$(VENV)/.setup-run: pyproject.toml
	@bin/setup-venv $(VENV) $(PYTHON) demo
	@touch $@

$(VENV)/.setup-test: $(VENV)/.setup-run
	@bin/setup-venv $(VENV) $(PYTHON) demo test
	@touch $@

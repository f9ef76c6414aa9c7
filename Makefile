# Keyturn. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
VENV := .venv
PYTHON ?= python3
DEMO := .local/trader-ai
ROWS := 1000
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Bytecode is kept, whatever the caller's environment says: without it each process of Ansible compiles its modules again.
unexport PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX
WATCH := .local/watch
WATCH_PACKAGES := mtail prometheus prometheus-alertmanager prometheus-node-exporter
HOST_PACKAGES := podman runc netavark aardvark-dns iptables mmdebstrap openssh-client
# Linters and tests load modules without ansible-playbook, which would bundle module_utils.
WITH_MODULES := PYTHONPATH=tests/support
# A worker steals from another what it has not begun: the long tests come first, so that all end together.
PYTEST := $(WITH_MODULES) pytest -n 3 --dist worksteal
SUITE := tests/fleet tests/faults tests/monitoring tests/integration tests/unit

.PHONY: help setup demo rotate verify alerts stop policy test exhaustive monitoring fleet molecule rehearse bench quick lint unit integration faults clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(VENV)/.run ## make the virtual environment, with the clients of the secret stores and the scanner of git histories
	@bin/setup-venv $(VENV) $(PYTHON) demo stores storage
$(VENV)/.run: pyproject.toml bin/setup-venv
	@bin/setup-venv $(VENV) $(PYTHON) demo
	@touch $@
$(VENV)/.test: $(VENV)/.run bin/setup-debian bin/setup-npm
	@bin/setup-debian strace systemd procps age
	@bin/setup-venv $(VENV) $(PYTHON) demo stores storage test
	@bin/setup-npm $(VENV)
	@touch $@

demo: $(VENV)/.run ## start the stand-in application with its own database
	@[ -e $(DEMO)/.env ] || PYTHONPATH=demo python demo/seed.py --root $(DEMO) --rows $(ROWS) --port 8765
	@$(DEMO)/start.sh

rotate: demo ## rotate the database key of the stand-in application while it serves
	@ansible-playbook playbooks/rotate_db_key.yml

verify: demo ## say what the stand-in application's host holds
	@ansible-playbook playbooks/verify.yml

alerts: demo ## watch the stand-in application with Prometheus, and say where its alerts are
	@bin/setup-debian $(WATCH_PACKAGES)
	@ansible-playbook playbooks/monitoring.yml >/dev/null
	@python demo/watch.py --root $(WATCH) --logs $(DEMO)/logs/backend.out.log $(DEMO)/logs/backend.err.log

stop: ## stop the stand-in application
	@if [ -x $(DEMO)/stop.sh ]; then $(DEMO)/stop.sh; else echo "not running"; fi

policy: $(VENV)/.run ## render docs/policy.md from the policy's data, and the page of the local environment
	@ansible-playbook playbooks/policy.yml

test: lint $(VENV)/.test ## run the linters and every kind of test, with the hosts that the tests make
	@bin/setup-debian $(HOST_PACKAGES) $(WATCH_PACKAGES)
	@$(PYTEST) $(SUITE)

exhaustive: export KEYTURN_EXHAUSTIVE := 1
exhaustive: lint $(VENV)/.test ## take every point of every matrix, every drill, the rehearsal, molecule, a million rows: hours
	@bin/setup-debian $(HOST_PACKAGES) $(WATCH_PACKAGES)
	@$(PYTEST) $(SUITE)
	@KEYTURN_MANY_ROWS=1000000 KEYTURN_MANY_KILLS=2 $(PYTEST) -k 'switch-prepared-delete or rollback' tests/faults/test_many_rows.py

rehearse: $(VENV)/.test ## rehearse going to production: staging, gate, production, with OpenBao and encrypted credentials
	@bin/setup-debian $(HOST_PACKAGES)
	@KEYTURN_EXHAUSTIVE=1 $(WITH_MODULES) pytest -q -s tests/fleet/test_rehearsal.py

molecule: $(VENV)/.test ## run the molecule scenarios on such hosts
	@bin/setup-debian $(HOST_PACKAGES)
	@MOLECULE_GLOB='tests/molecule/*/molecule.yml' molecule test --all

bench: $(VENV)/.test ## measure Keyturn against the policy's script, a naive playbook and the floors (QUICK=1: in minutes)
	@bin/setup-debian openssh-server openssh-client python3-cryptography
	@PYTHONPATH=tests:demo:module_utils python -m bench

quick: ## linters and unit tests, side by side: the inner loop
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint unit

monitoring: PACKAGES := $(WATCH_PACKAGES)
fleet: PACKAGES := $(HOST_PACKAGES) $(WATCH_PACKAGES)
unit integration faults monitoring fleet: $(VENV)/.test
	@bin/setup-debian $(PACKAGES)
	@$(PYTEST) tests/$@

lint: $(VENV)/.test ## run the linters
	@ruff check .
	@ruff format --check .
	@mypy
	@yamllint --strict .
	@$(WITH_MODULES) ansible-lint -q

clean: stop ## remove everything that make has made
	@rm -rf $(VENV) .local reports .pytest_cache .mypy_cache .ruff_cache .hypothesis .ansible

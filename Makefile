# Keyturn. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
VENV := .venv
PYTHON ?= python3
DEMO := .local/trader-ai
ROWS := 1000
# of the stand-in application; 8765 where nobody says another one
PORT :=
ifneq ($(PORT),)
ifneq ($(shell [[ '$(PORT)' =~ ^[1-9][0-9]{0,4}$$ && '$(PORT)' -lt 65536 ]] && echo port),port)
$(error PORT=$(PORT) is no port: take a number from 1 to 65535, as in `make rotate PORT=8770`; nothing was changed)
endif
endif
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Whatever the caller's environment says, bytecode is kept, since each process of Ansible would compile its modules again, and input
# is buffered: Python would read what a local call sends it byte by byte, which doubles the price of the call.
unexport PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX PYTHONUNBUFFERED
WATCH := .local/watch
WATCH_PACKAGES := mtail prometheus prometheus-alertmanager prometheus-node-exporter
HOST_PACKAGES := podman runc netavark aardvark-dns iptables mmdebstrap openssh-client
# Linters and tests load modules without ansible-playbook, which would bundle module_utils.
WITH_MODULES := PYTHONPATH=tests/support
# A worker steals from another what it has not begun: the long tests come first, so that all end together.
# Two cores are busy with four of them: a test waits for nearly half of its time, for a service to start or a held call.
PYTEST := $(WITH_MODULES) pytest -n 4 --dist worksteal
# what takes hours is not cut off (a limit of 0 would be over at once)
UNLIMITED := --timeout=7200 --session-timeout=86400
SUITE := tests/fleet tests/faults tests/monitoring tests/integration tests/unit

.PHONY: help setup runner lock demo tour rotate verify alerts stop policy docs site picture release image test suite exhaustive monitoring fleet molecule chaos rehearse versions bench quick real lint unit integration faults clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(VENV)/.run ## make the virtual environment, with the clients of the secret stores and the scanner of git histories
	@bin/setup-venv $(VENV) $(PYTHON) demo stores storage
$(VENV)/.run: pyproject.toml bin/setup-venv
	@bin/setup-venv $(VENV) $(PYTHON) demo
	@touch $@
$(VENV)/.test: $(VENV)/.run bin/setup-debian bin/setup-npm
	@bin/setup-debian strace systemd procps age haproxy e2fsprogs pgbouncer postgresql python3-psycopg2
	@bin/setup-venv $(VENV) $(PYTHON) demo stores storage release test
	@bin/setup-npm $(VENV)
	@touch $@

runner: ## make the virtual environment of a runner: what requirements.lock has, by its hashes, and nothing of demo or tests
	@bin/setup-venv $(VENV) $(PYTHON) locked

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-annotate --custom-compile-command 'make lock' --upgrade
lock: $(VENV)/.run ## write requirements.lock anew, and what the image has besides, from the ranges of pyproject.toml
	@$(LOCK) --group stores --group storage pyproject.toml --output-file requirements.lock
	@$(LOCK) --group image --constraint requirements.lock --output-file requirements-image.lock

demo: $(VENV)/.run ## start the stand-in application with its own database (PORT=8765)
	@[ -e $(DEMO)/.env ] || PYTHONPATH=demo python demo/seed.py --root $(DEMO) --rows $(ROWS) --port $(or $(PORT),8765)
	@$(DEMO)/start.sh $(PORT)

tour: $(VENV)/.run ## take a tour: five secrets and what goes wrong with them, on this machine, in some minutes
	@PYTHONPATH=demo python demo/tour.py

rotate: demo ## rotate the database key of the stand-in application while it serves (PORT=8765)
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

docs: $(VENV)/.test policy ## write what is made from data: pages of docs/reference, the policy's, what a pipeline asks, the README's figures, schemas for editors
	@PYTHONPATH=tests:module_utils:demo python -m support.shapes
	@PYTHONPATH=tests:module_utils:demo python -m support.reference
	@PYTHONPATH=tests:module_utils:demo python -m support.repeated
	@PYTHONPATH=tests:module_utils:demo python -m support.editor_schemas
	@PYTHONPATH=tests:module_utils:demo python -m bench.readme

SITE := .local/site-source
site: $(VENV)/.run ## build the pages as a site in .local/site, where a dead link is an error
	@bin/setup-venv $(VENV) $(PYTHON) demo site
	@[ $(VENV)/mermaid.min.js -nt pyproject.toml ] || bin/setup-mermaid $(VENV)
	@rm -rf $(SITE) && mkdir -p $(SITE)
	@cp -R docs CONTRIBUTING.md CHANGELOG.md SECURITY.md LICENSE $(SITE) && cp README.md $(SITE)/index.md
	@$(VENV)/bin/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env -c docs $(SITE) .local/site
	@echo "$(CURDIR)/.local/site/index.html"

picture: demo ## make docs/run.svg, the picture of the README, from a rotation of the stand-in application
	@set -o pipefail; bin/keyturn rotate_db_key | python demo/picture.py docs/run.svg

release: $(VENV)/.run ## build the collection, its bill of materials and checksums of the commit into .local/release
	@bin/setup-venv $(VENV) $(PYTHON) demo release
	@PYTHONPATH=module_utils python -m release

# BASE= another Debian 12, IMAGE_OPTIONS= what podman build needs here, such as --network=host
image: VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image: release ## build the container image keyturn:VERSION of that release with podman (BASE=, IMAGE_OPTIONS=)
	@podman build --tag keyturn:$(VERSION) --build-arg VERSION=$(VERSION) $(if $(BASE),--build-arg BASE=$(BASE)) $(IMAGE_OPTIONS) \
	  --file release/Containerfile .local/release
	@podman run --rm keyturn:$(VERSION) ansible-playbook keyturn.core.rotate_db_key -i inventory/staging --syntax-check

test: $(VENV)/.test ## run the linters and every kind of test, with the hosts that the tests make
	@$(MAKE) --no-print-directory --jobs 2 lint suite

suite: $(VENV)/.test
	@bin/setup-debian $(HOST_PACKAGES) $(WATCH_PACKAGES)
	@$(PYTEST) $(SUITE)

exhaustive: export KEYTURN_EXHAUSTIVE := 1
exhaustive: PYTEST += $(UNLIMITED)
exhaustive: HOST_PACKAGES += docker-compose
exhaustive: lint suite ## take every point of every matrix, every drill, the rehearsal, molecule, a million rows: hours
	@$(MAKE) --no-print-directory versions
	@KEYTURN_MANY_ROWS=1000000 KEYTURN_MANY_KILLS=2 $(PYTEST) -k 'switch-prepared-delete or rollback' tests/faults/test_many_rows.py

chaos: SECONDS := 120
chaos: $(VENV)/.test ## hurt three hosts at random moments (SECONDS=120, SEED=of a run before): the messages alone must lead out
	@bin/setup-debian $(HOST_PACKAGES) $(WATCH_PACKAGES)
	@KEYTURN_CHAOS_SECONDS=$(SECONDS) $(if $(SEED),KEYTURN_SEED=$(SEED)) $(WITH_MODULES) pytest -q -s $(UNLIMITED) tests/fleet/test_chaos.py

# each ansible-core that we claim, with the oldest Python that it runs on
PAIRS := 2.19=3.11 2.20=3.12 2.21=3.13
versions: ## unit tests, rotations, kills and ways out on each ansible-core, where its Python starts (python3.12 and python3.13 in PATH)
	@for pair in $(PAIRS); do bin/on-version $${pair%=*} $${pair#*=} || exit 1; done

rehearse: $(VENV)/.test ## rehearse going to production: staging, the staging gate, production, with OpenBao and encrypted credentials
	@bin/setup-debian $(HOST_PACKAGES)
	@KEYTURN_EXHAUSTIVE=1 $(WITH_MODULES) pytest -q -s $(UNLIMITED) tests/fleet/test_rehearsal.py

molecule: $(VENV)/.test ## run the molecule scenarios on such hosts
	@bin/setup-debian $(HOST_PACKAGES)
	@MOLECULE_GLOB='tests/molecule/*/molecule.yml' molecule test --all

real: $(VENV)/.test ## rotate the real application's own code (KEYTURN_REAL_APPLICATION=FOLDER, KEYTURN_REAL_PYTHON=PROGRAM with its packages)
	@$(WITH_MODULES) pytest -q -rs $(UNLIMITED) tests/real

bench: $(VENV)/.test ## measure Keyturn against the policy's script, a naive playbook and the floors (QUICK=1: in minutes)
	@bin/setup-debian openssh-server openssh-client postgresql python3-cryptography python3-psycopg2
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
	@zizmor --quiet --offline .github
	@$(WITH_MODULES) ansible-lint -q

clean: stop ## remove everything that make has made
	@rm -rf $(VENV) .local reports .pytest_cache .mypy_cache .ruff_cache .hypothesis .ansible

# `make up` runs the daemon, `make test` the whole suite; both install what they need into .venv, as the lock files pin it.
PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := -m pip --quiet --disable-pip-version-check install

.PHONY: help install up test model faults soak lint protos docs bench lock audit clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

install: .venv/.dev ## create .venv with everything a developer needs

up: .venv/.run ## run the daemon on an embedded PostgreSQL, on 127.0.0.1:50051
	@exec $(BIN)/providerd serve

test: .venv/.dev ## run the whole suite
	@# The suite starts a thousand programs: where compiled modules are not kept, each of them would compile its own.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder -p tests.abuse.report -p tests.faults.plugin

model: .venv/.dev ## compare providerd with a model of it at length: 600 examples of 30 steps, some ten minutes
	@PROVIDERD_MODEL=full $(BIN)/pytest tests/model

faults: .venv/.dev ## survive 35 faults at full length and tell; an hour, PROVIDERD_FAULTS_REPORT=FILE keeps the report
	@PROVIDERD_FAULTS=full $(BIN)/pytest tests/faults tests/abuse --ignore tests/faults/test_soak.py

soak: .venv/.dev ## an hour of load and random faults; PROVIDERD_SOAK_SECONDS shortens it
	@PROVIDERD_FAULTS=full PROVIDERD_SOAK_SECONDS=$${PROVIDERD_SOAK_SECONDS:-3600} $(BIN)/pytest tests/faults/test_soak.py

lint: .venv/.dev ## ruff, mypy, import-linter, buf, and a diff of the generated code and docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint
	./scripts/protos --check
	./scripts/docs --check

protos: ## regenerate client/providerd/v1 from protos/
	./scripts/protos

docs: .venv/.dev ## regenerate the reference pages from the sources they describe
	./scripts/docs

bench: .venv/.dev ## measure delivery latency and the cost of a cached read, each beside a baseline
	$(BIN)/python -m benchmarks

lock: .venv/.tools ## pin the dependencies by version and hash; ./scripts/lock --upgrade moves them
	./scripts/lock

audit: .venv/.tools ## look the pinned dependencies up among the known vulnerabilities; needs a network
	@.venv/tools/bin/python scripts/audit.py

clean: ## remove what the other targets made in this directory
	rm -rf .venv .venv-protos dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "providerd needs Python 3.11 or newer; try: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.run: .venv/bin/python pyproject.toml requirements.lock
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements.lock
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml requirements-dev.lock
	$(BIN)/python $(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	$(BIN)/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@ .venv/.run

.venv/.tools: .venv/bin/python requirements-tools.lock
	$(BIN)/python -m venv .venv/tools
	.venv/tools/bin/python $(PIP_INSTALL) --require-hashes -r requirements-tools.lock
	@touch $@

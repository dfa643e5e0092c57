# What people type; `make help` lists it. Every target first brings .venv up to date by itself.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(firstword $(foreach python,python3.11 python3.12 python3,$(shell command -v $(python))))
BIN := .venv/bin

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and no python3 was found." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: apt-get install python3-venv)." >&2; exit 1; }

.venv/runtime: requirements.txt | .venv/bin/python
	@echo "Bringing .venv up to date (requirements.txt) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/development: requirements-dev.txt .venv/runtime
	@echo "Bringing .venv up to date (requirements-dev.txt) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.PHONY: venv
venv: .venv/runtime ## bring .venv up to date, nothing else

.PHONY: run
run: .venv/runtime ## start everything with a demo on the paper exchange; Ctrl-C stops it
	@exec $(BIN)/python -m hubdefisats.stack run $(if $(PRICES),--prices '$(PRICES)') $(if $(SPEED),--speed '$(SPEED)') \
	  $(if $(WEB_PORT),--web-port '$(WEB_PORT)') $(if $(FLOWER_PORT),--flower-port '$(FLOWER_PORT)')

.PHONY: smoke
smoke: .venv/runtime ## start the stack on free ports, live through a fall (or SECONDS), print one JSON line
	@exec $(BIN)/python -m hubdefisats.stack smoke $(if $(PRICES),--prices '$(PRICES)') $(if $(SPEED),--speed '$(SPEED)') \
	  $(if $(SECONDS),--seconds '$(SECONDS)')

.PHONY: test
test: .venv/development ## run the whole test suite
	@$(BIN)/python -m pytest -n 4 $(ARGS)

.PHONY: stateful
stateful: .venv/development ## tell the platform EXAMPLES random stories (100), each step checked; SEED repeats them
	@STATEFUL_EXAMPLES='$(or $(EXAMPLES),100)' STATEFUL_SEED='$(SEED)' $(BIN)/python -m pytest tests/stateful $(ARGS)

.PHONY: test-faults
test-faults: .venv/development ## every fault that the platform survives, injected: 1,000 lost answers of each write, RUNS
	@FAULTS_RUNS='$(or $(RUNS),1000)' FAULTS_SEED='$(or $(SEED),1)' $(BIN)/python -m tests.faults $(ARGS)

.PHONY: soak
soak: .venv/runtime ## a whole stack for MINUTES (30) while something breaks every few seconds; SEED, PRICES=file.csv, ARGS=--help
	@$(BIN)/python -m benchmarks.soak --minutes '$(or $(MINUTES),30)' --seed '$(or $(SEED),1)' \
	  $(if $(PRICES),--prices '$(PRICES)') $(ARGS)

.PHONY: check
check: .venv/development ## format, lint, types, layers, migrations, tests and coverage: what CI runs
	@$(BIN)/python -m tests.check

.PHONY: survival
survival: .venv/development ## which guarded positions are lost that could be saved? over made-up and recorded falls, or PRICES=file.csv
	@$(BIN)/python -m benchmarks.survival $(if $(PRICES),--prices '$(PRICES)') $(ARGS)

.PHONY: bench
bench: .venv/development ## run every benchmark: one JSON line each, kept in benchmarks/results
	@$(BIN)/python -m benchmarks

.PHONY: bench-pool
bench-pool: .venv/development ## the benchmark of many accounts at its full size, four minutes
	@$(BIN)/python -m benchmarks.pool

.PHONY: format
format: .venv/development ## rewrite the code in the house format
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

.PHONY: lock
lock: .venv/development ## resolve pyproject.toml anew into the two requirements files
	@$(BIN)/pip-compile --quiet --upgrade --strip-extras --no-header --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --output-file requirements.txt pyproject.toml
	@$(BIN)/pip-compile --quiet --upgrade --strip-extras --no-header --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

# What people type; `make help` lists it. Every target first brings .venv up to date by itself.
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin

# What somebody's shell tells Python, pip and sh must not reach ours.
unexport PYTHONHOME PYTHONPATH PYTHONSAFEPATH PYTHONSTARTUP PYTHONOPTIMIZE PYTHONINSPECT PYTHONWARNINGS
unexport PIP_TARGET PIP_PREFIX PIP_ROOT BASH_ENV ENV CDPATH
export PIP_USER := 0

# The first that runs, is new enough and can make a virtual environment.
PYTHON ?= $(shell unset PYTHONHOME PYTHONPATH; for python in python3.11 python3.12 python3.13 python3.14 python3; do \
  "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)

# One whose Python was taken away or replaced is made anew.
_ := $(shell test -x '$(BIN)/python' || rm -f '$(VENV)/pyvenv.cfg' 2>/dev/null)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /|/' | awk -F'|' '{ printf "  make %-18s %s\n", $$1, $$2 }'

$(VENV)/pyvenv.cfg:
	@mkdir -p '$(VENV)' 2>/dev/null && test -w '$(VENV)' \
	  || { echo "Nothing can be written into $(VENV): name another folder with \`make run VENV=/a/folder\`." >&2; exit 1; }
	@test -n "$(PYTHON)" \
	  || { echo "No Python from 3.11 on was found that can make a virtual environment: install one (Debian: apt-get install python3-venv), or name it with \`make run PYTHON=/its/path\`." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another with PYTHON=…" >&2; exit 1; }
	@$(PYTHON) -m venv --clear '$(VENV)' \
	  || { rm -f $@; echo "$(PYTHON) cannot make a virtual environment in $(VENV): install its venv module (Debian: apt-get install python3-venv), or name another folder with \`make run VENV=/a/folder\`." >&2; exit 1; }

$(VENV)/runtime: requirements.txt $(VENV)/pyvenv.cfg
	@echo "Bringing $(VENV) up to date (requirements.txt) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt \
	  || { echo "What requirements.txt names could not be installed by $$($(BIN)/python --version); known to work are Python 3.11 to 3.14: see above, or name another with \`make run PYTHON=/its/path\` after removing $(VENV)." >&2; exit 1; }
	@touch $@

$(VENV)/development: requirements-dev.txt $(VENV)/runtime
	@echo "Bringing $(VENV) up to date (requirements-dev.txt) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

.PHONY: venv
venv: $(VENV)/runtime ## bring .venv up to date, nothing else

.PHONY: run
run: $(VENV)/runtime ## start everything with a demo on the paper exchange; Ctrl-C stops it
	@exec $(BIN)/python -m hubdefisats.stack run $${PRICES:+--prices "$$PRICES"} $(if $(SPEED),--speed '$(SPEED)') \
	  $(if $(WEB_PORT),--web-port '$(WEB_PORT)') $(if $(FLOWER_PORT),--flower-port '$(FLOWER_PORT)')

.PHONY: smoke
smoke: $(VENV)/runtime ## start the stack on free ports, live through a fall (or SECONDS), print one JSON line
	@exec $(BIN)/python -m hubdefisats.stack smoke $${PRICES:+--prices "$$PRICES"} $(if $(SPEED),--speed '$(SPEED)') \
	  $(if $(SECONDS),--seconds '$(SECONDS)')

.PHONY: test
test: $(VENV)/development ## run the whole test suite
	@$(BIN)/python -m pytest -n 4 $(ARGS)

.PHONY: test-surroundings
test-surroundings: $(VENV)/development ## does `make run` come up, and `make test`, in odd folders, locales, variables, users, rights? ONLY=words picks some
	@$(BIN)/python -m tests.surroundings $(ONLY)

.PHONY: stateful
stateful: $(VENV)/development ## tell the platform EXAMPLES random stories (100), each step checked; SEED repeats them
	@STATEFUL_EXAMPLES='$(or $(EXAMPLES),100)' STATEFUL_SEED='$(SEED)' $(BIN)/python -m pytest tests/stateful $(ARGS)

.PHONY: test-faults
test-faults: $(VENV)/development ## every fault that the platform survives, injected: 1,000 lost answers of each write, RUNS
	@FAULTS_RUNS='$(or $(RUNS),1000)' FAULTS_SEED='$(or $(SEED),1)' $(BIN)/python -m tests.faults $(ARGS)

.PHONY: soak
soak: $(VENV)/runtime ## a whole stack for MINUTES (30) while something breaks every few seconds; SEED, PRICES=file.csv, ARGS=--help
	@$(BIN)/python -m benchmarks.soak --minutes '$(or $(MINUTES),30)' --seed '$(or $(SEED),1)' \
	  $${PRICES:+--prices "$$PRICES"} $(ARGS)

.PHONY: check
check: $(VENV)/development ## format, lint, types, layers, migrations, vulnerabilities, tests and coverage: what CI runs
	@$(BIN)/python -m tests.check

.PHONY: survival
survival: $(VENV)/development ## which guarded positions are lost that could be saved? over made-up and recorded falls, or PRICES=file.csv
	@$(BIN)/python -m benchmarks.survival $${PRICES:+--prices "$$PRICES"} $(ARGS)

.PHONY: bench
bench: $(VENV)/development ## run every benchmark: one JSON line each, kept in benchmarks/results
	@$(BIN)/python -m benchmarks

.PHONY: bench-pool
bench-pool: $(VENV)/development ## the benchmark of many accounts at its full size, four minutes
	@$(BIN)/python -m benchmarks.pool

.PHONY: format
format: $(VENV)/development ## rewrite the code in the house format
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

LOCKS := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
  --no-emit-index-url
.PHONY: lock
lock: $(VENV)/development ## resolve pyproject.toml anew into the two requirements files, with hashes, for all Pythons
	@$(LOCKS) --output-file requirements.txt pyproject.toml
	@$(LOCKS) --extra dev --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml
	@$(MAKE) --no-print-directory bom

.PHONY: bom
bom: $(VENV)/development ## write the bill of materials (bom.cdx.json, CycloneDX) and the licences (docs/licences.md)
	@$(BIN)/python -m tests.supply

.PHONY: audit
audit: $(VENV)/development ## known vulnerabilities of what is installed, where their database answers
	@$(BIN)/python -m tests.audit

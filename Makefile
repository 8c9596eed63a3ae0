# Everything a developer, a newcomer and CI do. Each target does its own set-up: nothing but Python 3.11+ is wanted.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HOME_RUN ?= .run
TESTS ?= tests
# Twice as many as two cores: many tests wait, for leases, for processes that were killed, for a key service that hangs.
JOBS ?= 4

# What is locked: everything a developer wants in requirements.lock; of that, what a server wants, in requirements-server.lock.
EXTRAS := --extra server --extra pdf --extra postgres --extra openbao --extra pkcs11 --extra aws --extra s3 --extra timestamp
COMPILE := --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate --no-emit-package pii-vault

.DEFAULT_GOAL := help
.PHONY: help setup protos fmt lint test policy-report demo restore-drill upgrade-drill restore-crashes torture-erasure run tamper-drill bench bench-quick bench-keys bench-erasure bench-decisions bench-evidence bench-orders bench-telemetry dashboards sbom audit lock clean

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## Make .venv with exactly the locked packages

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

protos: $(STAMP)  ## Generate vault/v1 from protos/
	$(BIN)/python deploy/protos.py generate

fmt: $(STAMP)  ## Format
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format .

lint: $(STAMP)  ## Everything that is checked without running the vault
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python deploy/protos.py check

# Compiled once, whatever the shell says, and not by every worker and every command that a test starts.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(STAMP)  ## Every test, on SQLite and on a real PostgreSQL
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(TESTS)

policy-report: $(STAMP)  ## Run the tests of every rule of the policy and write docs/policy-conformance.md
	JOBS=$(JOBS) $(BIN)/python -m deploy.policy_report

demo: $(STAMP)  ## The whole main job on sample data, step by step
	$(BIN)/python -m deploy.demo.demo

restore-drill: $(STAMP)  ## Restore backups from before an erasure, on SQLite and PostgreSQL: nobody comes back
	$(BIN)/python -m deploy.restore_drill

upgrade-drill: $(STAMP)  ## Migrate the database of a version that serves; PREVIOUS=commit says which, ADDITIVE=1 tries a change it may serve
	$(BIN)/python -m deploy.upgrade_drill $(if $(PREVIOUS),--previous $(PREVIOUS)) $(if $(ADDITIVE),--additive)

restore-crashes: $(STAMP)  ## Kill the replay after a restore at 200 moments and more, and see that it comes to its end
	PII_VAULT_REPLAY_KILLS=200 $(BIN)/pytest -n $(JOBS) tests/scenarios/test_replay_killed.py

torture-erasure: $(STAMP)  ## Random histories against a model, and a vault killed hundreds of times; results in benchmarks/results
	PII_VAULT_ERASURE_SEQUENCES=500 $(BIN)/pytest -s -n 0 tests/scenarios/test_erasure_model.py
	PII_VAULT_EVERY_STATEMENT=1 PII_VAULT_TERMINATION_KILLS=30 $(BIN)/pytest --timeout 1800 -n $(JOBS) tests/scenarios/test_termination_killed.py \
	  tests/scenarios/test_rotation_killed.py tests/scenarios/test_replay_killed.py tests/scenarios/test_keys_apart.py
	$(BIN)/python -m tests.torture_erasure --kills 60

run: $(STAMP)  ## A development vault in .run, serving until stopped, with commands to paste
	@$(BIN)/python -m deploy.demo.run $(HOME_RUN)

tamper-drill: $(STAMP)  ## Edit copies of a real database as its administrator could, and see each edit caught
	$(BIN)/python -m deploy.tamper_drill

bench: $(STAMP)  ## Measure, as ratios from one run; results in benchmarks/results
	$(BIN)/python -m benchmarks

bench-quick: $(STAMP)  ## The same in under two minutes
	$(BIN)/python -m benchmarks --quick

bench-keys: $(STAMP)  ## Measure key services, rotation, and reveals meanwhile
	$(BIN)/python -m benchmarks.keys

bench-erasure: $(STAMP)  ## Measure time until a person is unreadable, retention by a plain DELETE, completion of exceptions
	$(BIN)/python -m benchmarks.erasure

bench-decisions: $(STAMP)  ## Measure what a decision costs, remembered and not
	$(BIN)/python -m benchmarks.decisions

bench-evidence: $(STAMP)  ## Measure reveals and entries by workers and logs, proofs and verification up to 10^6 entries
	$(BIN)/python -m benchmarks.evidence

bench-orders: $(STAMP)  ## Measure packages of court orders: rows a second, memory, next to a loop that decrypts and writes CSV
	$(BIN)/python -m benchmarks.court_orders

bench-telemetry: $(STAMP)  ## Measure what telemetry costs a unary reveal: off, metrics, traces of 1 % and 100 %
	$(BIN)/python -m benchmarks.telemetry

dashboards: $(STAMP)  ## Generate deploy/grafana from deploy/dashboards.py
	$(BIN)/python -m deploy.dashboards

sbom: $(STAMP)  ## What a server is made of: CycloneDX in build/sbom.json, licences in build/licences.md; fails on a licence nobody looked at
	$(BIN)/python -m deploy.supply_chain build

audit: $(STAMP)  ## Ask for known vulnerabilities of the locked packages; needs the network
	$(BIN)/pip-audit --require-hashes --disable-pip --strict --requirement requirements-server.lock

lock: $(STAMP)  ## Resolve the newest allowed packages into requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile pyproject.toml $(EXTRAS) --group dev $(COMPILE) --upgrade --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml $(EXTRAS) $(COMPILE) --constraint requirements.lock --output-file requirements-server.lock

clean:  ## Remove what the targets made
	rm -rf $(VENV) build .run .demo .run-erasure-ledger .demo-erasure-ledger .drill

# All that is run by hand or in CI. `make` alone prints the list. Needs Python 3.11 or newer and make, nothing else.

VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/requirements.lock
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
            $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
STAGE  ?= dev
UV     ?= uv

.DEFAULT_GOAL := help
.PHONY: help demo test soak check style docs screenshots package deploy remove e2e scan bench lock clean venv

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: venv ## the whole service on a simulated organisation, on this machine (DEMO_ARGS="--seed 7 --nodes 200")
	@$(PY) -m patchwarden demo $(DEMO_ARGS)

test: venv ## all tests; what cannot run here is named at the end (TEST_ARGS="-k windows")
	@$(PY) tests/setup_ssm_schema.py || true
	@$(PY) -m tests.setup_yaml_language_server || true
	@$(PY) -m tests.setup_browser || true
	@$(if $(TEST_ARGS),$(PY) -m pytest -q -rs -n auto --dist worksteal --ignore=tests/e2e $(TEST_ARGS),$(PY) -m tests.everything)

check: style ## style, types, floors, policies, pages
	@$(PY) -m pytest -q tests/test_docs.py tests/simulation/test_promises.py

style: venv ## the same without the pages, which `make test` reads too
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports --no-logo
	@$(PY) -m patchwarden policy check policies

docs: venv ## the pages that are drawn from tables
	@$(PY) -c 'from patchwarden.diagrams import states; print(states(), end="")' > docs/states.md
	@$(PY) -m patchwarden policy schema > docs/policy.schema.json
	@$(PY) -m patchwarden.reporting.template > deploy/reporting.yaml
	@$(PY) -c 'import json; from chalicelib.openapi import document; print(json.dumps(document(), indent=1))' > docs/openapi.json
	@$(PY) -c 'from patchwarden.policy.examples import page; print(page(), end="")' > docs/policy-codes.md
	@$(PY) -c 'from tests.policy.sessions import refresh; refresh()'
	@$(PY) -c 'from patchwarden.architecture import architecture; print(architecture(), end="")' > docs/architecture.md
	@$(PY) deploy/member.py

screenshots: venv ## the pictures of docs/pages.md, from the demo in a browser
	@$(PY) -m tests.setup_browser
	@$(PY) -m tests.pages.screenshots

package: venv ## build/package: one zip and one CloudFormation template (STAGE=prod)
	@$(PY) deploy/package.py --stage $(STAGE) --out build/package

deploy: venv ## build/package into the account of your credentials, asking first (STAGE=prod DEPLOY_ARGS="--set …")
	@$(PY) deploy/deploy.py up --stage $(STAGE) $(DEPLOY_ARGS)

remove: venv ## the stack of a stage, asking first; ledger, buckets and keys stay (STAGE=prod)
	@$(PY) deploy/deploy.py down --stage $(STAGE) $(DEPLOY_ARGS)

e2e: venv ## the packaged template on an emulated AWS, with IAM enforced (2 minutes)
	@$(PY) -m pytest -q -rs tests/e2e $(TEST_ARGS)

scan: venv ## what a scanner of templates says of both stages (fetches checkov into build/checkov)
	@$(PY) deploy/scan.py

soak: venv ## 50,000 seeds of faults against the whole service, on all processors (SOAK_ARGS="--seeds 0..500")
	@$(PY) -m patchwarden simulate --seeds 0..50000 --nodes 50 --workers $$($(PY) -c 'import os; print(os.cpu_count())') \
		--report build/soak.json $(SOAK_ARGS)
	@$(PY) -m tests.simulation.figures build/soak.json
	@$(PY) -m tests.simulation.pairs --workers $$($(PY) -c "import os; print(os.cpu_count())")
	@$(PY) -m tests.wire.soak --seeds 1..2000

bench: venv ## measurements against the budgets
	@for script in bench/*.py; do $(PY) -m bench.$$(basename $$script .py) || exit 1; done

lock: ## requirements.lock from pyproject.toml, with hashes (needs uv)
	@$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --extra dev pyproject.toml \
		--output-file requirements.lock --no-header --no-emit-index-url --no-emit-find-links

clean: ## remove what was built and cached; the environment stays
	@rm -rf build .chalice/deployments .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .patchwarden
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The stamp is a copy of the lock: the environment is made again when the lock's content changed, not its date.
venv:
	@cmp -s requirements.lock $(STAMP) && $(PY) -c '' 2>/dev/null || $(MAKE) --no-print-directory environment

.PHONY: environment
environment:
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "Patchwarden needs Python 3.11 or newer; found: $$($(or $(PYTHON),python3) --version 2>&1)."; \
	echo "Name another with make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. \
	On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Making $(VENV) from requirements.lock with $$($(PYTHON) --version) (once, about a minute)"
	@rm -f $(STAMP) && $(PYTHON) -m venv --clear $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
	@cp requirements.lock $(STAMP)

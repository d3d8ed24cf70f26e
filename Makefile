# The two commands are `make demo` and `make test`; both set up what they need.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SQLALCHEMIES := $(VENV)/sqlalchemy-1.4 $(VENV)/sqlalchemy-2.0

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit check soak bench bench-check format lock clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml requirements.lock
	@echo "== setting up $(VENV) (once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: $(PYTHON) is older than 3.10. Use: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/sqlalchemy-1.4: $(STAMP)
	@echo "== installing SQLAlchemy 1.4 beside 2.1, for the tests of older versions"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ 'sqlalchemy==1.4.54'

$(VENV)/sqlalchemy-2.0: $(STAMP)
	@echo "== installing SQLAlchemy 2.0 beside 2.1, for the tests of older versions"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ 'sqlalchemy==2.0.58'

$(VENV)/.uwsgi: $(STAMP)
	@echo "== building uWSGI, for the tests of its workers"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-cache-dir 'uwsgi==2.0.31' \
	  || echo "uWSGI cannot be built here (it needs a C compiler); its tests say so"
	@touch $@

setup: $(STAMP) ## make the virtual environment

demo: $(STAMP) ## run the example shop with everything; Ctrl-C ends it
	@$(BIN)/python -m examples.shop.demo $(DEMO)

test: $(STAMP) $(SQLALCHEMIES) $(VENV)/.uwsgi ## run all tests; parts that need a missing component are skipped with the reason
	@echo "== tests, unit and against real components"
	@$(BIN)/python -m pytest $(PYTEST)
	@echo "== done. What was skipped, if anything, is listed above with its reason."

unit: $(STAMP) ## run the quick tests that need no component
	@$(BIN)/python -m pytest -m 'not components and not endtoend' $(PYTEST)

soak: $(STAMP) $(VENV)/.uwsgi ## run the load, kill and fault tests at full length, about an hour
	@echo "== load, kills and faults at full length"
	@OTELBRIDGE_SOAK=1 $(BIN)/python -m pytest -m endtoend tests/workers tests/cells tests/soak tests/metrics tests/integration/test_push_collector.py $(PYTEST)

check: $(STAMP) ## format, lint, types, import rules, generated files
	@echo "== ruff"; $(BIN)/ruff format --check . && $(BIN)/ruff check .
	@echo "== pyright"; $(BIN)/pyright
	@echo "== import rules"; $(BIN)/lint-imports
	@echo "== generated documents"; $(BIN)/python -m otelbridge catalogue --check docs
	@$(BIN)/python -m otelbridge artifacts --check deploy

bench: $(STAMP) ## measure ours and its peers side by side, 6 minutes on two idle cores; BENCH=--continue goes on with a run that was cut off
	@$(BIN)/python -m benchmarks run $(BENCH)

bench-check: $(STAMP) ## fail when a measured figure misses its bound, also when it is measured again
	@$(BIN)/python -m benchmarks check $(BENCH)

format: $(STAMP) ## format and fix what can be fixed
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

lock: ## renew requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --extra all --group dev --group bench \
		--python-version 3.10 --no-header pyproject.toml -o requirements.lock

clean: ## remove the virtual environment and run files
	@rm -rf $(VENV) .run .pytest_cache .ruff_cache .hypothesis dist

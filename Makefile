# Every target installs what it needs first: `make demo` alone works on a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
SITE := build/docs
AIRFLOW := build/airflow
NOTEBOOK := build/notebook
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/pip-compile --quiet --upgrade \
	--generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host
# After a crash of a worker the rest of its files would be waited for without end.
SPREAD := --numprocesses 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
TESTS ?= tests
.PHONY: airflow notebook notebook-results spark help setup demo test test-fast coverage containers readers contract fuzz chaos lint types bench docs picture metrics screenshots lock

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s  %s\n", $$1, $$2}' Makefile

setup: $(READY) ## Make .venv from requirements.lock (the other targets do it by themselves)

demo: $(READY) ## Run the whole main job on the embedded stack
	$(BIN)/pinpip demo

test: export PINPIP_KAFKA_VERSION := $(KAFKA)
test: $(READY) ## Run all tests; KAFKA=4.4.0 names another version of Apache Kafka
	$(BIN)/python -m pytest $(SPREAD)

test-fast: export PINPIP_TEST_KAFKA := mock
test-fast: $(READY) ## Run units and contracts in this process: no broker, no Java, no network
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal --hypothesis-profile fast \
		-m "not (real_broker or moto or process or slow)" \
		--ignore tests/unit/benchmarks --ignore tests/unit/deploy --ignore tests/unit/docs \
		tests/unit tests/contracts tests/test_import_rules.py

coverage: export PINPIP_KAFKA_VERSION := $(KAFKA)
coverage: $(READY) ## Print which branches the tests execute; TESTS=tests/unit names some tests
	rm -rf build/coverage
	mkdir -p build/coverage
	$(BIN)/coverage run -m pytest $(SPREAD) $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

containers: $(READY) ## Build the image, run the compose file on Docker or podman, and prove its tables
	$(BIN)/python -m tests.e2e.compose

readers: $(READY) ## Run docs/reading.md's snippets for pandas and Spark (needs Java and Maven)
	$(BIN)/python -m tests.e2e.readers

airflow: $(READY) $(AIRFLOW)/.ready ## Run the DAG of deploy/airflow in a real Airflow, and prove its tables
	$(BIN)/python -m tests.e2e.airflow

spark: $(READY) ## Compare Spark's rows and the notebook's answers with other engines' (needs Java and Maven)
	$(BIN)/python -m tests.e2e.spark_tables
	$(BIN)/python -m tests.e2e.spark

notebook: export JUPYTER_DATA_DIR := $(CURDIR)/$(NOTEBOOK)/data
notebook: $(READY) $(NOTEBOOK)/.ready ## Open notebooks/explore.ipynb on the tables; LAB=--no-browser passes options
	$(NOTEBOOK)/bin/jupyter trust notebooks/explore.ipynb
	$(NOTEBOOK)/bin/jupyter lab $(LAB) notebooks/explore.ipynb

notebook-results: $(READY) ## Run notebooks/explore.py on emulated records, and keep the results beside it
	$(BIN)/python -m tests.e2e.notebook

contract: $(READY) ## Compare the gateway with its OpenAPI document in 10,000 requests
	$(BIN)/python -m tests.contracts.openapi_contract --examples 10000

fuzz: $(READY) ## Send 100,000 malformed requests to the gateway, and compare 100,000 with h11
	PINPIP_FUZZ_REQUESTS=100000 $(BIN)/python -m pytest --capture no \
		tests/e2e/test_gateway_fuzz.py tests/unit/gateway/http/test_desync.py

chaos: $(READY) ## Break consumers, broker and storage for 20 minutes, then prove the tables
	$(BIN)/pinpip chaos pin --rounds 20 --seconds 42 --rate 6000

lint: $(READY) ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## Check the types of every file
	.ci/types $(BIN)/mypy

bench: $(READY) ## Measure pinpip beside other programs; docs/benchmarks.md says how to read it
	$(BIN)/python -m benchmarks

docs: $(SITE)/.ready ## Build the documentation into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict
	@echo "built: build/site/index.html"

picture: $(READY) ## Draw docs/house.svg from the imports between the packages
	$(BIN)/python docs/house.py > docs/house.svg

metrics: $(READY) ## Write docs/metrics.md from core/metrics.py
	$(BIN)/python docs/metrics.py > docs/metrics.md

screenshots: $(READY) $(NOTEBOOK)/.ready ## Take the pictures of docs/images (needs Debian's chromium and imagemagick)
	$(BIN)/python -m tests.e2e.screenshots

lock: ## Resolve the four lock files again
	$(CHECK_PYTHON)
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet pip-tools==7.6.2
	$(COMPILE) --all-extras --output-file requirements.lock pyproject.toml
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["docs"], sep="\n")' \
		| $(COMPILE) --output-file requirements-docs.lock -
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["airflow"], sep="\n")' \
		| $(COMPILE) --output-file requirements-airflow.lock -
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["notebook"], sep="\n")' \
		| $(COMPILE) --output-file requirements-notebook.lock -

# One line in place of a traceback, before anything is made.
define CHECK_PYTHON
@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); import ensurepip, venv' 2>/dev/null || { \
	echo "pinpip needs Python 3.11 or newer with its venv module (on Debian the package python3-venv); name one: make PYTHON=python3.12" >&2; exit 1; }
endef

$(READY): requirements.lock pyproject.toml
	$(CHECK_PYTHON)
	@echo "installing what requirements.lock names into .venv: about a minute"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(SITE)/.ready: requirements-docs.lock
	$(CHECK_PYTHON)
	@$(PYTHON) -m venv $(SITE)
	@$(SITE)/bin/pip install --require-hashes --requirement requirements-docs.lock
	@touch $@

$(AIRFLOW)/.ready: requirements-airflow.lock
	$(CHECK_PYTHON)
	@$(PYTHON) -m venv $(AIRFLOW)
	@$(AIRFLOW)/bin/pip install --require-hashes --requirement requirements-airflow.lock
	@touch $@

# JupyterLab's own environment; its kernel is .venv, where pinpip is.
$(NOTEBOOK)/.ready: requirements-notebook.lock $(READY)
	$(CHECK_PYTHON)
	@$(PYTHON) -m venv $(NOTEBOOK)
	@$(NOTEBOOK)/bin/pip install --require-hashes --requirement requirements-notebook.lock
	@$(BIN)/python -m ipykernel install --prefix $(NOTEBOOK) --display-name pinpip
	@touch $@

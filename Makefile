# Every target creates and reuses .venv and installs what it needs from the hash-pinned lock.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint format bench bench-churn bench-collector bench-content bench-delivery bench-growth bench-job bench-latency bench-peers chaos image lock clean
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@echo "setting up $(VENV) from requirements.lock"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY) ## Run the whole product on simulated shoppers for DEMO_SECONDS (60), with a live view
	@exec $(BIN)/waxmark demo

test: $(READY) ## Run every test
	@exec $(BIN)/python -m pytest

lint: $(READY) ## Check style, types, layers, the Dockerfile, manifests and alert rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m tests.deploy.manifests
	@if command -v promtool >/dev/null; then \
		promtool check rules k8s/monitoring/alerts.yaml && promtool test rules tests/deploy/alerts_test.yaml; \
	elif [ "$$CI" = true ]; then echo "promtool is missing: apt-get install prometheus"; exit 1; \
	else echo "promtool is missing: the alert rules were not checked"; fi

format: $(READY) ## Rewrite the code as ruff formats it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Measure: CPU per event with its breakdown, determinism over 200k events, then the full job; half an hour
	@exec $(BIN)/python -m benchmarks

chaos: $(READY) ## Kill processes and brokers KILLS (200) times on a real Kafka, and count against a replay
	@exec $(BIN)/python -m benchmarks.chaos $${KILLS:-200}

bench-churn: $(READY) ## Judge the churn models on two real shops, against models fitted in batches; about five minutes
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[bench-churn]'
	@exec $(BIN)/python -m benchmarks.churn

bench-collector: $(READY) ## Measure the collector on one core by Locust, beside the bare server that it runs on
	@exec $(BIN)/python -m benchmarks.collector

bench-delivery: $(READY) ## Kill delivery and its providers over 10,000 triggers, then time an email from its cause at 200 a second
	@$(BIN)/python -m benchmarks.delivery
	@exec $(BIN)/python -m benchmarks.delivery_latency

bench-content: $(READY) ## Measure what emails load when they are opened
	@exec $(BIN)/python -m benchmarks.content

bench-job: $(READY) ## Run everything over a million events, from Redis Streams and from Kafka, and say where the CPU goes; 25 minutes
	@exec $(BIN)/python -m benchmarks.full_job

bench-latency: $(READY) ## Time an event to its readable profile and trigger, at 1,000 to 20,000 a second, on Kafka, through the collector
	@exec $(BIN)/python -m benchmarks.latency

bench-peers: $(READY) ## Run one job on Flink, Kafka Streams, Quix, Pathway, PyFlink, a plain loop and ours; installs the peers; an hour
	@exec $(BIN)/python -m benchmarks.peers

bench-growth: $(READY) ## Measure memory, snapshots, resuming and the cost of an event from 10,000 to 3 million users
	@exec $(BIN)/python -m benchmarks.growth

image: ## Build the container image; without docker on a base from Debian's packages, as root
	@.ci/image

lock: ## Pin every dependency with its hashes (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header -o requirements.lock pyproject.toml requirements-build.in
	uv pip compile --quiet --universal --python-version 3.11 --extra image --constraints requirements.lock --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header -o requirements-image.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --constraints requirements.lock --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header -o requirements-build.lock requirements-build.in

clean: ## Remove what the targets made
	rm -rf $(VENV) tests/api/clients/node_modules .waxmark .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

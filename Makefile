# What a developer runs and what CI runs. `make` alone lists the targets.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := perdure tests bench examples .ci

.PHONY: help ci check format test bench kills run demo

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

ci: check test  ## everything CI runs

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --group dev --editable .
	touch $@

check: .venv/ready  ## format, lint, types, import contracts, sizes
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python .ci/sizes.py

format: .venv/ready  ## put the code in shape
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

test: .venv/ready  ## all tests, in parallel; PYTEST="-k name" passes options
	$(BIN)/pytest -n 4 --dist worksteal $(PYTEST)

bench: .venv/ready  ## the figures of docs/performance.md
	$(BIN)/python -m bench

kills: .venv/ready  ## 500 kills at random instants on each store; KILLS="--kills 20" passes options
	$(BIN)/python -m tests.kill $(KILLS)

run: .venv/ready  ## start the server
	$(BIN)/perdure serve

demo: .venv/ready  ## see it remember
	$(BIN)/perdure demo

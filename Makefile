# Each target does its own set-up: a virtual environment in .venv and the pinned packages it needs.
PYTHON ?= python3
# Modules are compiled when first imported: compiling them all would double the time of an installation.
PIP = .venv/bin/pip install --quiet --disable-pip-version-check --no-compile

.PHONY: help demo app test test-all test-browser lint clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 16

demo: .venv/predict-ready  ## classify the images in examples/ with the shipped model
	.venv/bin/python predict.py --image_path examples

app: .venv/app-ready  ## serve the page and the REST API on http://127.0.0.1:7860
	.venv/bin/python -m app.server

test: .venv/dev-ready  ## run the test suite; tests marked real_data run where ../shared/data is present
	.venv/bin/python -m pytest

test-all: .venv/dev-ready  ## run the slow tests too
	.venv/bin/python -m pytest -m "not browser"

test-browser: .venv/dev-ready  ## use the page in Chromium; screenshots in runs/screenshots
	@test -x /usr/bin/chromium || { echo "Chromium is missing; install it: sudo apt-get install -y chromium"; exit 1; }
	.venv/bin/python -m pytest -m browser tests/app

lint: .venv/dev-ready  ## check style, the direction of imports, and the types of app/ and inference/
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-logo
	.venv/bin/mypy

clean:  ## remove the virtual environment
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/predict-ready: pyproject.toml | .venv/bin/python
	$(PIP) -e .
	touch $@

.venv/app-ready: pyproject.toml | .venv/bin/python
	$(PIP) -e ".[app]"
	touch $@

.venv/dev-ready: pyproject.toml | .venv/bin/python
	$(PIP) -e ".[dev]"
	touch $@

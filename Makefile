# Each target does its own set-up: a virtual environment in .venv and the pinned packages it needs.
PYTHON ?= python3
PIP = .venv/bin/pip install --quiet --disable-pip-version-check

.PHONY: demo test lint clean

demo: .venv/predict-ready  ## classify the pictures in examples/ with the shipped model
	.venv/bin/python predict.py --image_path examples

test: .venv/dev-ready  ## run the test suite; the tests marked real_data run where ../shared/data is present
	.venv/bin/python -m pytest

lint: .venv/dev-ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/predict-ready: app/requirements.txt | .venv/bin/python
	$(PIP) -r app/requirements.txt
	touch $@

.venv/dev-ready: requirements-dev.txt requirements.txt app/requirements.txt | .venv/bin/python
	$(PIP) -r requirements-dev.txt
	touch $@

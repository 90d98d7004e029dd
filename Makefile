# Each target does its own set-up: a virtual environment in .venv and the pinned packages it needs.
PYTHON ?= python3
PIP = .venv/bin/pip install --quiet --disable-pip-version-check

.PHONY: demo app test test-all test-browser lint clean

demo: .venv/predict-ready  ## classify the images in examples/ with the shipped model
	.venv/bin/python predict.py --image_path examples

app: .venv/app-ready  ## the page and the REST API on http://127.0.0.1:7860
	.venv/bin/python -m app.server

test: .venv/dev-ready  ## run the test suite; the tests marked real_data run where ../shared/data is present
	.venv/bin/python -m pytest

test-all: .venv/dev-ready  ## the tests that take long too
	.venv/bin/python -m pytest -m "not browser"

test-browser: .venv/dev-ready  ## use the page in Chromium; screenshots in runs/screenshots
	@test -x /usr/bin/chromium || { echo "Chromium is missing; install it: sudo apt-get install -y chromium"; exit 1; }
	.venv/bin/python -m pytest -m browser tests/test_browser.py

lint: .venv/dev-ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/predict-ready: requirements-predict.txt app/requirements.txt | .venv/bin/python
	$(PIP) -r requirements-predict.txt
	touch $@

.venv/app-ready: requirements-app.txt app/requirements.txt | .venv/bin/python
	$(PIP) -r requirements-app.txt
	touch $@

.venv/dev-ready: requirements-dev.txt requirements.txt requirements-app.txt app/requirements.txt | .venv/bin/python
	$(PIP) -r requirements-dev.txt
	touch $@

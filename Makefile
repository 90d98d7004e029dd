# Each target does its own set-up: a virtual environment in .venv and the pinned packages it needs.
PYTHON ?= python3
# Modules are compiled when first imported: compiling them all would double the time of an installation.
PIP = .venv/bin/pip install --quiet --disable-pip-version-check --no-compile

# Tools of a release, apart from the product's own packages: uv locks for every platform in 3 s where pip-compile took
# 60 s for one; cyclonedx-bom writes the SBOM from a lock.
TOOLS = uv==0.13.9 cyclonedx-bom==7.5.0
COMPILE = .venv/tools/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock"

.PHONY: help demo app test test-all test-browser lint mutants lock sbom clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 16

demo: .venv/predict-ready  ## classify the images in examples/ with the shipped model
	.venv/bin/python predict.py --image_path examples

app: .venv/app-ready  ## serve the page and the REST API on http://127.0.0.1:7860
	.venv/bin/python -m app.server

test: .venv/dev-ready  ## run the test suite; tests marked real_data run where ../shared/data is present
	.venv/bin/python -m pytest -n 2 --dist loadfile

test-all: .venv/dev-ready  ## run the slow tests too
	.venv/bin/python -m pytest -m "not browser"

test-browser: .venv/dev-ready  ## use the page in Chromium; screenshots in runs/screenshots
	@test -x /usr/bin/chromium || { echo "Chromium is missing; install it: sudo apt-get install -y chromium"; exit 1; }
	.venv/bin/python -m pytest -m browser tests/app tests/models

lint: .venv/dev-ready  ## check style, the direction of imports, and the types of app/ and inference/
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-logo
	.venv/bin/mypy

mutants: .venv/mutants-ready  ## change what decides about an answer, one thing at a time (MUTANTS='evaluation.thresholds.*' some)
	OMP_NUM_THREADS=1 nice .venv/bin/mutmut run --max-children 2 $(MUTANTS)
	.venv/bin/mutmut results

lock: .venv/tools-ready  ## write locks/*.txt anew: every dependency with its version and its hashes
	$(COMPILE) pyproject.toml -o locks/predict.txt
	$(COMPILE) pyproject.toml --extra app -o locks/server.txt
	sed -n 's/^sdk_version: /gradio[oauth,mcp]==/p' app/README.md | $(COMPILE) app/requirements.txt - -o locks/space.txt

sbom: .venv/tools-ready  ## write runs/sbom/*.cdx.json: what a release is made of, in CycloneDX
	@mkdir -p runs/sbom
	for lock in predict server space; do \
	  .venv/tools/bin/cyclonedx-py requirements locks/$$lock.txt --pyproject pyproject.toml --mc-type application \
	    --output-reproducible --output-file runs/sbom/$$lock.cdx.json || exit 1; \
	done

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

.venv/mutants-ready: .venv/dev-ready
	$(PIP) mutmut==3.8.1
	touch $@

.venv/dev-ready: pyproject.toml | .venv/bin/python
	$(PIP) -e ".[dev]"
	touch $@

.venv/tools-ready: Makefile | .venv/bin/python
	$(PYTHON) -m venv .venv/tools
	.venv/tools/bin/pip install --quiet --disable-pip-version-check $(TOOLS)
	touch $@

# make demo: install and run on the sample.  make test: install with the test extra and run the tests.
# make docs: the pictures of README, and the gallery.  make lint: ruff.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
DEMO := out/demo
IMAGERY := ../shared/data

.PHONY: demo test lint docs clean

demo: .venv/installed
	$(BIN)/geochange detect sample_data/before.tif sample_data/after.tif -o $(DEMO) --overwrite
	$(BIN)/geochange evaluate $(DEMO)/changes.gpkg sample_data/truth.gpkg --grid sample_data/before.tif --picture $(DEMO)/scores.png

test: .venv/tested
	$(BIN)/python -m pytest -n 2

lint: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.venv/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'geochange needs Python 3.11 or newer')"
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(PIP) install --editable .
	@touch $@

.venv/tested: pyproject.toml | .venv/bin/python
	$(PIP) install --editable ".[test]"
	$(PIP) install --no-deps --editable weights/buildings --editable weights/micro_changes
	@touch $@ .venv/installed

docs: .venv/tested
	$(BIN)/python docs/make_pictures.py
	$(BIN)/python docs/make_gallery.py
	if [ -d $(IMAGERY) ]; then $(BIN)/python docs/make_gallery.py --real $(IMAGERY) -o out/gallery; fi

clean:
	rm -rf .venv out

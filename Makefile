# make demo: install and run on the sample.  make test: install with the test extra, check, and run the tests.
# make check: ruff and mypy.                 make docs: the documentation, into site/.
# make pictures: the pictures of README and gallery, drawn again.
# make screenshots: the picture of the review (needs Chromium).
# make web: the page of the review (needs Node).   make review: the review of the sample, in the browser.
# make qgis-plugin: the plugin for QGIS, as dist/geochange_qgis.zip.   make test-qgis: its tests in QGIS (which needs QGIS).
# make stub: the types of the Python API, written again from the declarations of options.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
DEMO := out/demo
IMAGERY := ../shared/data

WEB := geochange/review/web

.PHONY: demo review web test test-qgis check docs pictures screenshots qgis-plugin stub clean

demo: .venv/installed
	$(BIN)/geochange detect sample_data/before.tif sample_data/after.tif -o $(DEMO) --overwrite
	$(BIN)/geochange evaluate $(DEMO)/changes.gpkg sample_data/truth.gpkg --grid sample_data/before.tif --picture $(DEMO)/scores.png --overwrite

	@echo "make review opens it in the browser"

review: web .venv/reviewing
	test -f $(DEMO)/run.json || $(MAKE) demo
	$(BIN)/geochange review $(DEMO)

web: geochange/review/page/index.html

geochange/review/page/index.html: $(WEB)/package-lock.json $(WEB)/vite.config.js $(WEB)/index.html $(wildcard $(WEB)/src/*) | .venv/bin/python
	$(BIN)/python build_page.py

test: check
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-qgis: .venv/tested
	$(BIN)/python -m pytest -m qgis -rs

qgis-plugin: .venv/installed
	$(BIN)/python qgis_plugin/make_zip.py -o dist/geochange_qgis.zip

check: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'geochange needs Python 3.11 or newer')"
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(PIP) install --editable .
	@touch $@

.venv/reviewing: pyproject.toml | .venv/bin/python
	$(PIP) install --editable ".[review]"
	@touch $@ .venv/installed

.venv/tested: pyproject.toml | .venv/bin/python
	$(PIP) install --editable ".[test]"
	$(PIP) install --no-deps --editable weights/buildings --editable weights/micro_changes
	@touch $@ .venv/installed

docs: .venv/tested
	$(BIN)/mkdocs build --quiet

pictures: .venv/tested
	$(BIN)/python docs/make_pictures.py
	$(BIN)/python docs/make_frames.py
	$(BIN)/python docs/make_radar.py
	$(BIN)/python docs/make_series.py
	$(BIN)/python docs/make_gallery.py
	if [ -d $(IMAGERY) ]; then $(BIN)/python docs/make_gallery.py --real $(IMAGERY) -o out/gallery; fi

screenshots: .venv/tested web
	$(BIN)/python docs/make_screenshots.py

stub: .venv/tested
	$(BIN)/python -m geochange.cli.stub > geochange/__init__.new
	mv geochange/__init__.new geochange/__init__.pyi

clean:
	rm -rf .venv out site

"""What `geochange review` writes and says beside its page, and how other commands treat a run under review."""

import importlib.util
import json
import shutil
import signal
import sys

import geopandas
import pytest
import rasterio

import geochange
from geochange.errors import BadOption, OutputInTheWay, UnreadableInput
from geochange.pipeline import review
from tests.review.conftest import SAMPLE, serve

FORMATS = (".gpkg", ".geojson", ".fgb", ".parquet")


def decision(number, status, **more):
    return {"key": str(number), "rev": 0, "after": {"status": status, **more}}


def layer_in(path):
    if path.suffix == ".parquet":
        return geopandas.read_parquet(path)
    return geopandas.read_file(path, layer="changes")


@pytest.fixture(scope="module")
def decided(finished, tmp_path_factory):
    """A run of which changes 1 to 4 are kept, rejected, unsure and kept; and a cell is looked at."""
    pytest.importorskip("starlette")
    out = tmp_path_factory.mktemp("decided") / "out"
    shutil.copytree(finished, out)
    server = serve(out, "--port", "0")
    server.log_in()
    for number, status in enumerate(("kept", "rejected", "unsure", "kept"), 1):
        assert server.act("decide", [decision(number, status, comment=f"c{number}")])[0] == 200
    assert server.act("look", [{"key": "cell 0 0", "rev": 0, "after": {"looked": True}}])[0] == 200
    server.process.send_signal(signal.SIGINT)
    server.process.communicate(timeout=30)
    return out


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("only", "ids"), [("all", None), ("decided", [1, 2, 3, 4]), ("kept", [1, 4])])
def test_what_was_decided_is_written_in_every_format(decided, tmp_path, suffix, only, ids):
    path = tmp_path / f"x{suffix}"
    reviewed = geochange.review(decided, export=path, only=only)
    assert reviewed.file == path
    found = layer_in(path).sort_values("id", ignore_index=True)
    changes = geopandas.read_file(decided / "changes.gpkg", layer="changes").sort_values("id", ignore_index=True)
    expected = changes if ids is None else changes[changes.id.isin(ids)].reset_index(drop=True)
    assert found.id.tolist() == expected.id.tolist()
    assert found.to_crs(expected.crs).geom_equals_exact(expected, tolerance=0.02).all()
    status = {1: "kept", 2: "rejected", 3: "unsure", 4: "kept"}
    assert found.status.tolist() == [status.get(number, "unreviewed") for number in expected.id]
    assert found.comment.fillna("").tolist() == [f"c{n}" if n in status else "" for n in expected.id]
    assert found.score_mean.tolist() == expected.score_mean.tolist()


def test_an_export_is_not_replaced_unasked_and_nothing_of_the_review_is(decided, tmp_path):
    path = tmp_path / "x.gpkg"
    geochange.review(decided, export=path)
    before = path.read_bytes()
    with pytest.raises(OutputInTheWay, match=r"x\.gpkg"):
        geochange.review(decided, export=path)
    assert path.read_bytes() == before
    geochange.review(decided, export=path, overwrite=True)
    for name in ("review/base.gpkg", "review/review.sqlite"):
        with pytest.raises((OutputInTheWay, BadOption)):
            geochange.review(decided, export=decided / name, overwrite=True)
    with pytest.raises(BadOption, match=r"\.gpkg"):
        geochange.review(decided, export=tmp_path / "x.txt")


def test_the_tally_is_told_and_nothing_is_written(decided, finished, tmp_path):
    before = {path: path.read_bytes() for path in decided.rglob("*") if path.is_file()}
    reviewed = geochange.review(decided, status=True)
    total = len(geopandas.read_file(decided / "changes.gpkg", layer="changes"))
    assert reviewed.tally == {"unreviewed": total - 4, "kept": 2, "rejected": 1, "unsure": 1, "cells": 1}
    assert {path: path.read_bytes() for path in decided.rglob("*") if path.is_file()} == before
    untouched = geochange.review(finished, status=True)
    assert untouched.tally["unreviewed"] == total
    assert not (finished / "review").exists()


def test_the_tally_as_json(decided, run):
    code, printed, errors = run("review", decided, "--status", "--json")
    assert (code, errors) == (0, [])
    assert {name: json.loads(printed)[name] for name in ("kept", "cells")} == {"kept": 2, "cells": 1}


def test_an_export_beside_a_live_server_has_what_was_acknowledged(served, tmp_path):
    assert served.act("decide", [decision(2, "rejected")])[0] == 200
    geochange.review(served.out, export=tmp_path / "x.gpkg", only="decided")
    assert layer_in(tmp_path / "x.gpkg").id.tolist() == [2]


def test_a_run_that_people_have_decided_on_is_not_replaced(decided):
    pair = (SAMPLE / "before.tif", SAMPLE / "after.tif")
    before = {path: path.read_bytes() for path in decided.rglob("*") if path.is_file()}
    with pytest.raises(OutputInTheWay, match=r"holds a review of 5 actions; use another folder, or move .*review away"):
        geochange.detect(*pair, decided, detector="change-vector", formats=("gpkg",), overwrite=True)
    assert {path: path.read_bytes() for path in decided.rglob("*") if path.is_file()} == before


def test_a_review_without_decisions_begins_anew_with_what_is_found_anew(out):
    server = serve(out, "--port", "0")
    server.process.send_signal(signal.SIGINT)
    server.process.communicate(timeout=30)
    pair = (SAMPLE / "before.tif", SAMPLE / "after.tif")
    geochange.detect(*pair, out, detector="change-vector", formats=("gpkg",), threshold=0.9, overwrite=True)
    server = serve(out, "--port", "0")
    server.log_in()
    left = server.get("/api/progress")["unreviewed"]
    server.process.send_signal(signal.SIGINT)
    server.process.communicate(timeout=30)
    assert left == len(geopandas.read_file(out / "changes.gpkg", layer="changes"))
    assert left == len(geopandas.read_file(out / "review.gpkg", layer="changes"))


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UnreadableInput, match="holds no finished run; run `geochange detect BEFORE AFTER"):
        geochange.review(tmp_path, status=True)


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(out, monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(review, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(BadOption, match=rf"needs {missing}: pip install 'geochange\[review\]'"):
        geochange.review(out)


def test_without_the_page_it_says_how_to_build_it(out, monkeypatch, tmp_path):
    pytest.importorskip("starlette")
    monkeypatch.setattr(review, "PAGE", tmp_path)
    with pytest.raises(BadOption, match="the page of the review is not built: run `make web`"):
        geochange.review(out)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_refused(out, port):
    with pytest.raises(BadOption, match=f"port {port} must lie in 0..65535"):
        geochange.review(out, port=port)


def test_images_that_have_changed_since_are_refused(tmp_path):
    pair = [shutil.copy(SAMPLE / name, tmp_path / name) for name in ("before.tif", "after.tif")]
    geochange.detect(*pair, tmp_path / "out", detector="change-vector", formats=("gpkg",))
    with rasterio.open(pair[1], "r+") as dataset:
        dataset.write(dataset.read() // 2)
    with pytest.raises(UnreadableInput, match=r"after\.tif has changed since .*out was made"):
        geochange.review(tmp_path / "out", status=True)


if sys.platform == "win32":
    pytest.skip("servers end by signals there", allow_module_level=True)

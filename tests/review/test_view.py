"""`geochange review OUT --view`: the file that QGIS opens, without a page."""

import json
import signal
import sqlite3
import sys
from contextlib import closing

import pytest
from geochange_qgis.review_dock.take_ins import BUSY, TAKEN_IN, Outcome, outcome_of

import geochange
from geochange.errors import BadOption
from geochange.review.gis_view import GisView
from geochange.review.saved import SavedReview
from tests.commands import refused
from tests.review.conftest import SAMPLE, record, serve
from tests.review.test_gis_view import rows
from tests.review.test_take_in import edit

VIEW = "review.gpkg"


def edited(out, *statements):
    saved = SavedReview.open(out)
    edit(GisView(out / VIEW, saved.changes, "", saved.cells), *statements)


def test_the_view_is_that_which_a_server_leaves(out, run):
    pytest.importorskip("starlette")
    server = serve(out, "--port", "0")
    server.log_in()
    count = len(SavedReview.open(out).base.places)
    status, _ = server.act("decide", [{"key": "1", "rev": 0, "after": {"status": "kept"}}])
    assert status == 200
    server.process.send_signal(signal.SIGINT)
    server.process.communicate(timeout=30)
    left = rows(out / VIEW)
    (out / VIEW).unlink()
    code, printed, errors = run("review", out, "--view", "--json")
    assert (code, errors) == (0, [])
    told = json.loads(printed)
    assert told["file"] == str(out / VIEW)
    assert (told["kept"], told["unreviewed"]) == (1, count - 1)
    assert rows(out / VIEW) == left


def test_where_no_review_has_begun_one_begins(out, run):
    code, printed, errors = run("review", out, "--view")
    assert (code, errors) == (0, [])
    assert VIEW in printed.replace("\n", "")
    once = rows(out / VIEW)
    assert {row[-4] for row in once["changes"]} == {"unreviewed"}
    assert geochange.review(out, view=True).file == out / VIEW
    assert rows(out / VIEW) == once


def test_decisions_and_edits_are_both_in_it(out):
    geochange.review(out, view=True)
    edited(out, ("UPDATE changes SET status = 'rejected' WHERE id = 2",))
    record(out, ("decide", {1: {"status": "kept"}, 2: {"status": "unsure"}}))
    geochange.review(out, view=True)
    with closing(sqlite3.connect(out / VIEW)) as database:
        found = dict(database.execute("SELECT id, status FROM changes WHERE id < 4"))
    assert found == {1: "kept", 2: "rejected", 3: "unreviewed"}


def test_an_edit_of_a_file_that_stays_open_is_taken_in_and_shown_as_it_is(out):
    geochange.review(out, view=True)
    with closing(sqlite3.connect(out / VIEW)) as gis:
        gis.execute("PRAGMA journal_mode = WAL")  # as QGIS has it while a layer is edited
        assert gis.execute("SELECT count(*) FROM changes").fetchone()[0] > 3
        edited(out, ("UPDATE changes SET status = 'kept', comment = 'seen' WHERE id = 2",))
        found = geochange.review(out, take_in=True)
        assert (found.tally["kept"], found.conflicts) == (1, ())
        assert gis.execute("SELECT status, comment, rev FROM changes WHERE id = 2").fetchone() == ("kept", "seen", 1)
        edited(out, ("UPDATE changes SET status = 'unreviewed' WHERE id = 2",))
        assert geochange.review(out, take_in=True).tally["kept"] == 0
        once = GisView(out / "once.gpkg", SavedReview.open(out).changes, "layer", SavedReview.open(out).cells)
        once.catch_up(SavedReview.open(out).state)
        assert rows(once.path)["changes"] == rows(out / VIEW)["changes"]


def test_a_program_that_writes_it_is_in_the_way(out, run):
    geochange.review(out, view=True)
    with closing(sqlite3.connect(out / VIEW, isolation_level=None)) as gis:
        gis.execute("BEGIN IMMEDIATE")
        refused(run("review", out, "--view"), f"{VIEW} is in use by another program; save its edits, and try again")


def test_a_server_is_in_the_way(out, run, served):
    refused(run("review", out, "--view"), f"a review is served at {served.address}")


def test_what_is_in_use_is_what_the_dock_in_qgis_waits_for(out, run):
    pytest.importorskip("starlette")
    served = serve(out, "--port", "0")
    code, printed, errors = run("review", out, "--take-in", "--json")
    assert outcome_of(code, printed, "\n".join(errors)).kind == BUSY
    served.process.send_signal(signal.SIGINT)
    served.process.communicate(timeout=30)
    with closing(sqlite3.connect(out / VIEW, isolation_level=None)) as gis:
        gis.execute("BEGIN IMMEDIATE")
        code, printed, errors = run("review", out, "--take-in", "--json")
        assert outcome_of(code, printed, "\n".join(errors)).kind == BUSY
    code, printed, errors = run("review", out, "--take-in", "--json")
    assert outcome_of(code, printed, "\n".join(errors)) == Outcome(TAKEN_IN)


def test_it_needs_no_extra(out, monkeypatch):
    for name in ("starlette", "uvicorn"):
        monkeypatch.setitem(sys.modules, name, None)
    assert geochange.review(out, view=True).file == out / VIEW


def test_a_layer_or_two_dates_may_begin_it(out, tmp_path, run):
    (out / "changes.gpkg").rename(tmp_path / "given.gpkg")
    found = geochange.review(out, layer=tmp_path / "given.gpkg", view=True)
    assert found.tally["unreviewed"] == len(rows(found.file)["changes"])
    with pytest.raises(BadOption, match="--view and --take-in go one at a time"):
        geochange.review(out, view=True, take_in=True)
    pair = (SAMPLE / "before.tif", SAMPLE / "after.tif")
    code, _, errors = run("review", "--before", pair[0], "--after", pair[1], "-o", tmp_path / "drawn", "--view")
    assert (code, errors) == (0, [])
    assert rows(tmp_path / "drawn" / VIEW)["changes"] == []

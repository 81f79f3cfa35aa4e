"""What was edited in a GIS comes back as an action; what was decided meanwhile is listed, and not overwritten."""

import json
import signal
import sqlite3
from contextlib import closing

import geopandas
import pytest
import shapely

import geochange
from geochange.errors import OutputInTheWay, UnreadableInput
from geochange.review.gis_view import GisView, _add_functions, geopackage_blob
from geochange.review.saved import SavedReview
from geochange.review.store import ReviewStore
from geochange.review.take_in import GIS, take_in
from tests.review.conftest import record, serve
from tests.review.test_edits import pixels_of

PASTE = """
    INSERT INTO changes (id, geom, label, status, digest)
    SELECT id, ?, label, status, digest FROM changes WHERE id = 4
"""


@pytest.fixture
def viewed(out):
    """A run with its view, as a server leaves it."""
    return out, bring_up(record(out, ("decide", {1: {"status": "kept"}})))


def bring_up(saved):
    view = GisView(saved.run.out / "review.gpkg", saved.changes, "layer", saved.cells)
    view.catch_up(saved.state)
    return view


def edit(view, *statements):
    """Write as a GIS does: by SQL, with the functions of the spatial index."""
    with closing(sqlite3.connect(view.path)) as database:
        _add_functions(database)
        for text, *values in statements:
            database.execute(text, values)
        database.commit()


def taken(out, view):
    saved = SavedReview.open(out)
    with ReviewStore(saved.truth, saved.untouched, saved.facts(), top=saved.changes.top) as store:
        found = take_in(view, store, saved.run.classes)
    return found, SavedReview.open(out)


def blob_of(out, *box):
    saved = SavedReview.open(out)
    left, top, right, bottom = box
    transform = saved.run.scene.grid.transform
    return geopackage_blob(
        shapely.Polygon([transform @ p for p in ((left, top), (right, top), (right, bottom), (left, bottom))]), 32633
    )


def rows(view):
    with closing(sqlite3.connect(view.path)) as database:
        return database.execute(
            "SELECT id, geom, label, status, comment, rev, digest FROM changes ORDER BY id"
        ).fetchall()


def test_edits_of_every_kind_are_one_action_and_the_view_is_that_of_the_review(viewed):
    out, view = viewed
    top = SavedReview.open(out).changes.top
    edit(
        view,
        ("UPDATE changes SET status = 'rejected', comment = 'a shadow' WHERE id = 2",),
        ("UPDATE changes SET geom = ? WHERE id = 3", blob_of(out, 30, 40, 60, 80)),
        ("INSERT INTO changes (geom, label) VALUES (?, 'change')", blob_of(out, 100, 200, 120, 210)),
        (PASTE, blob_of(out, 10, 10, 20, 20)),
        ("DELETE FROM changes WHERE id = 5",),
    )  # fmt: skip
    found, saved = taken(out, view)
    assert (found.count, found.conflicts) == (5, ())
    action = saved.actions[-1]
    assert (action.who, action.kind, len(action.items)) == (GIS, "qgis", 5)
    fields = {int(key): touched.fields for key, touched in saved.state.touched.items()}
    assert (fields[2]["status"], fields[2]["comment"], fields[2]["geometry"]) == ("rejected", "a shadow", None)
    assert pixels_of(out, saved.changes.shapes(saved.state, [3])[3]).equals(shapely.box(30, 40, 60, 80))
    assert fields[5]["status"] == "deleted"
    new = {number: pixels_of(out, saved.changes.shapes(saved.state, [number])[number]) for number in (top + 1, top + 2)}
    assert sorted(shape.area for shape in new.values()) == [100, 200]
    assert {fields[number]["origin"] for number in new} == {"qgis"}
    assert {fields[number]["status"] for number in new} == {"kept", "unreviewed"}  # the copy has that of its original
    once = GisView(out / "once.gpkg", saved.changes, "layer", saved.cells)
    once.catch_up(saved.state)
    assert rows(view) == rows(once)
    again, _ = taken(out, view)
    assert (again.count, again.conflicts) == (0, ())


def test_undo_takes_all_of_it_back(viewed):
    out, view = viewed
    before = [row[:5] for row in rows(view)]
    edit(view, ("DELETE FROM changes WHERE id = 5",), ("UPDATE changes SET status = 'unsure' WHERE id = 6",))
    taken(out, view)
    undone = record(out, ("undo", {}), who=GIS)
    view.catch_up(undone.state)
    assert [row[:5] for row in rows(view)] == before


def test_what_was_decided_meanwhile_is_listed_with_both_versions_and_kept(viewed):
    out, view = viewed
    edit(
        view,
        ("UPDATE changes SET status = 'rejected' WHERE id = 1",),
        ("UPDATE changes SET comment = 'mine' WHERE id = 2",),
        ("DELETE FROM changes WHERE id = 3",),
        ("UPDATE changes SET status = 'unsure' WHERE id = 4",),
    )
    saved = record(
        out,
        ("decide", {1: {"status": "unsure"}, 2: {"comment": "theirs"}}),
        ("decide", {3: {"status": "kept"}}),
    )
    view.catch_up(saved.state)  # the edited rows stay
    found, saved = taken(out, view)
    assert found.count == 1
    assert found.conflicts == (
        "change 1: status 'rejected' in the GIS, status 'unsure' here",
        "change 2: comment 'mine' in the GIS, comment 'theirs' here",
        "change 3: removed in the GIS, kept here; it is back",
    )
    fields = {int(key): touched.fields for key, touched in saved.state.touched.items()}
    assert (fields[1]["status"], fields[2]["comment"], fields[3]["status"]) == ("unsure", "theirs", "kept")
    assert fields[4]["status"] == "unsure"
    shown = {row[0]: row for row in rows(view)}
    assert (shown[1][3], shown[2][4], shown[3][3]) == ("rejected", "mine", "kept")
    edit(view, ("UPDATE changes SET status = 'unsure' WHERE id = 1",))  # now both agree
    found, _ = taken(out, view)
    assert [text.split(":")[0] for text in found.conflicts] == ["change 2"]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (("UPDATE changes SET status = 'maybe' WHERE id = 1",), "change 1 is left: status 'maybe' is not one of"),
        (("UPDATE changes SET label = 'sea' WHERE id = 1",), "change 1 is left: label 'sea' is not one of change"),
        (("UPDATE changes SET comment = ? WHERE id = 1", "x" * 2001), "change 1 is left: its comment is longer"),
        (("UPDATE changes SET geom = NULL WHERE id = 1",), "change 1 is left: it has no outline"),
        (("INSERT INTO changes (label) VALUES ('change')",), "is left: it has no outline"),
    ],
)
def test_what_cannot_be_is_left_and_said(viewed, statement, said):
    out, view = viewed
    edit(view, statement, ("UPDATE changes SET status = 'kept' WHERE id = 9",))
    found, saved = taken(out, view)
    assert found.count == 1
    assert len(found.conflicts) == 1
    assert said in found.conflicts[0]
    assert saved.state.touched["9"].fields["status"] == "kept"


def test_an_outline_beyond_the_scene_is_left(viewed):
    out, view = viewed
    edit(view, ("UPDATE changes SET geom = ? WHERE id = 1", blob_of(out, -50, 0, 20, 20)))
    found, _ = taken(out, view)
    assert found.conflicts == ("change 1 is left: the outline reaches beyond the scene",)


def test_a_gis_that_writes_is_in_the_way(viewed):
    out, view = viewed
    with closing(sqlite3.connect(view.path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutputInTheWay, match="is in use by another program; save its edits"):
            taken(out, view)


def test_the_command_takes_in_and_says_what_was_left(out, run):
    pytest.importorskip("starlette")
    with pytest.raises(UnreadableInput, match=r"review\.gpkg does not exist; `geochange review .*` makes it"):
        geochange.review(out, take_in=True)
    server = serve(out, "--port", "0")
    server.log_in()
    code, _, errors = run("review", out, "--take-in")
    assert (code, len(errors)) == (2, 1)
    assert f"a review is served at {server.address}" in errors[0]
    saved = SavedReview.open(out)
    view = GisView(out / "review.gpkg", saved.changes, "", saved.cells)
    edit(view, ("UPDATE changes SET status = 'kept' WHERE id = 2",))
    status, told, _ = server.ask("POST", "/api/take-in", {})
    assert (status, json.loads(told)) == (200, {"count": 1, "conflicts": []})
    assert server.get("/api/changes/2")["status"] == "kept"
    server.process.send_signal(signal.SIGINT)
    server.process.communicate(timeout=30)
    edit(
        view,
        ("UPDATE changes SET status = 'rejected' WHERE id = 3",),
        ("UPDATE changes SET status = 'x' WHERE id = 4",),
    )
    code, printed, errors = run("review", out, "--take-in", "--json")
    assert (code, errors) == (0, [])
    assert json.loads(printed)["rejected"] == 1
    assert json.loads(printed)["conflicts"] == [
        "change 4 is left: status 'x' is not one of unreviewed, kept, rejected, unsure"
    ]
    assert len(geopandas.read_file(out / "review.gpkg", layer="changes")) == len(saved.base.places)

"""The view that QGIS has open: always what the actions say, never in the way of what was edited there."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from uuid import uuid4

import pyogrio
import pytest
from geopandas import read_file

from geochange.errors import OutputInTheWay
from geochange.qgis.style import LOOKED_THROUGH, status_style
from geochange.review.actions import read_request
from geochange.review.gis_view import GisView, _add_functions
from geochange.review.saved import SavedReview
from geochange.review.state import ReviewState
from geochange.scenes.layers import open_layer


@pytest.fixture
def opened(out):
    return SavedReview.open(out, beginning=True)


@pytest.fixture
def view(opened):
    return GisView(opened.run.out / "review.gpkg", opened.changes, "layer", opened.cells)


def do(state, key, **after):
    kind = "look" if key.startswith("cell") else "decide"
    items = [{"key": key, "rev": state.of(key).rev, "after": after}]
    request = read_request({"op": str(uuid4()), "kind": kind, "items": items}, "ada", ("change",))
    state.apply(state.plan(request, "2024-01-01T00:00:00+00:00"))


def rows(path):
    with closing(sqlite3.connect(path)) as database:
        return {
            name: database.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
            for name in ("changes", "areas", "history", "review_state")
        }


def test_a_view_that_caught_up_is_one_made_anew(opened, view, tmp_path):
    state = opened.state
    assert view.catch_up(state)
    for number, status in enumerate(["kept", "rejected", "unsure"], start=1):
        do(state, str(number), status=status, comment=f"c{number}")
        assert view.catch_up(state)
    do(state, "cell 0 0", looked=True)
    do(state, "1", status="unreviewed")
    assert view.catch_up(state)
    anew = GisView(tmp_path / "anew.gpkg", view.changes, view.layer, view.cells)
    assert anew.catch_up(state)
    assert rows(anew.path) == rows(view.path)
    frame = read_file(view.path, layer="changes").set_index("id")
    assert frame.loc[[1, 2, 3], "status"].tolist() == ["unreviewed", "rejected", "unsure"]
    assert frame.loc[[1, 2, 3], "rev"].tolist() == [2, 1, 1]


def test_a_gis_that_writes_is_waited_for(opened, view):
    state = opened.state
    view.catch_up(state)
    do(state, "1", status="kept")
    with closing(sqlite3.connect(view.path, isolation_level=None)) as gis:
        gis.execute("BEGIN IMMEDIATE")
        assert not view.catch_up(state)
        gis.execute("ROLLBACK")
    assert view.catch_up(state)
    assert read_file(view.path, layer="changes").set_index("id").loc[1, "status"] == "kept"


def test_a_gis_that_reads_is_waited_for(opened, view):
    state = opened.state
    view.catch_up(state)
    do(state, "1", status="kept")
    with closing(sqlite3.connect(view.path)) as gis:
        cursor = gis.execute("SELECT * FROM changes")
        cursor.fetchone()  # half-way: it holds a lock
        assert not view.catch_up(state)
        cursor.close()
    assert view.catch_up(state)
    assert read_file(view.path, layer="changes").set_index("id").loc[1, "status"] == "kept"


def test_what_was_edited_in_a_gis_is_not_overwritten(opened, view):
    state = opened.state
    view.catch_up(state)
    frame = pyogrio.read_dataframe(view.path, layer="changes", fid_as_index=True)
    place = frame.index[frame["id"] == 1][0]
    with closing(sqlite3.connect(view.path)) as gis:
        gis.create_function("ST_IsEmpty", 1, lambda _: 0)
        for name in ("ST_MinX", "ST_MinY", "ST_MaxX", "ST_MaxY"):
            gis.create_function(name, 1, lambda _: 0.0)
        gis.execute("UPDATE changes SET comment = 'from QGIS' WHERE fid = ?", (int(place),))
        gis.commit()
    do(state, "1", status="kept")
    do(state, "2", status="kept")
    assert view.catch_up(state)
    frame = read_file(view.path, layer="changes").set_index("id")
    assert frame.loc[1, ["status", "comment"]].tolist() == ["unreviewed", "from QGIS"]
    assert frame.loc[2, "status"] == "kept"


def test_a_view_that_is_lost_is_made_again_unless_a_journal_of_it_is_left(opened, view):
    state = opened.state
    do(state, "1", status="kept")
    view.catch_up(state)
    before = rows(view.path)
    view.path.unlink()
    left = view.path.with_name("review.gpkg-wal")
    left.write_bytes(b"x")
    with pytest.raises(OutputInTheWay, match=r"review\.gpkg-wal lies there without its file"):
        view.catch_up(state)
    left.unlink()
    assert view.catch_up(state)
    assert rows(view.path) == before


def test_the_view_is_a_layer_with_a_style_and_cells(opened, view):
    view.catch_up(opened.state)
    layers = dict(pyogrio.list_layers(view.path))
    assert layers["changes"] == layers["areas"] == "Polygon"
    areas = open_layer(f"{view.path}|layername=areas").frame
    height, width = opened.run.scene.shape
    assert areas.geometry.area.sum() == pytest.approx(height * width * abs(view.changes.grid.transform.determinant))
    with closing(sqlite3.connect(view.path)) as database:
        assert database.execute("SELECT count(*) FROM layer_styles WHERE f_table_name = 'changes'").fetchone() == (1,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_view_of_an_earlier_layer_is_made_anew_unless_it_holds_edits(opened, view):
    state = opened.state
    assert view.catch_up(state)
    later = replace(view, layer="another")
    assert later.catch_up(state)
    with closing(sqlite3.connect(view.path)) as database, database:
        assert database.execute("SELECT layer FROM review_state").fetchall() == [("another",)]
        _add_functions(database)
        database.execute("UPDATE changes SET comment = 'mine' WHERE id = 2")
    with pytest.raises(OutputInTheWay, match=r"review\.gpkg holds 1 edits of an earlier layer; move it away"):
        view.catch_up(state)
    assert read_file(view.path, layer="changes").set_index("id").loc[2, "comment"] == "mine"
    assert later.catch_up(state)


def test_qgis_shows_the_view_by_status(opened, view):
    assert view.catch_up(opened.state)
    with closing(sqlite3.connect(view.path)) as database:
        styles = dict(database.execute("SELECT f_table_name, styleQML FROM layer_styles").fetchall())
    assert styles == {"changes": status_style(LOOKED_THROUGH)}
    for status in ("unreviewed", "kept", "rejected", "unsure"):
        assert f'value="{status}"' in styles["changes"]


def test_what_is_decided_while_the_view_is_written_is_shown_the_next_time(opened, view):
    """The state goes on in another thread; an action must be neither shown twice nor passed over."""

    class Going(ReviewState):
        def of(self, key):
            if key == "1" and self.seq == 1:
                do(self, "2", status="rejected")
            return super().of(key)

    state = Going(opened.untouched, top=opened.changes.top)
    do(state, "1", status="kept")
    assert state.seq == 1
    assert view.catch_up(state)
    assert state.seq == 2
    assert view.catch_up(state)
    shown = rows(view.path)
    assert [row[0] for row in shown["history"]] == [1, 2]
    frame = read_file(view.path, layer="changes").set_index("id")
    assert frame.loc[[1, 2], "status"].tolist() == ["kept", "rejected"]

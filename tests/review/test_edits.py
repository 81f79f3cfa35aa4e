"""Changes that are drawn, reshaped, cut, merged and deleted: as actions, in the layer, in the view, as labels."""

import json
import shutil
import sqlite3
from contextlib import closing

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from shapely.affinity import translate

import geochange
from geochange.arrays import IGNORE
from geochange.probability.raster import open_scores
from geochange.review.actions import BadAction, BadShape, read_request
from geochange.review.geometry import cut_out, merge, read_line, read_polygon, split
from geochange.review.gis_view import GisView
from geochange.review.grow import grow
from geochange.review.saved import SavedReview
from geochange.review.state import FOUND, fold
from tests.review.conftest import SAMPLE, record

SQUARE = [[[10, 20], [40, 20], [40, 60], [10, 60], [10, 20]]]
HOLED = [*SQUARE, [[20, 30], [20, 40], [30, 40], [30, 30], [20, 30]]]
BOW = [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]
SCENE = (100, 80)


def at(out, box, rings=None):
    """WKB of a box, or of rings, in columns and rows, as an action has it."""
    saved = SavedReview.open(out)
    left, top, right, bottom = box
    rings = rings or [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]]
    transform = saved.run.scene.grid.transform
    polygon = shapely.Polygon(
        *[[transform @ tuple(place) for place in ring] for ring in rings[:1]],
        [[transform @ tuple(p) for p in ring] for ring in rings[1:]],
    )
    return shapely.to_wkb(polygon, hex=True)


def free_place(out):
    """Left and top of 60 by 30 pixels in the first cell where nothing was found."""
    boxes = SavedReview.open(out).base.columns.boxes
    for top in range(10, 470, 10):
        for left in range(10, 440, 10):
            meets = (boxes[:, 0] < left + 60) & (boxes[:, 2] > left) & (boxes[:, 1] < top + 30) & (boxes[:, 3] > top)
            if not meets.any():
                return left, top
    raise AssertionError("there is none")


def drawn(out, kind="draw", **fields):
    return (kind, [("", {"label": "change", **fields})])


@pytest.fixture
def edited(out):
    """A run of which change 1 is reshaped and kept, 2 is deleted by a cut into two, and one is drawn."""
    number = int(geopandas.read_file(out / "changes.gpkg", layer="changes").id.max())
    shape = geopandas.read_file(out / "changes.gpkg", layer="changes").set_index("id").geometry[2]
    left, top, right, bottom = pixels_of(out, shape).bounds
    middle = (left + right) / 2
    saved = record(
        out,
        ("decide", {1: {"status": "kept"}}),
        ("reshape", {1: {"geometry": at(out, (100, 100, 130, 120))}}),
        (
            "split",
            [
                ("2", {"status": "deleted"}),
                *[
                    ("", {"geometry": at(out, box), "label": "change", "status": "unreviewed"})
                    for box in ((left, top, middle, bottom), (middle, top, right, bottom))
                ],
            ],
        ),
        ("draw", [("", {"geometry": at(out, (200, 300, 240, 310)), "label": "change", "comment": "missed"})]),
    )
    return out, saved, number


def pixels_of(out, shape):
    inverse = ~SavedReview.open(out).run.scene.grid.transform
    return shapely.transform(shape, lambda xy: np.stack(inverse @ xy.T, axis=1))


def test_new_changes_have_new_ids_and_fields_of_their_own(edited):
    _, saved, top = edited
    fields = {key: touched.fields for key, touched in saved.state.touched.items()}
    assert sorted(map(int, fields)) == [1, 2, top + 1, top + 2, top + 3]
    assert [fields[str(top + n)]["origin"] for n in (1, 2, 3)] == ["split", "split", "drawn"]
    assert [fields[str(top + n)]["status"] for n in (1, 2, 3)] == ["unreviewed", "unreviewed", "kept"]
    assert (fields["1"]["origin"], fields["2"]["status"]) == ("found", "deleted")
    tally = saved.tally()
    total = len(saved.base.places)
    assert tally == {"unreviewed": total - 2 + 2, "kept": 2, "rejected": 0, "unsure": 0, "cells": 0}


def test_ids_are_never_used_twice(out):
    saved = record(out, drawn(out, geometry=at(out, (0, 0, 5, 5))))
    first = saved.changes.top + 1
    saved = record(out, ("undo", {}), drawn(out, geometry=at(out, (0, 0, 6, 6))))
    assert saved.state.touched[str(first)].fields["status"] == "deleted"
    assert saved.state.touched[str(first + 1)].fields["status"] == "kept"
    assert saved.state.top == first + 1


def test_an_export_has_what_is_there_now(edited, tmp_path):
    out, _, top = edited
    found = geopandas.read_file(geochange.review(out, export=tmp_path / "x.gpkg").file, layer="changes").set_index("id")
    assert 2 not in found.index
    assert [*found.index[-3:]] == [top + 1, top + 2, top + 3]
    assert pixels_of(out, found.geometry[1]).equals(shapely.box(100, 100, 130, 120))
    assert (found.area_px[1], found.area_m2[1], found.perimeter_m[1]) == (600, 600.0, 100.0)
    assert pixels_of(out, found.geometry[top + 3]).equals(shapely.box(200, 300, 240, 310))
    row = found.loc[top + 3]
    assert (row.status, row.label, row.comment, row.area_px) == ("kept", "change", "missed", 400)
    assert np.isnan(row.score_mean)
    assert row.date_before == found.date_before[1]
    kept = geopandas.read_file(geochange.review(out, export=tmp_path / "k.gpkg", only="kept").file, layer="changes")
    assert kept.id.tolist() == [1, top + 3]
    coco = json.loads(geochange.review(out, export=tmp_path / "k.json", only="kept").file.read_text())
    assert [(each["id"], each["area"]) for each in coco["annotations"]] == [(1, 600), (top + 3, 400)]


def test_what_was_drawn_is_a_label_and_what_is_deleted_is_none(edited):
    out, _, _ = edited
    left, top = free_place(out)
    inside = np.s_[top + 11 : top + 19, left + 11 : left + 39]
    saved = record(
        out,
        ("look", {"cell 0 0": {"looked": True}}),
        drawn(out, geometry=at(out, (left + 10, top + 10, left + 40, top + 20))),
    )
    labels = saved.labels().draw(saved.run.scene.grid.area, np.ones(saved.run.scene.shape, bool))
    assert (labels[inside] == 1).all()
    assert (labels[top + 10 : top + 20, left + 9] == IGNORE).all()
    assert (labels[top + 10 : top + 20, left + 8] == 0).all()
    deleted = record(out, ("undo", {}))
    labels = deleted.labels().draw(saved.run.scene.grid.area, np.ones(saved.run.scene.shape, bool))
    assert (labels[top : top + 30, left : left + 60] == 0).all()


def rows(path):
    with closing(sqlite3.connect(path)) as database:
        columns = "id, geom, label, status, comment, rev, digest, area_px, area_m2, perimeter_m, score_mean, on_edge"
        return database.execute(f"SELECT {columns} FROM changes ORDER BY id").fetchall()


def test_the_view_follows_every_edit_and_every_undo(edited, tmp_path):
    out, saved, _ = edited
    actions = saved.actions
    state = fold(saved.untouched, [], saved.changes.top)
    view = GisView(tmp_path / "step.gpkg", saved.changes, "x", saved.cells)
    view.catch_up(state)
    for action in actions:
        state.apply(action)
        assert view.catch_up(state)
        once = GisView(tmp_path / f"{action.seq}.gpkg", saved.changes, "x", saved.cells)
        once.catch_up(state)
        assert rows(view.path) == rows(once.path)
    found = geopandas.read_file(view.path, layer="changes").set_index("id").geometry
    expected = geopandas.read_file(geochange.review(out, export=tmp_path / "x.gpkg").file, layer="changes").set_index(
        "id"
    )
    assert found.index.tolist() == expected.index.tolist()
    assert found.geom_equals_exact(expected.geometry, 1e-9).all()
    assert len(geopandas.read_file(view.path, layer="changes", bbox=tuple(found.iloc[-1].bounds))) >= 1  # by its index
    before = rows(view.path)
    undone = record(out, *[("undo", {})] * 4)
    view.catch_up(undone.state)
    first = rows(view.path)
    base = GisView(tmp_path / "base.gpkg", saved.changes, "x", saved.cells)
    base.catch_up(fold(saved.untouched, [], saved.changes.top))
    assert [(row[0], row[1], *row[7:]) for row in first] == [(row[0], row[1], *row[7:]) for row in rows(base.path)]
    again = record(out, *[("redo", {})] * 4)
    view.catch_up(again.state)
    assert [(row[0], row[1], row[2:5]) for row in rows(view.path)] == [(row[0], row[1], row[2:5]) for row in before]


kinds = st.sampled_from(["decide", "draw", "reshape", "delete", "split", "undo", "redo"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(kinds, st.integers(1, 8), st.sampled_from(["ada", "ben"])), max_size=25))
def test_whatever_is_done_the_state_is_that_of_the_actions(wanted):
    def untouched(key):
        return {**FOUND, "label": "change"} if key in ("1", "2", "3") else None

    def outline(sent):
        return sent

    state = fold(untouched, [], 3)
    for number, (kind, target, who) in enumerate(wanted):
        now = state.of(str(target))
        rev = 0 if now is None else now.rev
        new = {"key": "", "rev": 0, "after": {"geometry": f"{number:02x}", "label": "change"}}
        old = {"key": str(target), "rev": rev}
        items = {
            "decide": [{**old, "after": {"status": "kept"}}],
            "draw": [new],
            "reshape": [{**old, "after": {"geometry": f"{number:02x}"}}],
            "delete": [{**old, "after": {"status": "deleted"}}],
            "split": [{**old, "after": {"status": "deleted"}}, new, new],
        }.get(kind, [])
        sent = {"op": f"00000000-0000-0000-0000-{number:012x}", "kind": kind, "items": items}
        try:
            state.apply(state.plan(read_request(sent, who, ("change",), outline), "now"))
        except BadAction:
            continue
    again = fold(untouched, state.actions.values(), 3)
    assert again.touched == state.touched
    assert again.top == state.top
    assert {int(key) for key in state.touched} <= {*range(1, state.top + 1)}
    for who in ("ada", "ben"):  # each takes back what nobody else has touched since; what is left is as it was
        while True:
            sent = {"op": f"00000000-0000-0000-0001-{state.seq:012x}", "kind": "undo"}
            try:
                state.apply(state.plan(read_request(sent, who, ()), "now"))
            except BadAction:
                break
    if {action.who for action in state.actions.values()} <= {"ada"}:
        for key, touched in state.touched.items():
            expected = untouched(key)
            assert touched.fields == expected if expected else touched.fields["status"] == "deleted"


@pytest.mark.parametrize(
    ("rings", "said"),
    [
        (None, "list of rings"),
        ([], "list of rings"),
        ([[[0, 0], [1, 1], [0, 0]]], "4 to 100000 vertices"),
        ([[[0, 0], [9, 0], [9, 9], [0, 9]]], "ends where it begins"),
        ([[[0, 0], [9, 0], [9, float("nan")], [0, 0]]], "two finite numbers"),
        ([[[0, 0], [9, 0], [9, float("inf")], [0, 0]]], "two finite numbers"),
        ([[[0, 0], [9, 0], [9, "9"], [0, 0]]], "two finite numbers"),
        ([[[0, 0], [9, 0], [9, 9, 9], [0, 0]]], "two finite numbers"),
        ([[[0, 0], [9, 0], [9, True], [0, 0]]], "two finite numbers"),
        (BOW, "not valid: self-intersection"),
        ([*SQUARE, [[50, 30], [55, 30], [55, 40], [50, 30]]], "not valid: hole lies outside"),
        ([[[0, 0], [0.5, 0], [0.5, 0.5], [0, 0]]], "at least a pixel"),
        ([[[-1, 0], [9, 0], [9, 9], [-1, 0]]], "beyond the scene"),
        ([[[0, 0], [81, 0], [9, 9], [0, 0]]], "beyond the scene"),
        ([[[0, 0], [9, 0], [9, 101], [0, 0]]], "beyond the scene"),
        ([[[k % 80, k // 80 % 100] for k in range(100_001)]], "4 to 100000 vertices"),
        ([[[0, 0]] * 60_000, [[0, 0]] * 60_000], "at most 100000 vertices"),
    ],
)
def test_outlines_that_cannot_be_are_refused(rings, said):
    with pytest.raises(BadShape, match=said):
        read_polygon(rings, SCENE)


def test_a_fault_has_its_place():
    with pytest.raises(BadShape) as refused:
        read_polygon(BOW, SCENE)
    assert refused.value.place == (5, 5)


def test_outlines_up_to_the_edge_are_taken():
    assert read_polygon([[[0, 0], [80, 0], [80, 100], [0, 100], [0, 0]]], SCENE).area == 8000
    assert read_polygon(HOLED, SCENE).area == 30 * 40 - 100


def test_cutting_merging_and_holes_are_shapely_s():
    square = read_polygon(HOLED, SCENE)
    parts = split(square, read_line([[0, 50], [80, 50]]))
    assert [part.area for part in parts] == [30 * 30 - 100, 300]
    assert merge(parts).equals(square)
    assert cut_out(square, read_polygon([[[12, 50], [20, 50], [20, 55], [12, 55], [12, 50]]], SCENE)).area == 1100 - 40
    assert cut_out(square, shapely.box(35, 0, 80, 100)).area == 1100 - 5 * 40
    for wrong, said in (
        (lambda: split(square, read_line([[0, 0], [80, 0]])), "does not cut"),
        (lambda: split(square, read_line([[15, 0], [15, 50]])), "does not cut"),
        (lambda: merge([square, translate(square, 40)]), "lie apart"),
        (lambda: cut_out(square, shapely.box(50, 0, 60, 10)), "does not lie in"),
        (lambda: cut_out(square, shapely.box(22, 32, 28, 38)), "does not lie in"),  # of its own hole
        (lambda: cut_out(square, shapely.box(0, 0, 80, 100)), "several parts, or none"),
        (lambda: cut_out(shapely.box(0, 0, 9, 9), shapely.box(4, -1, 5, 10)), "several parts, or none"),
        (lambda: read_line([[0, 0]]), "2 to"),
        (lambda: read_line([[0, 0], [1, float("nan")]]), "two finite"),
    ):
        with pytest.raises(BadShape, match=said):
            wrong()


def test_a_region_grows_as_scipy_labels_it(finished):
    scores = open_scores(str(finished / "probability.tif"))
    codes, _ = scores.read(scores.source.grid.area)
    probability = codes[0] * scores.step
    regions, count = ndimage.label(probability >= 0.5)
    sizes = np.bincount(regions.ravel())
    for number in [int(each) for each in np.argsort(-sizes) if each][:5]:
        row, col = (int(each[0]) for each in np.nonzero(regions == number))
        found = grow(scores, row, col, 0.5)
        filled = ndimage.binary_fill_holes(regions == number)
        assert found.area == filled.sum()
        assert found.contains(shapely.Point(col + 0.5, row + 0.5))
        rows_, cols_ = np.nonzero(filled)
        assert found.bounds == (cols_.min(), rows_.min(), cols_.max() + 1, rows_.max() + 1)
    assert count > 5
    low = np.argwhere((probability < 0.4) & (probability > 0.1))[0]
    row, col = (int(each) for each in low)
    around, _ = ndimage.label(probability >= probability[row, col] / 2)
    assert grow(scores, row, col, 0.5).area == ndimage.binary_fill_holes(around == around[row, col]).sum()


def test_a_region_grows_no_further_than_its_window_and_from_something(tmp_path):
    with rasterio.open(
        tmp_path / "p.tif", "w", driver="GTiff", width=2500, height=60, count=1, dtype="float32"
    ) as file:
        values = np.zeros((60, 2500), np.float32)
        values[10:20, 5:2490], values[40:50, 5:1500] = 0.9, 0.9
        file.write(values, 1)
    scores = open_scores(str(tmp_path / "p.tif"))
    assert grow(scores, 45, 700, 0.5).bounds == (5, 40, 1500, 50)
    with pytest.raises(BadShape, match="the region is larger than 2048 pixels"):
        grow(scores, 15, 1200, 0.5)
    with pytest.raises(BadShape, match="nothing is probable here"):
        grow(scores, 30, 1200, 0.5)


@pytest.mark.parametrize(
    "sent",
    [
        {"kind": "draw", "items": [{"key": "", "rev": 0, "after": {"geometry": SQUARE}}]},
        {"kind": "draw", "items": [{"key": "", "rev": 0, "after": {"label": "change"}}]},
        {"kind": "draw", "items": [{"key": "1", "rev": 0, "after": {"geometry": SQUARE, "label": "change"}}]},
        {"kind": "draw", "items": [{"key": "", "rev": 0, "after": {"geometry": SQUARE, "label": "sea"}}]},
        {
            "kind": "draw",
            "items": [{"key": "", "rev": 0, "after": {"geometry": SQUARE, "label": "change", "status": "deleted"}}],
        },
        {
            "kind": "draw",
            "items": [{"key": "", "rev": 0, "after": {"geometry": SQUARE, "label": "change", "origin": "x"}}],
        },
        {"kind": "decide", "items": [{"key": "", "rev": 0, "after": {"status": "kept"}}]},
        {"kind": "decide", "items": [{"key": "1", "rev": 0, "after": {"geometry": SQUARE}}]},
        {"kind": "reshape", "items": [{"key": "1", "rev": 0, "after": {"status": "kept"}}]},
        {"kind": "delete", "items": [{"key": "1", "rev": 0, "after": {"status": "kept"}}]},
        {"kind": "delete", "items": [{"key": "", "rev": 0, "after": {"geometry": SQUARE, "label": "change"}}]},
        {"kind": "split", "items": [{"key": "cell 0 0", "rev": 0, "after": {"status": "deleted"}}]},
        {"kind": "qgis", "items": [{"key": "1", "rev": 0, "after": {"status": "kept"}}]},
    ],
)
def test_edits_that_are_not_what_they_must_be_are_refused(sent):
    with pytest.raises(BadAction):
        read_request({"op": "00000000-0000-0000-0000-000000000001", **sent}, "ada", ("change",), lambda each: "00")


def test_a_run_with_changes_of_several_parts_takes_drawn_ones(tmp_path):
    found = geochange.detect(
        SAMPLE / "before.tif", SAMPLE / "after.tif", tmp_path / "out", detector="change-vector", connectivity=8,
        formats=("gpkg",),
    )  # fmt: skip
    out = found.folder
    record(out, drawn(out, geometry=at(out, (200, 300, 240, 310))))
    saved = SavedReview.open(out)
    view = GisView(tmp_path / "view.gpkg", saved.changes, "x", saved.cells)
    view.catch_up(saved.state)
    exported = geochange.review(out, export=tmp_path / "x.gpkg").file
    for path in (view.path, exported):
        layer = geopandas.read_file(path, layer="changes")
        assert {*layer.geom_type} == {"MultiPolygon"}
        assert len(layer) == len(saved.base.places) + 1
    shutil.rmtree(out)

"""Decisions go on to the next run where outlines are much the same; cells where nothing is left to decide."""

import shutil

import geopandas
import numpy as np
import pytest
import shapely

import geochange
from geochange.errors import GridMismatch
from geochange.review.carrying import CARRIER, carry_over
from geochange.review.saved import SavedReview
from tests.review.conftest import SAMPLE, decided_by_truth, record

PAIR = (SAMPLE / "before.tif", SAMPLE / "after.tif")


@pytest.fixture(scope="module")
def stricter(tmp_path_factory):
    out = tmp_path_factory.mktemp("stricter") / "out"
    geochange.detect(*PAIR, out, detector="change-vector", formats=("gpkg",), threshold=0.9)
    return out


@pytest.fixture
def runs(finished, stricter, tmp_path):
    for name, source in (("old", finished), ("new", stricter)):
        shutil.copytree(source, tmp_path / name)
    return tmp_path / "old", tmp_path / "new"


def decisions(saved):
    return {key: touched.fields for key, touched in saved.state.touched.items()}


def found_again(before, after, expected):
    """Old changes whose decision a new one has."""
    again = set()
    for number in expected:
        shape = after[int(number)]
        near = before[before.intersects(shape)]
        again.add((near.intersection(shape).area / near.union(shape).area).idxmax())
    return again


def test_decisions_go_on_to_the_outline_with_the_largest_overlap(runs):
    old = decided_by_truth(runs[0])
    carried = carry_over(old, SavedReview.open(runs[1], beginning=True))
    found = decisions(SavedReview.open(runs[1]))
    before = geopandas.read_file(runs[0] / "changes.gpkg", layer="changes").set_index("id").geometry
    after = geopandas.read_file(runs[1] / "changes.gpkg", layer="changes").set_index("id").geometry
    expected = {}
    for number, shape in after.items():
        near = before[before.intersects(shape)]
        iou = near.intersection(shape).area / near.union(shape).area
        if len(iou) and iou.max() >= 0.5:
            expected[str(number)] = old.state.touched[str(iou.idxmax())].fields["status"]
    drawn = {key: fields for key, fields in found.items() if fields["origin"] == "drawn"}
    assert {key: fields["status"] for key, fields in found.items() if key not in drawn} == expected
    fresh = after[~after.index.astype(str).isin(expected)]
    again = found_again(before, after, expected)
    missed = [
        number
        for number, shape in before.items()
        if old.state.touched[str(number)].fields["status"] == "kept"
        and number not in again
        and not fresh.intersects(shape).any()
    ]
    assert carried.missed == len(drawn) == len(missed) > 0
    outlines = {shapely.from_wkb(bytes.fromhex(fields["geometry"])).normalize().wkt for fields in drawn.values()}
    assert outlines == {before[number].normalize().wkt for number in missed}
    assert carried.changes == len(expected) > 50
    assert {action.who for action in SavedReview.open(runs[1]).actions} == {CARRIER}


def test_what_is_undecided_stays_so_and_twice_is_once(runs):
    old = record(runs[0], ("decide", {1: {"status": "kept", "comment": "a roof"}}))
    for _ in range(2):
        carry_over(old, SavedReview.open(runs[1], beginning=True))
    found = decisions(SavedReview.open(runs[1]))
    assert len(found) <= 1
    assert all(fields["comment"] == "a roof" for fields in found.values())
    assert len(SavedReview.open(runs[1]).actions) == len(found)


def test_a_cell_goes_on_where_nothing_is_left_to_decide(finished, tmp_path):
    for name in ("old", "new"):
        shutil.copytree(finished, tmp_path / name)
    old = decided_by_truth(tmp_path / "old", cells=[0, 2, 3])
    lacking = old.cells.holding(old.base.columns.boxes)
    kept = np.array([old.state.of(str(number)).fields["status"] == "kept" for number in old.base.columns.ids])
    boxes = old.base.columns.boxes
    inside = (boxes[:, 1] > 520) & (boxes[:, 2] < 505) & (lacking == 2)  # clear of other cells
    undecided = int(old.base.columns.ids[inside & ~kept][0])
    old = record(tmp_path / "old", ("decide", {undecided: {"status": "unreviewed"}}))
    carried = carry_over(old, SavedReview.open(tmp_path / "new", beginning=True))
    new = SavedReview.open(tmp_path / "new")
    assert [new.looked_at(cell) for cell in range(4)] == [True, False, False, True]
    assert carried.cells == 2


def test_a_cell_does_not_go_on_where_something_else_is_found(runs):
    """Of a kept change and one that overlaps it a little, neither is sure; its ground would count as unchanged."""
    old = decided_by_truth(runs[0], cells=range(4))
    layer = geopandas.read_file(runs[1] / "changes.gpkg", layer="changes")
    carry_over(old, SavedReview.open(runs[1], beginning=True))
    new = SavedReview.open(runs[1])
    undecided = layer[~layer.id.astype(str).isin(new.state.touched)]
    assert len(undecided) > 0
    for cell, tile in enumerate(new.cells.tiles):
        box = shapely.box(*new.run.scene.grid.crop(tile).bounds).buffer(-1e-3)
        assert new.looked_at(cell) == (not undecided.intersects(box).any())


def test_runs_of_different_scenes_are_refused(runs, tmp_path):
    geochange.detect(
        *PAIR, tmp_path / "part", detector="change-vector", formats=("gpkg",), aoi=(512000, 5346500, 512500, 5347000)
    )
    old = record(runs[0], ("decide", {1: {"status": "kept"}}))
    with pytest.raises(GridMismatch, match="are not on one grid; decisions cannot be carried over"):
        carry_over(old, SavedReview.open(tmp_path / "part", beginning=True))

"""Only what somebody has looked at is a label."""

import numpy as np
import pytest
import shapely

from geochange.arrays import IGNORE
from geochange.review.labels import ReviewLabels
from geochange.scenes.grid import Tile

SHAPE = (60, 90)
WHOLE = Tile(0, 0, *SHAPE)
CELL = Tile(0, 30, 60, 30)


def drawn(*changes, looked=(), tile=WHOLE, valid=None):
    """Labels of changes, each (left, top, right, bottom) and label."""
    polygons = np.array([shapely.box(*box) for box, _ in changes], object)
    labels = np.array([label for _, label in changes], np.int64)
    valid = np.ones(tile.shape, bool) if valid is None else valid
    return ReviewLabels(looked, polygons, labels).draw(tile, valid)


def expected(*parts):
    labels = np.full(SHAPE, IGNORE)
    for rows, cols, label in parts:
        labels[slice(*rows), slice(*cols)] = label
    return labels


def test_nothing_is_known_where_nobody_has_looked():
    assert (drawn() == IGNORE).all()


def test_a_cell_that_was_looked_at_has_not_changed():
    np.testing.assert_array_equal(drawn(looked=[CELL]), expected(((0, 60), (30, 60), 0)))


def test_a_rejected_change_has_not_changed_wherever_it_lies():
    np.testing.assert_array_equal(drawn(((5, 10, 9, 20), 0)), expected(((10, 20), (5, 9), 0)))


def test_a_kept_change_is_of_its_class_and_a_pixel_along_its_edge_is_not_known():
    found = drawn(((40, 10, 44, 20), 2), looked=[CELL])
    wanted = expected(
        ((0, 60), (30, 60), 0), ((9, 21), (40, 44), IGNORE), ((10, 20), (39, 45), IGNORE), ((11, 19), (41, 43), 2)
    )
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("box", [(40, 10, 41, 11), (40, 10, 42, 12), (40, 10, 42, 30)])
def test_what_is_too_thin_to_have_an_inside_stays(box):
    left, top, right, bottom = box
    found = drawn((box, 1), looked=[CELL])
    assert (found == 1).sum() == (right - left) * (bottom - top)


def test_a_thin_part_of_a_large_change_stays():
    found = drawn(((32, 10, 40, 20), 1), ((40, 14, 58, 16), 1), looked=[CELL])
    assert (found[14:16, 42:58] == 1).all()
    assert (found[11:19, 33:39] == 1).all()
    assert (found[10, 32:40] == IGNORE).all()


@pytest.mark.parametrize("label", [IGNORE])
def test_what_is_undecided_is_not_known_in_a_cell_either(label):
    found = drawn(((40, 10, 44, 20), label), looked=[CELL])
    np.testing.assert_array_equal(found, expected(((0, 60), (30, 60), 0), ((10, 20), (40, 44), IGNORE)))


def test_of_changes_that_overlap_the_last_one_counts():
    found = drawn(((40, 10, 44, 20), 0), ((42, 10, 50, 20), 1), ((48, 10, 52, 20), IGNORE))
    found = found[15, [40, 41, 42, 43, 46, 47, 48, 51, 52]]
    assert found.tolist() == [0, IGNORE, IGNORE, 1, 1, IGNORE, IGNORE, IGNORE, IGNORE]


def test_where_a_date_holds_no_data_nothing_is_known():
    valid = np.ones(SHAPE, bool)
    valid[:15, :42] = False
    found = drawn(((40, 10, 44, 20), 1), looked=[CELL], valid=valid)
    assert (found[~valid] == IGNORE).all()
    assert (found[15:19, 41:43] == 1).all()


@pytest.mark.parametrize("tile", [Tile(0, 0, 10, 90), Tile(10, 44, 30, 7), Tile(19, 39, 1, 1), Tile(50, 80, 10, 10)])
def test_tiles_are_those_of_the_whole(tile):
    changes = [((40, 10, 44, 20), 2), ((45, 12, 60, 30), 0), ((10, 19, 30, 51), 1), ((70, 0, 90, 9), IGNORE)]
    whole = drawn(*changes, looked=[CELL, Tile(30, 0, 30, 30)])
    part = drawn(*changes, looked=[CELL, Tile(30, 0, 30, 30)], tile=tile)
    np.testing.assert_array_equal(part, whole[tile.slices()])

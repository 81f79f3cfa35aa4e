"""A source derived from another one has its properties; what lies beyond an area is 0 and not valid."""

from types import SimpleNamespace

import numpy as np
import pytest

from geochange.scenes.grid import Tile
from geochange.scenes.source import DerivedSource, read_beyond

AREA = Tile(3, 5, 4, 6)
PROPERTIES = {
    "name": "before.tif",
    "path": "/images/before.tif",
    "bands": (4, 2),
    "choices": (1, 2, 4),
    "scaling": ((0.5, 1.0), (0.25, -3.0), (2.0, 7.0)),
    "band_names": (("B02", "blue"), ("B03",), ("B04", "red")),
    "files": ("/images/before.tif",),
    "notes": ("bands 4, 2 are taken",),
    "colours": (4, 2, 1),
    "dtype": np.dtype(np.int16),
    "nodata": "all",
    "fill": -9999.0,
    "masked": True,
    "date": "2021-05-06",
    "storage": (128, 256),
}


def numbered(tile):
    """Give each pixel of two bands its own number, from 1; one pixel in three is not valid."""
    rows, cols = np.ogrid[tile.row : tile.stop_row, tile.col : tile.stop_col]
    first = (1 + 100 * rows + cols).astype(np.int16)
    return np.stack([first, -first]), (rows + 2 * cols) % 3 != 0


@pytest.mark.parametrize(
    "tile",
    [
        Tile(4, 6, 2, 3),
        AREA,
        Tile(1, 6, 3, 2),
        Tile(5, 6, 5, 2),
        Tile(4, 2, 2, 5),
        Tile(4, 9, 2, 5),
        Tile(2, 3, 9, 11),
        Tile(6, 10, 2, 3),
    ],
)
def test_pixels_inside_the_area_are_as_read_and_those_beyond_are_zero_and_not_valid(tile):
    values, valid = read_beyond(numbered, AREA, tile)
    expected, expected_valid = numbered(tile)
    rows, cols = np.ogrid[tile.row : tile.stop_row, tile.col : tile.stop_col]
    inside = (rows >= 3) & (rows < 7) & (cols >= 5) & (cols < 11)
    np.testing.assert_array_equal(values, np.where(inside, expected, 0))
    np.testing.assert_array_equal(valid, expected_valid & inside)
    assert (values.dtype, valid.dtype) == (np.int16, bool)


def test_only_what_lies_inside_the_area_is_read():
    asked = []

    def read(tile):
        asked.append(tile)
        return numbered(tile)

    read_beyond(read, AREA, Tile(1, 8, 4, 9))
    assert asked == [Tile(3, 8, 2, 3)]


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_only_the_last_two_axes_are_padded(leading):
    def read(tile):
        return np.ones((*leading, *tile.shape), np.float32), np.ones(tile.shape, bool)

    values, valid = read_beyond(read, AREA, Tile(2, 5, 3, 8))
    assert values.shape == (*leading, 3, 8)
    np.testing.assert_array_equal(values, np.broadcast_to(valid, values.shape))
    assert valid.sum() == 2 * 6


@pytest.mark.parametrize("name", PROPERTIES)
def test_a_derived_source_has_the_property_of_its_source(name):
    assert getattr(DerivedSource(SimpleNamespace(**PROPERTIES)), name) == PROPERTIES[name]


@pytest.mark.parametrize(
    ("method", "given"), [("with_bands", ((3, 1),)), ("with_nodata", ("any",)), ("with_nodata", (7.5,)), ("stored", ())]
)
def test_a_change_of_a_derived_source_changes_its_source_and_keeps_its_kind(method, given):
    class Shifted(DerivedSource):
        pass

    taken = []
    other = SimpleNamespace(name="another")

    def change(*arguments):
        taken.append(arguments)
        return other

    first = SimpleNamespace(**{method: change})
    derived = Shifted(first)
    changed = getattr(derived, method)(*given)
    assert type(changed) is Shifted
    assert changed.source is other
    assert derived.source is first
    assert taken == [given]

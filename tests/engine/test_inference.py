"""Tiles of one shape are scored together, in their order, each with its own pixels."""

import numpy as np
import pytest

from geochange.detectors.boxes import boxes_of
from geochange.detectors.detector import Scores
from geochange.engine.inference import as_floats, batched, one_of, tiles_as_floats
from geochange.scenes.grid import Tile

SHAPES = [(4, 6), (4, 6), (4, 6), (6, 4), (4, 6), (4, 5)]
TILES = [((0, k), Tile(0, 10 * k, *shape)) for k, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(
    ("most", "lengths"), [(1, [1] * 6), (2, [2, 1, 1, 1, 1]), (3, [3, 1, 1, 1]), (9, [3, 1, 1, 1])]
)
def test_a_batch_holds_tiles_of_one_shape_and_no_more_than_asked(most, lengths):
    batches = list(batched(iter(TILES), most))
    assert [len(batch) for batch in batches] == lengths
    assert [each for batch in batches for each in batch] == TILES


def test_no_tiles_give_no_batch():
    assert list(batched([], 4)) == []


def test_tiles_are_cut_from_each_date_as_float32():
    rng = np.random.default_rng(1)
    before = rng.integers(0, 255, (3, 7, 11)).astype(np.uint8)
    after = rng.normal(size=(3, 7, 11))
    at = [(slice(0, 4), slice(1, 6)), (slice(3, 7), slice(6, 11))]
    tiles = tiles_as_floats([before, after], at)
    assert (tiles.shape, tiles.dtype) == ((2, 2, 3, 4, 5), np.float32)
    for tile, (rows, cols) in zip(tiles, at, strict=True):
        np.testing.assert_array_equal(tile[0], before[:, rows, cols])
        np.testing.assert_array_equal(tile[1], after[:, rows, cols].astype(np.float32))
    np.testing.assert_array_equal(as_floats([before, after])[1], after.astype(np.float32))
    assert as_floats([before, after]).shape == (2, 3, 7, 11)


def test_the_scores_of_one_tile_are_a_batch_of_one():
    probability, layer = np.random.default_rng(2).random((2, 3, 2, 4, 5))
    boxes = [boxes_of(np.array([[k, 1, k + 3, 6, 1, 0.5, 2, k]], float)) for k in range(3)]
    one = one_of(Scores(probability, {"size": layer}, boxes), 1)
    np.testing.assert_array_equal(one.probability, probability[1:2])
    np.testing.assert_array_equal(one.layers["size"], layer[1:2])
    assert list(one.boxes) == boxes[1:2]

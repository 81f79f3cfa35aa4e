"""Boxes that a tile answers for, against the rule read box by box."""

from math import ceil, floor

import numpy as np
import pytest

from geochange.detectors.boxes import boxes_of
from geochange.engine.inference import own_boxes
from geochange.scenes.grid import Tile

SCENE = (37, 53)
TILES = {
    "inside": (Tile(8, 12, 20, 26), Tile(10, 15, 12, 18)),
    "beyond the upper left": (Tile(-4, -6, 24, 30), Tile(0, 0, 16, 22)),
    "beyond the lower right": (Tile(18, 30, 24, 28), Tile(20, 33, 17, 20)),
    "around the scene": (Tile(-5, -3, 50, 60), Tile(0, 0, *SCENE)),
}


def some_boxes(tile, count=600):
    """Boxes in a tile's pixels, some of them beyond it, in sixteenths of a pixel."""
    rng = np.random.default_rng(tile.row + 100)
    centres = rng.uniform(-2, 2 + np.array([tile.width, tile.height]), (count, 2))
    half = rng.choice([0.3, 1, 3, 7], (count, 2)) * rng.uniform(0.5, 1.5, (count, 2))
    corners = np.concatenate([centres - half, centres + half], axis=1)
    whole = rng.random(count) < 0.4
    corners[whole] = np.rint(corners[whole])
    cells = centres[:, ::-1] + rng.uniform(-1, 1, (count, 2))
    cells[whole] = np.floor(cells[whole])
    rows = np.column_stack([corners, rng.integers(1, 4, count), rng.uniform(0.1, 1, count), cells])
    return boxes_of(rows)


def expected(boxes, tile, own, valid):
    """(left, top, right, bottom, score, on_edge) of each box that stays, in the scene's pixels."""
    for corners, score, cell in zip(boxes.corners / 16, boxes.scores, boxes.cells / 16, strict=True):
        row, col = floor(cell[0]) + tile.row, floor(cell[1]) + tile.col
        if not (own.row <= row < own.row + own.height and own.col <= col < own.col + own.width):
            continue
        left, right = (min(max(x + tile.col, 0), SCENE[1]) for x in corners[[0, 2]])
        top, bottom = (min(max(y + tile.row, 0), SCENE[0]) for y in corners[[1, 3]])
        if right - left < 1 or bottom - top < 1:
            continue
        y, x = floor((top + bottom) / 2) - tile.row, floor((left + right) / 2) - tile.col
        if not (0 <= y < tile.height and 0 <= x < tile.width and valid[y, x]):
            continue
        rows = range(floor(top) - 1 - tile.row, ceil(bottom) + 1 - tile.row)
        cols = range(floor(left) - 1 - tile.col, ceil(right) + 1 - tile.col)
        beside = [valid[i, j] for i in rows for j in cols if 0 <= i < tile.height and 0 <= j < tile.width]
        border = left == 0 or top == 0 or right == SCENE[1] or bottom == SCENE[0]
        yield left, top, right, bottom, score, border or not all(beside)


@pytest.mark.parametrize("holes", [0, 12])
@pytest.mark.parametrize(("tile", "own"), TILES.values(), ids=TILES)
def test_a_tile_keeps_the_boxes_found_in_its_own_pixels(tile, own, holes):
    rng, valid = np.random.default_rng(holes), np.ones(tile.shape, bool)
    for row, col in rng.integers(0, tile.shape, (holes, 2)):
        valid[row : row + 2, col : col + 1] = False
    boxes = some_boxes(tile)
    found = own_boxes(boxes, tile, own, valid, SCENE)
    wanted = list(expected(boxes, tile, own, valid))
    listed = [
        (*corners, score, edge)
        for corners, score, edge in zip((found.corners / 16).tolist(), found.scores, found.on_edge, strict=True)
    ]
    assert listed == wanted
    assert len(wanted) > 50
    assert {edge for *_, edge in wanted} == {True, False}


@pytest.mark.parametrize(
    ("corners", "ends", "border"),
    [
        ((-3, 10, 5, 20), (0, 10, 5, 20), True),
        ((10, -3, 20, 5), (10, 0, 20, 5), True),
        ((48, 10, 60, 20), (48, 10, 53, 20), True),
        ((10, 30, 20, 45), (10, 30, 20, 37), True),
        ((0, 10, 5, 20), (0, 10, 5, 20), True),
        ((0.0625, 0.0625, 52.9375, 36.9375), (0.0625, 0.0625, 52.9375, 36.9375), False),
    ],
)
def test_boxes_end_at_the_scene_s_border_and_say_that_they_touch_it(corners, ends, border):
    tile, scene = Tile(-8, -8, 60, 80), Tile(0, 0, *SCENE)
    boxes = boxes_of(np.array([[*(np.array(corners) + 8), 1, 0.9, 15 + 8, 15 + 8]]))
    found = own_boxes(boxes, tile, scene, np.ones(tile.shape, bool), SCENE)
    assert (found.corners / 16).tolist() == [list(ends)]
    assert found.on_edge.tolist() == [border]


@pytest.mark.parametrize(("width", "kept"), [(1, True), (0.9375, False)])
def test_what_the_border_leaves_of_a_box_must_be_a_pixel_wide_and_high(width, kept):
    tile = Tile(-8, -8, 60, 80)
    for corners in ((-4, 10, width, 14), (10, -4, 14, width)):
        boxes = boxes_of(np.array([[*(np.array(corners) + 8), 1, 0.9, 12 + 8, 12 + 8]]))
        assert len(own_boxes(boxes, tile, Tile(0, 0, *SCENE), np.ones(tile.shape, bool), SCENE)) == kept

"""geochange.datasets.splits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochange.datasets.collection import cut
from geochange.datasets.splits import NARROWEST_TILE, SPLIT_GAP, divide_scene
from geochange.datasets.variation import NO_LOOK
from geochange.detectors.networks.checkpoint import Normalisation
from geochange.learning.material import gather
from geochange.learning.options import TrainRunOptions
from geochange.learning.run_options import parse_training_data
from geochange.learning.samples import SampleOptions, TrainingSamples
from geochange.scenes.grid import Tile
from tests.stand_ins import write_raster

SIDES = st.integers(1, 5000)


@st.composite
def scenes(draw):
    """The tiles of a scene, some of which cannot be read; share, seed, and the largest side of a tile."""
    side = draw(st.integers(200, 900))
    tiles = list(cut((draw(SIDES), draw(SIDES)), side))
    broken = draw(st.sets(st.integers(0, len(tiles) - 1), max_size=len(tiles) // 8))
    left = [tile for k, tile in enumerate(tiles) if k not in broken]
    return left, draw(st.floats(0.05, 0.4)), draw(st.integers(0, 50)), side


def apart(first, second):
    """Pixels between two tiles, along the axis on which they lie further apart; below 0 where they overlap."""
    rows = max(first.row, second.row) - min(first.stop_row, second.stop_row)
    cols = max(first.col, second.col) - min(first.stop_col, second.stop_col)
    return max(rows, cols)


def covered(tile, tiles):
    return sum(tile.intersect(each).size for each in tiles) == tile.size


@given(scenes())
def test_training_tiles_lie_beyond_the_gap_and_all_tiles_can_be_read(scene):
    tiles, *_, side = scene
    training, held_out = divide_scene(*scene)
    for tile in (*training, *held_out):
        assert max(tile.shape) <= side
        assert covered(tile, tiles)
    assert all(apart(one, other) >= SPLIT_GAP for one in training for other in held_out)
    assert all(
        apart(one, other) >= 0 for part in (training, held_out) for one in part for other in part if one != other
    )


@given(scenes())
def test_half_of_the_scene_is_left_or_nothing_is_held_out(scene):
    tiles, *_ = scene
    training, held_out = divide_scene(*scene)
    if held_out:
        assert 2 * sum(tile.size for tile in training) >= sum(tile.size for tile in tiles)
        assert min(min(tile.shape) for tile in training) >= NARROWEST_TILE
    else:
        assert sum(tile.size for tile in training) >= sum(tile.size for tile in tiles) / 2


@pytest.mark.parametrize("shape", [(700, 900), (2000, 1500), (5000, 4100)])
@pytest.mark.parametrize("share", [0.05, 0.15])
def test_the_share_of_a_large_scene_is_held_out(shape, share):
    tiles = list(cut(shape, 512))
    training, held_out = divide_scene(tiles, share, 0, 512)
    assert sum(tile.size for tile in held_out) / np.prod(shape) == pytest.approx(share, rel=0.02)
    assert sum(tile.size for tile in training) / np.prod(shape) > 0.7 * (1 - share)


def test_another_seed_holds_out_other_blocks():
    tiles = list(cut((5000, 5000), 512))
    parts = [divide_scene(tiles, 0.15, seed, 512) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_small_scenes_are_not_divided():
    tiles = [Tile(0, 0, 300, 300)]
    assert divide_scene(tiles, 0.15, 0, 512) == (tiles, [])


@pytest.fixture
def one_scene(tmp_path):
    """A table of a single scene, whose bands are the row and the column of each pixel."""
    rows, cols = (each.astype(np.float32) for each in np.mgrid[:900, :800])
    write_raster(tmp_path / "before.tif", np.stack([rows, cols]))
    write_raster(tmp_path / "after.tif", np.stack([rows, cols]))
    write_raster(tmp_path / "truth.tif", (np.arange(900 * 800).reshape(1, 900, 800) % 7 == 0).astype(np.uint8))
    (tmp_path / "scenes.csv").write_text("before,after,labels\nbefore.tif,after.tif,truth.tif\n")
    return parse_training_data(str(tmp_path / "scenes.csv"))


def test_no_held_out_pixel_lies_within_the_gap_of_a_training_sample(one_scene):
    material = gather([one_scene], TrainRunOptions())
    held_out = [item.tile for each in material.held_out for item in each.items]
    assert sum(tile.size for tile in held_out) == pytest.approx(0.15 * 900 * 800, rel=0.01)
    plain = Normalisation(mean=(0.0, 0.0), spread=(1.0, 1.0))
    samples = TrainingSamples(material.training, plain, SampleOptions(size=256, look=NO_LOOK))
    for number in range(40):
        dates, labels = samples[number]
        rows, cols = (band[labels != 255].numpy() for band in dates[0])
        for tile in held_out:
            down = np.maximum(tile.row - rows, rows - (tile.stop_row - 1))
            right = np.maximum(tile.col - cols, cols - (tile.stop_col - 1))
            assert np.maximum(down, right).min() > SPLIT_GAP


def test_nothing_of_a_single_scene_is_held_out_unasked(one_scene):
    assert gather([one_scene], TrainRunOptions(val_share=0.0)).held_out == ()

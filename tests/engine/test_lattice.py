"""Cells of a scene, as kernels of statistics get them."""

import numpy as np
import pytest
import rasterio

from geochange.engine.lattice import SceneBlocks, default_block, statistics_cell, stored_in_strips
from geochange.engine.work import open_work
from geochange.scenes.pairing import open_scene
from geochange.scenes.tiling import partition
from tests.engine.test_work import Recorder
from tests.stand_ins import PLACE, UTM, write_pair

TILED = {"tiled": True, "blockxsize": 256, "blockysize": 256}


def empty_scene(folder, shape, bands=3, dtype="uint8", profiles=({}, {})):
    """A scene of files that hold nothing but their header."""
    paths = [str(folder / f"{number}.tif") for number in range(len(profiles))]
    height, width = shape
    place = {"driver": "GTiff", "crs": UTM, "transform": PLACE, "sparse_ok": True, "bigtiff": "yes"}
    for path, profile in zip(paths, profiles, strict=True):
        with rasterio.open(path, "w", height=height, width=width, count=bands, dtype=dtype, **place, **profile):
            pass
    return open_scene(paths)


def test_a_kernel_gets_each_cell_with_its_halo(tmp_path):
    scene = open_scene(write_pair(tmp_path, (70, 90)))
    with open_work(None, None) as work:
        found = list(SceneBlocks(scene, work)(_seen, halo=3))
    for dates, valid, tile in found:
        expected, there = scene.read(tile.grow(3))
        np.testing.assert_array_equal(dates, np.stack(expected))
        np.testing.assert_array_equal(valid, there)
    assert sum(tile.size for _, _, tile in found) == 70 * 90


def test_cells_come_in_raster_order_without_a_halo_and_are_progress(tmp_path):
    scene, recorder = open_scene(write_pair(tmp_path, (1040, 1100), bands=1)), Recorder()
    cells = list(partition(scene.shape, statistics_cell(scene)))
    assert len(cells) > 1
    with open_work(None, recorder) as work:
        found = list(SceneBlocks(scene, work)(lambda dates, valid, tile: (dates.shape[2:], tile)))
    assert found == [(cell.shape, cell) for cell in cells]
    sizes = [("advance", cell.size) for cell in cells]
    assert recorder.calls == [("begin", "fit", len(cells), 1040 * 1100), *sizes]


def _seen(dates, valid, tile):
    return dates.copy(), valid.copy(), tile


ROWS, SQUARES = {"blockysize": 16}, {"tiled": True, "blockxsize": 16, "blockysize": 16}


@pytest.mark.parametrize(
    ("width", "profiles", "strips"),
    [
        (65, (ROWS, ROWS), True),
        (64, (ROWS, ROWS), False),  # a row of 16 x 64 pixels is as good as a tile
        (300, (ROWS, SQUARES), True),
        (300, (SQUARES, ROWS), True),
        (300, (SQUARES, SQUARES), False),
        (16, (SQUARES, SQUARES), False),
    ],
)
def test_whole_rows_of_some_date_are_strips_where_they_are_over_four_times_as_wide_as_high(
    tmp_path, width, profiles, strips
):
    assert stored_in_strips(empty_scene(tmp_path, (48, width), profiles=profiles)) == strips


@pytest.mark.parametrize(
    ("shape", "bands", "profile", "cell"),
    [
        ((5000, 7000), 3, TILED, (1024, 1024)),
        ((500, 700), 3, TILED, (1024, 1024)),
        ((5000, 7000), 12, TILED, (576, 576)),  # isqrt(2^25 / (4 * 2 * 12)) = 591
        ((5000, 20000), 3, {}, (48, 20000)),  # 2^20 pixels are 52 rows
        ((5000, 20000), 12, {}, (16, 20000)),
        ((5000, 65536), 3, {}, (16, 65536)),
        ((5000, 65537), 3, {}, (1024, 1024)),  # 16 rows would be too many pixels
        ((90, 700), 3, {}, (1488, 700)),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_cells_follow_from_the_scene_alone(tmp_path, shape, bands, profile, cell, dtype):
    assert statistics_cell(empty_scene(tmp_path, shape, bands, dtype, (profile, profile))) == cell


def test_cells_have_64_pixels_a_side_at_least(tmp_path):
    assert statistics_cell(empty_scene(tmp_path, (500, 700), 40, profiles=(TILED,) * 52)) == (64, 64)


def test_more_dates_leave_smaller_cells(tmp_path):
    sides = []
    for dates in (2, 6, 20):
        (folder := tmp_path / str(dates)).mkdir()
        sides.append(statistics_cell(empty_scene(folder, (5000, 7000), 12, profiles=(TILED,) * dates))[0])
    assert sides == [576, 320, 128]  # isqrt(2^25 / (4 * 12 * dates)) = 591, 341, 186


@pytest.mark.parametrize(
    ("profile", "dtype", "step", "block"),
    [
        (TILED, "uint8", (448, 300), (1672, 1672)),  # isqrt(2^24 / 6)
        (TILED, "float32", (448, 300), (836, 836)),
        (TILED, "float32", (1000, 300), (1000, 836)),
        (TILED, "float32", (300, 1000), (836, 1000)),
        ({}, "uint8", (448, 300), (448, 24966)),  # 2^26 / 6 / 448
        ({}, "float32", (2000, 300), (2000, 1398)),
        ({}, "float32", (2000, 1500), (2000, 1500)),
    ],
)
def test_default_blocks_hold_so_many_bytes_and_a_step_at_least(tmp_path, profile, dtype, step, block):
    assert default_block(empty_scene(tmp_path, (5000, 7000), 3, dtype, (profile, profile)), step) == block


def test_a_default_block_is_2048_pixels_a_side_at_most(tmp_path):
    assert default_block(empty_scene(tmp_path, (5000, 7000), 1, profiles=(TILED,) * 2), (448, 448)) == (2048, 2048)

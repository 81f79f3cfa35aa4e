import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from skimage.filters import threshold_niblack

from geochange.engine.work import open_work
from geochange.errors import BadOption
from geochange.probability.local_thresholds import HIGHEST, LocalThreshold, cell_threshold
from geochange.probability.options import SMALLEST, LocalRule, parse_local
from geochange.probability.raster import open_scores
from geochange.probability.threshold_search import BIN_VALUES, local_threshold, tile_histogram
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition
from tests.stand_ins import write_raster

VALUES = np.linspace(0, 1, 1024)


def histogram(probability):
    return np.bincount(np.rint(probability.ravel() * 1023).astype(int), minlength=1024)


@pytest.fixture
def lattice():
    return LocalThreshold(np.random.default_rng(0).uniform(0.5, 0.9, (3, 4)), 40, 0.5)


@given(row=st.integers(-1, 100), col=st.integers(-1, 130), height=st.integers(1, 20), width=st.integers(1, 30))
def test_a_part_has_the_thresholds_of_the_whole(row, col, height, width):
    threshold = LocalThreshold(np.random.default_rng(1).uniform(0.5, 0.9, (3, 4)), 40, 0.5)
    whole = threshold.at(Tile(-1, -1, 122, 162))
    part = threshold.at(Tile(row, col, height, width))
    np.testing.assert_array_equal(part, whole[row + 1 : row + 1 + height, col + 1 : col + 1 + width])


def test_between_the_middles_of_cells_thresholds_are_bilinear(lattice):
    rows, cols = ((np.arange(count * 40) + 0.5) / 40 - 0.5 for count in lattice.cells.shape)
    places = np.meshgrid(np.clip(rows, 0, 2), np.clip(cols, 0, 3), indexing="ij")
    expected = ndimage.map_coordinates(lattice.cells, places, order=1)
    np.testing.assert_allclose(lattice.at(Tile(0, 0, 120, 160)), expected, atol=1e-12)


def test_one_cell_is_one_threshold():
    np.testing.assert_array_equal(LocalThreshold(np.array([[0.7]]), 64, 0.5).at(Tile(0, 0, 9, 64)), 0.7)


def test_unchanged_noise_is_cut_where_niblack_s_mean_and_deviation_would():
    noise = np.random.default_rng(0).normal(0.45, 0.05, (201, 201)).clip(0, 1)
    expected = threshold_niblack(noise, window_size=201, k=-3)[100, 100]
    assert cell_threshold(histogram(noise), VALUES, 0.5) == pytest.approx(expected, abs=0.01)


def test_rare_change_hardly_moves_the_threshold():
    random = np.random.default_rng(0)
    hazy, changed = random.normal(0.5, 0.04, 9800).clip(0, 1), random.normal(0.9, 0.05, 200).clip(0, 1)
    alone, both = (cell_threshold(histogram(each), VALUES, 0.5) for each in (hazy, np.concatenate([hazy, changed])))
    assert both == pytest.approx(alone, abs=0.02)


def test_a_clear_or_empty_cell_has_the_scene_s_threshold():
    clear = np.random.default_rng(0).normal(0.05, 0.05, 10_000).clip(0, 1)
    assert cell_threshold(histogram(clear), VALUES, 0.6) == 0.6
    assert cell_threshold(np.zeros(1024, int), VALUES, 0.6) == 0.6


def test_a_cell_all_of_which_changed_is_not_left_without_change():
    assert cell_threshold(histogram(np.random.default_rng(0).uniform(0.9, 1, 1000)), VALUES, 0.5) == HIGHEST


@pytest.mark.parametrize("scene", [0.2, 0.9, HIGHEST, 0.98, 1.0])
@pytest.mark.parametrize("middle", [0.05, 0.4, 0.85, 0.97])
def test_a_cell_s_threshold_is_never_below_the_scene_s_and_raised_to_the_highest_at_most(scene, middle):
    cell = np.random.default_rng(3).normal(middle, 0.03, 50_000).clip(0, 1)
    median, upper = np.quantile(cell, [0.5, 0.8413])
    raised = min(median + 3 * (upper - median), HIGHEST)
    assert cell_threshold(histogram(cell), VALUES, scene) == pytest.approx(max(scene, raised), abs=0.005)
    assert cell_threshold(histogram(cell), VALUES, scene) >= scene


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("local", LocalRule()),
        ("local:256", LocalRule(size=256)),
        ("local:256px:0.8", LocalRule(size=256, high=0.8)),
        ("local:300.5m", LocalRule(size=300.5, metres=True)),
        ("local:20m", LocalRule(size=20, metres=True)),
    ],
)
def test_rules_are_parsed(text, rule):
    assert parse_local(text) == rule


@pytest.mark.parametrize(
    "text", ["local:", "local:px", "local:-5", "local:10ft", "local:64px:2", "local:64px:", "locals"]
)
def test_bad_rules_are_refused(text):
    with pytest.raises(BadOption, match=r"must be as in local, local:512px|must lie in 0..1"):
        parse_local(text)


@pytest.mark.parametrize(
    ("text", "gsd", "pixels"),
    [("local:64.6px", None, 65), ("local:64.4px", 2.0, 64), ("local:100m", 1.5, 67), ("local:100m", 1.51, 66)],
)
def test_cells_are_of_the_nearest_whole_number_of_pixels(text, gsd, pixels):
    assert parse_local(text).side(gsd) == pixels


def test_cells_in_metres_need_a_pixel_size_and_enough_pixels():
    assert LocalRule(size=300, metres=True).side(0.5) == 600
    for size, gsd in ((300, None), (300, 30.0)):
        with pytest.raises(BadOption, match=r"300m|32"):
            LocalRule(size=size, metres=True).side(gsd)


def test_cells_are_whole_though_blocks_cut_the_raster_elsewhere(tmp_path):
    rng = np.random.default_rng(0)
    values = np.kron(rng.integers(0, 220, (11, 13)), np.ones((100, 100)))[None, :, :1250].astype(np.uint8)
    values += rng.integers(0, 20, values.shape, dtype=np.uint8)
    path = write_raster(tmp_path / "p.tif", values)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = [1 / 254]
    raster = open_scores(path)
    with open_work(None, None) as work:
        found = local_threshold(raster, LocalRule(size=300), work).cells
    cells = partition(values.shape[1:], (300, 300))
    expected = [cell_threshold(tile_histogram(raster, cell), BIN_VALUES, 0.5) for cell in cells]
    np.testing.assert_allclose(found, np.reshape(expected, (4, 5)))


def test_cells_of_the_least_size_are_allowed_and_smaller_ones_are_not():
    assert parse_local(f"local:{SMALLEST}px").side(None) == SMALLEST
    assert LocalRule(size=SMALLEST * 2.0, metres=True).side(2.0) == SMALLEST
    with pytest.raises(BadOption, match="too small"):
        LocalRule(size=(SMALLEST - 1) * 2.0, metres=True).side(2.0)


@pytest.mark.parametrize(("high", "peak"), [(None, 0), (0.8, 0.8)])
def test_run_json_says_how_many_cells_were_raised_above_the_scene_s_threshold(high, peak):
    cells = np.array([[0.5, 0.625, 0.875], [0.5, 0.75, 0.5]])
    threshold = LocalThreshold(cells, 40, 0.5, high)
    wanted = {"cell_px": 40, "cells": [2, 3], "raised": 3, "scene": 0.5, "highest": 0.875, "high": high}
    assert threshold.record == {"local": wanted}
    assert threshold.peak == peak

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochange.engine.thumbnails import Thumbnail, assemble, thumbnail_sums
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition


def make(dates, valid, spec, cell):
    parts = []
    for tile in partition(spec.shape, cell):
        here = [date[:, *tile.slices()] for date in dates]
        parts.append((tile, thumbnail_sums(here, valid[:, *tile.slices()], tile, spec)))
    return assemble(parts, len(dates), spec)


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
def test_any_cut_gives_the_same_picture(step, rows, cols):
    rng = np.random.default_rng(0)
    dates = list(rng.integers(0, 255, (2, 4, 37, 41)).astype(np.uint8))
    valid = rng.random((2, 37, 41)) > 0.2
    spec = Thumbnail((37, 41), step, (0, 1, 2))
    np.testing.assert_array_equal(make(dates, valid, spec, (rows, cols)), make(dates, valid, spec, (37, 41)))


def test_at_full_size_it_is_the_image_with_nan_where_not_valid():
    date = np.arange(60, dtype=np.uint8).reshape(1, 6, 10)
    valid = np.ones((1, 6, 10), bool)
    valid[0, 2, 3] = False
    picture = make([date], valid, Thumbnail((6, 10), 1, (0,)), (6, 10))
    np.testing.assert_array_equal(np.isnan(picture[0, 0]), ~valid[0])
    np.testing.assert_array_equal(picture[0, 0][valid[0]], date[0][valid[0]])


def test_small_cells_hold_their_mean():
    date = np.random.default_rng(0).integers(0, 255, (1, 12, 12)).astype(np.uint8)
    picture = make([date], np.ones((1, 12, 12), bool), Thumbnail((12, 12), 3, (0,)), (12, 12))
    expected = date[0].reshape(4, 3, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(picture[0, 0], expected, rtol=1e-6)


def test_large_cells_hold_the_mean_of_samples_that_lie_on_one_grid():
    date = np.random.default_rng(0).integers(0, 255, (1, 12, 12)).astype(np.uint8)
    picture = make([date], np.ones((1, 12, 12), bool), Thumbnail((12, 12), 4, (0,)), (12, 12))
    expected = date[0, ::2, ::2].reshape(3, 2, 3, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(picture[0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 7, 10])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_cells_hold_the_mean_of_their_valid_samples_whatever_lies_elsewhere(step, dtype):
    rng, shape, bands = np.random.default_rng(step), (23, 31), (2, 0, 3)
    dates = rng.integers(1, 120, (2, 4, *shape)).astype(dtype)
    valid = rng.random((2, *shape)) > 0.6
    valid[1] = True  # one date may be whole
    dates[0, :, ~valid[0]] = np.nan if dtype == "float32" else 99
    found = make(list(dates), valid, Thumbnail(shape, step, bands), (9, 13))
    skip = max(step // 2, 1)
    expected = np.full((2, 3, -(-shape[0] // step), -(-shape[1] // step)), np.nan)
    for date, row, col in np.ndindex(2, *expected.shape[2:]):
        rows, cols = (
            [place for place in range(cell * step, min((cell + 1) * step, length)) if place % skip == 0]
            for cell, length in zip((row, col), shape, strict=True)
        )
        at = np.ix_(rows, cols)
        if valid[date][at].any():
            expected[date, :, row, col] = [dates[date, band][at][valid[date][at]].mean() for band in bands]
    assert np.isnan(expected).any()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_an_area_without_samples_adds_nothing():
    spec = Thumbnail((40, 40), 20, (0,))
    sums = thumbnail_sums([np.ones((1, 5, 6))], np.ones((1, 5, 6), bool), Tile(22, 31, 5, 6), spec)
    assert sums.shape == (1, 2, 1, 1)
    assert not sums.any()


def test_an_area_is_where_it_lies():
    spec = Thumbnail((20, 20), 2, (0,))
    date = np.full((1, 4, 6), 7, np.uint8)
    sums = thumbnail_sums([date], np.ones((1, 4, 6), bool), Tile(8, 10, 4, 6), spec)
    picture = assemble([(Tile(8, 10, 4, 6), sums)], 1, spec)
    assert (picture[0, 0, 4:6, 5:8] == 7).all()
    assert np.isfinite(picture).sum() == 6

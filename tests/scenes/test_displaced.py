"""geochange.scenes.displaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from rasterio.enums import Resampling

from geochange.scenes.displaced import KERNELS, DisplacedSource, displaced
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.scene import FileSource, open_file
from geochange.scenes.shift_field import ShiftField
from geochange.scenes.warped import WarpedSource
from tests.scenes.test_shift_field import bend, fitted, measured, waves
from tests.stand_ins import PLACE, UTM, textured, write_raster

SHAPE = (300, 350)


def flat(down: float, right: float, shape: tuple[int, int] = SHAPE) -> ShiftField:
    return ShiftField.of(np.full((2, 2, 2), [[[down]], [[right]]]), shape)


def curved() -> ShiftField:
    found = fitted(*measured(waves(SHAPE, 3.0, length=300)), SHAPE).field
    assert found is not None
    return found


def source_of(folder: Path, dtype: str = "uint8", **profile: object) -> FileSource:
    return open_file(write_raster(folder / f"{dtype}.tif", textured(SHAPE, dtype=dtype), **profile))


@pytest.mark.parametrize("resampling", KERNELS)
def test_no_shift_changes_nothing(tmp_path, resampling):
    source = source_of(tmp_path)
    values, valid = displaced(source, source.grid, flat(0, 0), resampling).read(source.grid.area)
    np.testing.assert_array_equal(values, source.read(source.grid.area)[0])
    assert valid.all()


@pytest.mark.parametrize("resampling", KERNELS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_whole_pixels_are_moved_as_they_are(tmp_path, resampling, dtype):
    source = source_of(tmp_path, dtype)
    moved = displaced(source, source.grid, flat(2, -3), resampling)
    values, valid = moved.read(Tile(5, 5, 200, 200))
    np.testing.assert_allclose(values, source.read(Tile(7, 2, 200, 200))[0], rtol=1e-6)
    assert valid.all()


@pytest.mark.parametrize("resampling", [Resampling.bilinear, Resampling.cubic, Resampling.lanczos])
def test_parts_of_pixels_are_interpolated_as_gdal_does(tmp_path, resampling):
    source, inner = source_of(tmp_path, "float32"), Tile(10, 10, 200, 200)
    ours, _ = displaced(source, source.grid, flat(0.3, -1.4), resampling).read(inner)
    gdals, _ = WarpedSource(source, source.grid, resampling, (0.3, -1.4)).read(inner)
    np.testing.assert_allclose(ours, gdals, atol=2e-3 * np.ptp(gdals))


@given(row=st.integers(0, 250), col=st.integers(0, 300), height=st.integers(1, 50), width=st.integers(1, 50))
@settings(max_examples=25)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_pixel_does_not_depend_on_the_window(tmp_path_factory, dtype, row, col, height, width):
    source = source_of(tmp_path_factory.mktemp("window"), dtype, nodata=0)
    moved, tile = displaced(source, source.grid, curved(), Resampling.cubic), Tile(row, col, height, width)
    whole, whole_valid = moved.read(moved.grid.area)
    part, valid = moved.read(tile)
    np.testing.assert_array_equal(part, whole[:, *tile.slices()])
    np.testing.assert_array_equal(valid, whole_valid[tile.slices()])


def test_invalid_pixels_have_no_weight(tmp_path):
    values = textured(SHAPE)
    values[:, 100:120, 100:120] = 0
    source = open_file(write_raster(tmp_path / "a.tif", np.where(values, 200, values), nodata=0))
    found, valid = displaced(source, source.grid, flat(0.4, 0.4), Resampling.cubic).read(source.grid.area)
    assert set(np.unique(found[:, valid])) == {200}
    assert not valid[101:118, 101:118].any()
    assert valid[:99, :99].all()


def test_what_comes_from_beyond_the_image_holds_no_data(tmp_path):
    source = source_of(tmp_path)
    _, valid = displaced(source, source.grid, flat(-5, 0), Resampling.nearest).read(source.grid.area)
    assert not valid[:5].any()
    assert valid[5:].all()
    _, none = displaced(source, source.grid, flat(-5000, 0), Resampling.nearest).read(source.grid.area)
    assert not none.any()


def test_pixels_beside_the_grid_are_interpolated_once(tmp_path):
    source = source_of(tmp_path, "float32")
    grid = Grid(source.grid.crs, PLACE @ Affine.translation(10.25, 10.5), (200, 200))
    found = displaced(source, grid, flat(0.5, 0.75, grid.shape), Resampling.cubic)
    assert found.source is source
    np.testing.assert_allclose(found.read(grid.area)[0], source.read(Tile(11, 11, 200, 200))[0], rtol=1e-5)


def test_an_image_in_another_crs_is_brought_to_the_grid_first(tmp_path):
    source = source_of(tmp_path, "float32")
    degrees = Grid(CRS("EPSG:4326"), Affine(3e-5, 0, 15.0002, 0, -2e-5, 48.7505), (100, 100))
    found = displaced(source, degrees, flat(1.0, 0.0, degrees.shape), Resampling.bilinear)
    values, valid = found.read(Tile(0, 0, 99, 100))
    straight, seen = WarpedSource(source, degrees, Resampling.bilinear).read(Tile(1, 0, 99, 100))
    assert (valid & seen).any()
    np.testing.assert_allclose(values[:, valid & seen], straight[:, valid & seen], rtol=1e-4)


def test_a_bent_image_is_bent_back(tmp_path):
    values, field = textured(SHAPE, dtype="float32"), waves(SHAPE, 3.0, length=300)
    source = open_file(write_raster(tmp_path / "bent.tif", bend(values, field).astype("float32"), crs=UTM))
    found, valid = displaced(source, source.grid, curved(), Resampling.cubic).read(source.grid.area)
    inner = valid.copy()
    inner[:12], inner[-12:], inner[:, :12], inner[:, -12:] = False, False, False, False
    before = np.abs(source.read(source.grid.area)[0] - values)[:, inner].mean()
    assert np.abs(found - values)[:, inner].mean() < before / 5


def test_a_part_is_the_same_as_in_the_whole(tmp_path):
    source = source_of(tmp_path)
    moved, part = displaced(source, source.grid, curved(), Resampling.cubic), Tile(40, 50, 100, 120)
    cropped = moved.crop(part)
    assert isinstance(cropped, DisplacedSource)
    np.testing.assert_allclose(cropped.read(cropped.grid.area)[0].astype(int), moved.read(part)[0].astype(int), atol=1)
    assert cropped.whole() == source
    assert cropped.mark != moved.mark

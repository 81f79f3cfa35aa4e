from dataclasses import dataclass, field

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling

from geochange.errors import GridMismatch
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.scene import FileSource, open_file
from geochange.scenes.source import DerivedSource
from geochange.scenes.warped import WARP_CELL, WarpedSource, on_grid, warp_pixels
from tests.stand_ins import PLACE, UTM, textured, write_raster


@pytest.mark.parametrize("target_crs", [UTM, "EPSG:4326"])
def test_a_warped_pixel_does_not_depend_on_the_window(tmp_path, target_crs):
    source = open_file(write_raster(tmp_path / "a.tif", textured((700, 640))))
    with rasterio.open(source.path) as dataset:
        transform, width, height = rasterio.warp.calculate_default_transform(UTM, target_crs, 640, 700, *dataset.bounds)
    grid = Grid(rasterio_to_pyproj(target_crs), transform @ Affine.translation(0.37, 0.61), (height, width))
    warped = WarpedSource(source, grid)
    whole, whole_valid = warped.read(grid.area)
    for tile in (Tile(0, 0, 5, 5), Tile(250, 250, 20, 20), Tile(101, 17, 333, 404)):
        part, valid = warped.read(tile)
        np.testing.assert_array_equal(part, whole[:, *tile.slices()])
        np.testing.assert_array_equal(valid, whole_valid[tile.slices()])


def rasterio_to_pyproj(name):
    from pyproj import CRS

    return CRS.from_user_input(name)


def test_a_source_is_warped_where_it_lies_on_another_grid(tmp_path):
    source = open_file(write_raster(tmp_path / "a.tif", textured((40, 50))))
    assert on_grid(source, source.grid, Resampling.nearest) is source
    part = source.grid.crop(Tile(3, 4, 20, 30))
    values, _ = on_grid(source, part, Resampling.nearest).read(part.area)
    np.testing.assert_array_equal(values, source.read(Tile(3, 4, 20, 30))[0])


def test_a_source_of_the_whole_earth_is_brought_to_a_scene(tmp_path):
    earth = Affine(0.5, 0, -180, 0, -0.5, 90)
    source = open_file(
        write_raster(tmp_path / "a.tif", textured((360, 720), bands=1), crs="EPSG:4326", transform=earth)
    )
    scene = Grid(rasterio_to_pyproj(UTM), PLACE @ Affine.translation(-20_000, 0), (50, 50))
    _, valid = on_grid(source, scene, Resampling.nearest).read(scene.area)
    assert valid.all()


@pytest.mark.parametrize(("crs", "reason"), [(UTM, "before.tif and .*b.tif do not overlap"), (None, "no CRS")])
def test_a_source_beside_a_grid_is_refused(tmp_path, crs, reason):
    values = textured((40, 50))
    beside = write_raster(tmp_path / "b.tif", values, crs=crs, transform=PLACE @ Affine.translation(50, 0))
    grid = open_file(write_raster(tmp_path / "a.tif", values)).grid
    with pytest.raises(GridMismatch, match=reason):
        on_grid(open_file(beside), grid, Resampling.nearest, "before.tif")


def test_warping_agrees_with_gdals_warped_vrt(tmp_path):
    from rasterio.vrt import WarpedVRT

    path = write_raster(tmp_path / "a.tif", textured((200, 200)))
    source = open_file(path)
    grid = Grid(source.grid.crs, source.grid.transform @ Affine.translation(0.4, 0.3), (190, 190))
    ours, _ = WarpedSource(source, grid, Resampling.bilinear).read(grid.area)
    with (
        rasterio.open(path) as dataset,
        WarpedVRT(dataset, transform=grid.transform, width=190, height=190, resampling=Resampling.bilinear) as vrt,
    ):
        theirs = vrt.read()
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_interpolation_leaves_invalid_pixels_out(tmp_path):
    values = np.full((1, 40, 40), 200, np.uint8)
    values[:, :, 20:] = 0
    source = open_file(write_raster(tmp_path / "a.tif", values, nodata=0))
    grid = Grid(source.grid.crs, source.grid.transform @ Affine.translation(0.25, 0), (40, 39))
    warped, valid = WarpedSource(source, grid).read(grid.area)
    assert set(np.unique(warped[0][valid])) == {200}
    assert valid[:, :19].all()
    assert not valid[:, 21:].any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_warping_onto_the_same_grid_changes_nothing(dtype):
    values = textured((40, 50), dtype="uint8").astype(dtype)
    grid = Grid(None, Affine(1, 0, 0, 0, -1, 0), (40, 50))
    warped, valid = warp_pixels(values, np.ones((40, 50), bool), grid, grid, Resampling.cubic)
    np.testing.assert_array_equal(warped, values)
    assert valid.all()


def test_a_shift_is_moved_back(tmp_path):
    values = textured((80, 90))
    moved = np.roll(values, (3, -2), axis=(1, 2))
    source = open_file(write_raster(tmp_path / "moved.tif", moved))
    back, _ = WarpedSource(source, source.grid, shift=(3.0, -2.0)).read(source.grid.area)
    np.testing.assert_array_equal(back[:, 5:-5, 5:-5], values[:, 5:-5, 5:-5])


def test_a_shift_of_a_plain_image_is_moved_back_from_its_first_pixel_on(tmp_path):
    values = textured((80, 90))
    plain = {"crs": None, "transform": Affine.identity()}
    source = open_file(write_raster(tmp_path / "moved.tif", np.roll(values, (3, -2), axis=(1, 2)), **plain))
    back, valid = WarpedSource(source, source.grid, shift=(3.0, -2.0)).read(source.grid.area)
    np.testing.assert_array_equal(back[:, 5:-5, 5:-5], values[:, 5:-5, 5:-5])
    assert valid[:-3, 2:].all()


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_plain_images_of_other_pixel_size_are_brought_to_each_other(zoom):
    one, other = (Grid(None, Affine(size, 0, 0, 0, -size, 0), (40, 40)) for size in (1.0, zoom))
    warped, valid = warp_pixels(
        np.full((1, 40, 40), 100, np.uint8), np.ones((40, 40), bool), one, other, Resampling.bilinear
    )
    reached = min(round(40 / zoom), 40)
    assert valid[:reached, :reached].all()
    assert (warped[0][valid] == 100).all()


@given(share=st.floats(0.05, 0.95), dtype=st.sampled_from(["uint8", "int16", "uint32", "int64", "uint64", "float32"]))
@settings(max_examples=40, deadline=None)
def test_a_warped_pixel_is_valid_where_half_of_its_weight_is(share, dtype):
    values, valid = np.full((1, 12, 12), 7, dtype), np.ones((12, 12), bool)
    valid[:, 6:] = False
    grid = Grid(rasterio_to_pyproj(UTM), PLACE, (12, 12))
    moved = Grid(grid.crs, PLACE @ Affine.translation(share, 0), (12, 11))
    found, there = warp_pixels(values, valid, grid, moved, Resampling.bilinear)
    if abs(share - 0.5) > 0.03:  # columns 5 (valid) and 6 (not) weigh 1 - share and share in column 5
        assert there[6, 5] == (1 - share > 0.5)
    assert there[6, 4]
    assert not there[6, 6]
    np.testing.assert_array_equal(found[0][there], 7)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_an_average_is_valid_where_any_of_its_pixels_is(dtype):
    rng = np.random.default_rng(1)
    values, valid = rng.integers(0, 100, (1, 24, 36)).astype(dtype), rng.random((24, 36)) < 0.15
    grid = Grid(rasterio_to_pyproj(UTM), PLACE, (24, 36))
    coarse = Grid(grid.crs, PLACE @ Affine.scale(4, 3), (8, 9))
    found, there = warp_pixels(values, valid, grid, coarse, Resampling.average)
    cells, known = (each.reshape(8, 3, 9, 4).swapaxes(1, 2).reshape(8, 9, 12) for each in (values[0], valid))
    np.testing.assert_array_equal(there, known.any(axis=2))
    means = (cells * known).sum(axis=2)[there] / known.sum(axis=2)[there]
    np.testing.assert_allclose(found[0][there], means, atol=0.51 if dtype != "float32" else 1e-4)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_wide_integers_are_warped_as_narrow_ones(dtype):
    values, valid = textured((40, 50), 2), np.ones((40, 50), bool)
    grid = Grid(rasterio_to_pyproj(UTM), PLACE, (40, 50))
    moved = Grid(grid.crs, PLACE @ Affine.translation(0.4, 0.3), (39, 49))
    wide, there = warp_pixels(values.astype(dtype), valid, grid, moved, Resampling.cubic)
    narrow, known = warp_pixels(values.astype(np.int32), valid, grid, moved, Resampling.cubic)
    np.testing.assert_array_equal(there, known)
    assert np.abs(wide.astype(float) - narrow).max() <= 1


@pytest.mark.parametrize("name", ["cubic", "average", "lanczos"])
def test_a_finer_source_is_warped_without_seams(tmp_path, name):
    fine = Affine(0.25, 0, 500_000, 0, -0.25, 5_400_000)
    source = open_file(write_raster(tmp_path / "a.tif", textured((1600, 1600), bands=1), transform=fine))
    grid = Grid(source.grid.crs, Affine(2.0, 0, 500_001.3, 0, -2.0, 5_399_998.9), (190, 190))
    found, _ = WarpedSource(source, grid, Resampling[name]).read(grid.area)
    expected, _ = warp_pixels(*source.read(source.grid.area), source.grid, grid, Resampling[name])
    inner = np.s_[:, 4:-4, 4:-4]
    np.testing.assert_allclose(found[inner].astype(int), expected[inner].astype(int), atol=1)


@dataclass(frozen=True)
class Recorded(DerivedSource):
    """A source that notes which tiles of it are read."""

    source: FileSource
    tiles: list[Tile] = field(default_factory=list)

    @property
    def grid(self):
        return self.source.grid

    def read(self, tile):
        self.tiles.append(tile)
        return self.source.read(tile)


@pytest.mark.parametrize("pixel", [(0.125, 2), (2, 0.125), (0.25, 0.5), (2, 2)])
@pytest.mark.parametrize("resampling", [Resampling.cubic, Resampling.average, Resampling.lanczos])
def test_pixels_finer_along_one_axis_are_warped_without_seams(tmp_path, pixel, resampling):
    width, height = pixel
    shape = round(300 / height), round(320 / width)
    place = Affine(width, 0, 500_000, 0, -height, 5_400_000)
    source = open_file(write_raster(tmp_path / "a.tif", textured(shape, bands=1), transform=place))
    grid = Grid(source.grid.crs, Affine(2.0, 0, 500_001.3, 0, -2.0, 5_399_998.9), (147, 157))
    found, valid = WarpedSource(source, grid, resampling).read(grid.area)
    expected, there = warp_pixels(*source.read(source.grid.area), source.grid, grid, resampling)
    inner = np.s_[:, 4:-4, 4:-4]
    np.testing.assert_allclose(found[inner].astype(int), expected[inner].astype(int), atol=1)
    np.testing.assert_array_equal(valid[inner[1:]], there[inner[1:]])


@pytest.mark.parametrize("pixel", [(0.125, 2), (2, 0.125)])
def test_little_of_a_source_is_read_at_once_however_fine_it_is_along_an_axis(tmp_path, pixel):
    width, height = pixel
    shape = round(400 / height), round(400 / width)
    place = Affine(width, 0, 500_000, 0, -height, 5_400_000)
    source = Recorded(open_file(write_raster(tmp_path / "a.tif", np.ones((1, *shape), np.uint8), transform=place)))
    grid = Grid(source.grid.crs, Affine(2.0, 0, 500_001.3, 0, -2.0, 5_399_998.9), (195, 195))
    WarpedSource(source, grid, Resampling.bilinear).read(grid.area)
    assert max(max(tile.shape) for tile in source.tiles) < 2 * WARP_CELL


@pytest.mark.parametrize("place", [(0, 0), (300, 20), (20, 300), (250, 250), (500, 600)])
def test_of_a_source_only_what_meets_the_tile_is_read_and_nothing_twice(tmp_path, place):
    source = Recorded(open_file(write_raster(tmp_path / "a.tif", textured((900, 800), bands=1))))
    grid = Grid(source.grid.crs, source.grid.transform @ Affine.translation(0.4, 0.3), (890, 790))
    tile = Tile(*place, 30, 40)
    WarpedSource(source, grid, Resampling.bilinear).read(tile)
    assert all(min(each.intersect(tile.grow(8)).shape) > 0 for each in source.tiles)
    assert sum(each.size for each in source.tiles) <= 4 * (WARP_CELL + 8) ** 2

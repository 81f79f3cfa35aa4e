import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Geod

from geochange.errors import UnreadableInput
from geochange.scenes.grid import Grid, Tile, crs_name, reflect, require_workable


@given(st.integers(1, 12), st.integers(-40, 0), st.integers(1, 40))
def test_reflect_agrees_with_numpy_pad(length, start, stop):
    axis = np.arange(length)
    padded = np.pad(axis, (-start, max(stop - length, 0)), mode="reflect" if length > 1 else "edge")
    np.testing.assert_array_equal(axis[reflect(start, stop, length)], padded[: stop - start])


def test_tiles_intersect_in_their_common_pixels():
    assert Tile(0, 0, 10, 10).intersect(Tile(6, 8, 10, 10)) == Tile(6, 8, 4, 2)
    assert Tile(0, 0, 10, 10).intersect(Tile(20, 0, 5, 5)).size == 0


def test_slices_are_relative_to_an_origin():
    array = np.arange(100).reshape(10, 10)
    assert array[Tile(5, 7, 2, 3).slices((4, 4))].shape == (2, 3)
    assert array[Tile(5, 7, 2, 3).slices((4, 4))][0, 0] == 13


@pytest.mark.parametrize("transform", [Affine(2, 0, 100, 0, -3, 50), Affine(1, 1, 0, 1, -1, 0)])
def test_crop_keeps_pixels_in_place(transform):
    grid = Grid(None, transform, (20, 30))
    part = grid.crop(Tile(4, 7, 5, 6))
    assert part.transform @ (0, 0) == grid.transform @ (7, 4)
    assert grid.offset_of(part) == pytest.approx((4, 7))


def test_bounds_are_outer_edges():
    assert Grid(None, Affine(2, 0, 100, 0, -3, 50), (10, 20)).bounds == (100, 20, 140, 50)


@pytest.mark.parametrize(
    ("crs", "name"),
    [
        (CRS.from_epsg(32651), "EPSG:32651"),
        (CRS.from_proj4("+proj=laea +lat_0=12.3 +lon_0=45.6"), "unknown"),
        (None, "no CRS"),
    ],
)
def test_crs_name_is_the_code_where_there_is_one(crs, name):
    assert crs_name(crs) == name


@pytest.mark.parametrize("value", [0.0, 1e-300, float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 4])
def test_a_geotransform_without_a_pixel_size_is_refused(value, place):
    values = [2.0, 0.0, 100.0, 0.0, -3.0, 50.0]
    values[place] = value
    with pytest.raises(ValueError, match=r"its geotransform .* gives pixels no size or place"):
        Grid(None, Affine(*values), (1, 1))


@pytest.mark.parametrize("transform", [Affine(1e308, 0, 0, 0, -1e308, 0), Affine(1, 0, float("nan"), 0, -1, 0)])
def test_a_geotransform_without_a_place_is_refused(transform):
    with pytest.raises(ValueError, match=r"its geotransform .* gives pixels no size or place"):
        Grid(None, transform, (1, 1))


@pytest.mark.parametrize("shape", [(100, 20_000), (20_000, 100)])
def test_a_pixel_in_degrees_is_as_large_as_in_the_middle(shape):
    lat, lon = 70 - 0.001 * shape[0] / 2, 10 + 0.001 * shape[1] / 2
    ellipsoid = Geod(ellps="WGS84")
    width = ellipsoid.inv(lon, lat, lon + 0.001, lat)[2]
    height = ellipsoid.inv(lon, lat, lon, lat - 0.001)[2]
    found = Grid(CRS(4326), Affine(0.001, 0, 10, 0, -0.001, 70), shape).pixel_metres
    assert found == pytest.approx((height, width), rel=1e-4)


@pytest.mark.parametrize("away", [Tile(20, 0, 5, 5), Tile(0, 20, 5, 5), Tile(-9, 3, 5, 5), Tile(3, -9, 5, 5)])
def test_tiles_that_do_not_meet_share_no_pixel(away):
    shared = Tile(0, 0, 10, 10).intersect(away)
    assert shared.size == 0
    assert min(shared.shape) == 0


@pytest.mark.parametrize("angle", [0, 30, 120, 210, 300])
@pytest.mark.parametrize("pixel", [(2, -3), (2, 3)])
def test_bounds_hold_all_corners_of_a_turned_grid(angle, pixel):
    transform = Affine.translation(100, 50) @ Affine.rotation(angle) @ Affine.scale(*pixel)
    grid = Grid(None, transform, (10, 20))
    xs, ys = np.array([transform @ corner for corner in ((0, 0), (20, 0), (0, 10), (20, 10))]).T
    assert grid.bounds == pytest.approx((xs.min(), ys.min(), xs.max(), ys.max()))


def test_a_grid_of_more_pixels_than_can_be_gone_through_is_refused_with_their_number():
    place = Affine(1e-6, 0, 100, 0, -1e-6, 50)
    require_workable(Grid(None, place, (1_000_000, 1_000_000)), "world.vrt")
    with pytest.raises(
        UnreadableInput, match=r"world\.vrt has 1,000,001 x 1,000,000 pixels, more than 1e\+12; .*--aoi"
    ):
        require_workable(Grid(None, place, (1_000_001, 1_000_000)), "world.vrt")

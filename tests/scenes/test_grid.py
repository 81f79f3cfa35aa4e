import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Geod

from geochange.errors import UnreadableInput
from geochange.scenes.grid import Grid, Tile, centres_within, crs_name, pixels_within, reflect, require_workable


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


@pytest.mark.parametrize("degrees", [0, 30, 90, 213])
@pytest.mark.parametrize("flip", [1, -1])
def test_the_size_of_a_pixel_is_that_of_its_sides_however_it_is_turned(degrees, flip):
    transform = Affine.translation(500, 80) @ Affine.rotation(degrees) @ Affine.scale(2, 3 * flip)
    x, y = (np.hypot(*np.subtract(transform @ corner, transform @ (0, 0))) for corner in ((1, 0), (0, 1)))
    grid = Grid(CRS("EPSG:32651"), transform, (7, 9))
    assert grid.resolution == pytest.approx((x, y))
    assert grid.pixel_metres == pytest.approx((3, 2))
    assert grid.gsd == pytest.approx(6**0.5)


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


EIGHTHS = st.integers(-12, 76).map(lambda steps: steps / 8)


@given(*[EIGHTHS] * 4)
def test_centres_within_counts_the_centres_on_the_edges(top, left, bottom, right):
    rows, cols = (
        np.arange(-10, 15)[(np.arange(-10, 15) + 0.5 >= low) & (np.arange(-10, 15) + 0.5 <= high)]
        for low, high in ((top, bottom), (left, right))
    )
    found = centres_within(top, left, bottom, right)
    assert found.shape == (len(rows), len(cols))
    if found.size:
        assert (found.row, found.col) == (rows[0], cols[0])


@given(*[EIGHTHS] * 4, st.sampled_from([(2, -3), (2, 3), (-2, -3)]))
def test_pixels_within_are_those_whose_centres_the_bounds_hold(x, y, other_x, other_y, pixel):
    grid = Grid(None, Affine.translation(100, 50) @ Affine.scale(*pixel), (6, 9))
    xs, ys = (
        np.array([first, last]) * size + start
        for first, last, size, start in ((x, other_x, pixel[0], 100), (y, other_y, pixel[1], 50))
    )
    rows, cols = np.mgrid[:6, :9]
    centre_x, centre_y = 100 + pixel[0] * (cols + 0.5), 50 + pixel[1] * (rows + 0.5)
    inside = (centre_x >= xs.min()) & (centre_x <= xs.max()) & (centre_y >= ys.min()) & (centre_y <= ys.max())
    found = pixels_within(grid, (xs.min(), ys.min(), xs.max(), ys.max()))
    assert found.size == inside.sum()
    if found.size:
        assert inside[found.slices()].all()


@pytest.mark.parametrize("angle", [30, 120, 210, 300])
def test_pixels_within_hold_every_centre_in_the_bounds_of_a_turned_grid(angle):
    turned = Affine.translation(100, 50) @ Affine.rotation(angle) @ Affine.scale(2, -3)
    rows, cols = np.mgrid[:60, :90]
    xs, ys = turned @ (cols + 0.5, rows + 0.5)
    left, bottom, right, top = xs.mean() - 30, ys.mean() - 25, xs.mean() + 30, ys.mean() + 25
    rows, cols = np.nonzero((xs >= left) & (xs <= right) & (ys >= bottom) & (ys <= top))
    found = pixels_within(Grid(None, turned, (60, 90)), (left, bottom, right, top))
    assert found.row <= rows.min() <= found.row + 1
    assert found.stop_row - 1 <= rows.max() + 1 <= found.stop_row
    assert found.col <= cols.min() <= found.col + 1
    assert found.stop_col - 1 <= cols.max() + 1 <= found.stop_col


@pytest.mark.parametrize("edge", range(4))
def test_bounds_that_are_no_numbers_hold_no_pixels(edge):
    for value in (float("nan"), float("inf"), -float("inf")):
        bounds = [100.0, 20.0, 140.0, 50.0]
        bounds[edge] = value
        assert pixels_within(Grid(None, Affine(2, 0, 100, 0, -3, 50), (10, 20)), tuple(bounds)).size == 0

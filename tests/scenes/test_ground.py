import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Geod, Proj, Transformer

from geochange.scenes.grid import Grid
from geochange.scenes.ground import (
    geodesic_measures,
    ground_areas,
    ground_steps,
    is_true_to_scale,
    plane_measures,
    to_degrees,
    unit_metres,
)

GEOSTATIONARY = "+proj=geos +h=35785831 +lon_0=0 +sweep=y"
FOOT = 1200 / 3937


def grid(crs, transform, shape=(100, 100)):
    return Grid(None if crs is None else CRS.from_user_input(crs), transform, shape)


@given(
    code=st.sampled_from([3395, 3031, 3413, 3035, 5070, 6933, 32633]),
    across=st.floats(-25, 25),
    up=st.floats(-20, 20),
)
def test_steps_have_the_scales_of_tissots_indicatrix(code, across, up):
    crs = CRS(code)
    area = crs.area_of_use
    lon = (area.west + area.east) / 2 + (across if code != 32633 else across / 10)
    lat = np.clip((area.south + area.north) / 2 + up, area.south, area.north)
    x, y = Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(lon, lat)

    steps = ground_steps(crs, np.array([[x, y]]), 50 * np.eye(2))[0] / 50

    factors = Proj(crs).get_factors(lon, lat)
    map_per_metre = 1 / np.linalg.svd(steps, compute_uv=False)
    np.testing.assert_allclose(map_per_metre, [factors.tissot_semiminor, factors.tissot_semimajor], rtol=1e-4)


@pytest.mark.parametrize(
    ("crs", "place", "expected"),
    [
        ("EPSG:32633", (5e5, 5e6), True),
        ("EPSG:2154", (7e5, 6.6e6), True),
        ("EPSG:27700", (4e5, 4e5), True),
        ("EPSG:2263", (1e6, 2e5), True),
        ("EPSG:3035", (4.321e6, 3.21e6), True),
        ("EPSG:3035", (6e6, 5e6), False),
        ("EPSG:3857", (0, 0), False),
        ("EPSG:3857", (0, 8e6), False),
        ("EPSG:3031", (3e6, 2e6), False),
        ("EPSG:32662", (0, 5e6), False),
        ("EPSG:4326", (0, 0), False),
        ('LOCAL_CS["site",UNIT["metre",1]]', (0, 0), True),
        (GEOSTATIONARY, (5.5e6, 5.5e6), False),
    ],
)
def test_planes_are_true_to_scale_within_half_a_percent(crs, place, expected):
    assert is_true_to_scale(CRS.from_user_input(crs), np.array([place], float)) is expected


def test_one_corner_that_is_not_true_to_scale_makes_a_grid_not_so():
    small, large = (grid("EPSG:32633", Affine(10, 0, 5e5, 0, -10, 5e6), (10, width)) for width in (10, 70_000))

    assert small.true_to_scale
    assert not large.true_to_scale


def test_grads_of_paris_become_degrees_of_paris():
    np.testing.assert_allclose(to_degrees(CRS(4807), np.array([[2.0, 55.0]])), [[1.8, 49.5]])


def test_what_lies_beyond_a_projection_has_no_measures():
    polygons = np.array([shapely.box(5.5e6, 5.5e6, 5.6e6, 5.6e6), shapely.box(0, 0, 1e3, 1e3)])

    area, perimeter = geodesic_measures(polygons, CRS(GEOSTATIONARY))

    assert np.isnan([area[0], perimeter[0]]).all()
    np.testing.assert_allclose([area[1], perimeter[1]], [1e6, 4e3], rtol=1e-5)


def test_a_polygon_over_the_pole_has_the_area_of_its_cap():
    crs = CRS(3413)
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    cap = shapely.Polygon(np.stack([1e6 * np.cos(angles), 1e6 * np.sin(angles)], axis=1))

    area, perimeter = geodesic_measures(np.array([cap]), crs)

    to_equal_area = Transformer.from_crs(crs, "+proj=laea +lat_0=90 +ellps=WGS84", always_xy=True)
    equal_area = shapely.transform(cap, lambda xy: np.stack(to_equal_area.transform(*xy.T), axis=1))
    assert area[0] == pytest.approx(equal_area.area, rel=1e-5)
    around = to_degrees(crs, shapely.get_coordinates(cap))
    assert perimeter[0] == pytest.approx(Geod(ellps="WGS84").line_length(*around.T))


def test_holes_are_taken_off_and_parts_added_up():
    shell, hole = shapely.box(10, 50, 11, 51), shapely.box(10.4, 50.4, 10.6, 50.6)
    holed = shapely.orient_polygons(shapely.difference(shell, hole))
    other = shapely.box(20, 0, 21, 1)
    crs = CRS(4326)

    area, perimeter = geodesic_measures(np.array([holed, shapely.MultiPolygon([holed, other])]), crs)

    single = geodesic_measures(np.array([shell, hole, other]), crs)
    np.testing.assert_allclose(area[0], single[0][0] - single[0][1])
    np.testing.assert_allclose(area[1], area[0] + single[0][2])
    np.testing.assert_allclose(perimeter[0], single[1][0] + single[1][1])
    np.testing.assert_allclose(perimeter[1], perimeter[0] + single[1][2])


def test_no_polygons_have_no_measures():
    none = np.array([], object)

    assert all(each.shape == (0,) and each.dtype == float for each in geodesic_measures(none, CRS(3857)))
    assert ground_areas(none, CRS(32633)).shape == (0,)


def test_areas_of_utm_stay_those_of_the_plane_and_of_mercator_do_not():
    pixel = np.array([shapely.box(5e5, 8e6, 5e5 + 20, 8e6 + 20)])

    assert ground_areas(pixel, CRS(32633)).tolist() == [400.0]
    assert ground_areas(pixel, CRS(3857))[0] == pytest.approx(400 * 0.52842**2, rel=1e-2)
    assert plane_measures(pixel, CRS(2263))[0][0] == pytest.approx(400 * FOOT**2)


def test_a_map_unit_is_as_long_as_on_the_ground_in_the_middle():
    assert unit_metres(CRS(32633), np.array([5e5, 5e6, 6e5, 5.1e6])) == (1.0, 1.0)
    assert unit_metres(CRS(2263), np.array([1e6, 2e5, 1.1e6, 2.1e5])) == pytest.approx((FOOT, FOOT))
    geod = Geod(ellps="WGS84")
    expected = geod.inv(10, 60, 10.001, 60)[2] * 1e3, geod.inv(10, 60, 10, 60.001)[2] * 1e3
    assert unit_metres(CRS(4326), np.array([8, 59, 12, 61])) == pytest.approx(expected, rel=1e-5)


def test_pixels_that_are_true_to_scale_are_measured_in_the_plane():
    assert grid("EPSG:32633", Affine(2, 0, 5e5, 0, -4, 5.4e6)).pixel_metres == (4, 2)
    assert grid("EPSG:2263", Affine(1, 0, 1e6, 0, -1, 2e5)).pixel_metres == pytest.approx((FOOT, FOOT))
    assert grid('LOCAL_CS["site",UNIT["metre",1]]', Affine(2, 0, 0, 0, -4, 0)).pixel_metres == (4, 2)
    assert grid("EPSG:32633", Affine(10, 0, 5e5, 0, -10, 5.4e6)).gsd == 10


def test_pixels_without_a_crs_or_beyond_its_reach_have_no_metres():
    for place in (grid(None, Affine.identity()), grid(GEOSTATIONARY, Affine(3e3, 0, 5.4e6, 0, -3e3, 5.4e6))):
        assert place.pixel_metres is None
        assert place.gsd is None


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:3857", Affine(1, 0, 2.8e6, 0, -2, 8.4e6)),
        ("EPSG:3031", Affine(30, 0, 3e6, 0, -30, 2e6)),
        ("EPSG:3035", Affine(0, 30, 6e6, 20, 0, 5e6)),
        ("EPSG:4326", Affine(0.001, 0, 10, 0, -0.001, 60.05)),
        ("EPSG:4807", Affine(0.001, 0, 10, 0, -0.001, 60.05)),
    ],
)
def test_pixels_are_as_large_as_on_the_ellipsoid(crs, transform):
    place = grid(crs, transform)
    height, width = place.pixel_metres

    base = place.crs.geodetic_crs
    corners = np.array([transform @ corner for corner in ((50, 50), (51, 50), (50, 51))])
    lon, lat = Transformer.from_crs(place.crs, base, always_xy=True).transform(*corners.T)
    degrees = np.degrees(base.axis_info[0].unit_conversion_factor)
    lon, lat = np.array(lon) * degrees, np.array(lat) * degrees
    _, _, lengths = place.crs.get_geod().inv(lon[[0, 0]], lat[[0, 0]], lon[1:], lat[1:])
    assert (width, height) == pytest.approx(lengths, rel=1e-6)
    assert place.gsd == pytest.approx(np.sqrt(height * width))


@pytest.mark.parametrize("angle", [45, 135, 225, 315])
@pytest.mark.parametrize("height", [-60_000, 60_000])
def test_each_corner_counts_for_whether_a_grid_is_true_to_scale(angle, height):
    """Of a turned grid one corner lies furthest from the meridian of UTM, where lengths are half a percent off."""
    turn = Affine.rotation(angle) @ Affine.scale(60_000, height)
    easts = [(turn @ corner)[0] for corner in ((0, 0), (4, 0), (4, 3), (0, 3))]
    for furthest, expected in ((640_000, True), (690_000, False)):  # metres from the meridian; 662,000 are 0.5 %
        place = Affine.translation(500_000 + furthest - max(easts), 5_000_000) @ turn
        assert grid("EPSG:32633", place, (3, 4)).true_to_scale is expected


def test_points_of_which_some_lie_beyond_a_projection_are_not_true_to_scale():
    near, beyond = (0, 0), (5.5e6, 5.5e6)
    assert is_true_to_scale(CRS(GEOSTATIONARY), np.array([near], float))
    assert not is_true_to_scale(CRS(GEOSTATIONARY), np.array([near, beyond], float))

import numpy as np
import pyarrow as pa
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Geod, Transformer

from geochange.polygons.features import SCHEMA, ChangeLayer, feature_batches, map_polygons, measure
from geochange.scenes.grid import Grid
from tests.region_cases import Map, trace_whole

NORTH_UP = Affine(5, 0, 500_000, 0, -5, 5_200_000)
RING = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 1, 1, 2]], np.uint8)


@pytest.fixture(scope="module")
def regions():
    return trace_whole(Map(RING, np.arange(RING.size).reshape(RING.shape), np.ones(RING.shape, bool)))


def grid(crs, transform=NORTH_UP):
    return Grid(None if crs is None else CRS(crs), transform, RING.shape)


def table(regions, layer):
    return pa.Table.from_batches(feature_batches([regions], layer), SCHEMA).to_pydict()


def test_vertices_lie_on_pixel_corners(regions):
    polygons = map_polygons(regions.polygons, grid("EPSG:26914"))

    assert polygons[1].equals(shapely.box(500_015, 5_199_985, 500_020, 5_199_990))


@pytest.mark.parametrize(
    "transform", [NORTH_UP, Affine(5, 0, 0, 0, 5, 0), Affine(0, 5, 0, 5, 0, 0), Affine.rotation(30)]
)
def test_shells_run_counter_clockwise_and_holes_clockwise(regions, transform):
    for polygon in map_polygons(regions.polygons, grid("EPSG:26914", transform)):
        assert polygon.exterior.is_ccw
        assert not any(hole.is_ccw for hole in polygon.interiors)


def test_metres_are_measured_in_the_plane(regions):
    area, perimeter = measure(regions.polygons, grid("EPSG:26914"))

    assert area.tolist() == [8 * 25, 25]
    assert perimeter.tolist() == [5 * 16, 20]


def test_us_feet_become_metres(regions):
    area, perimeter = measure(regions.polygons, grid("EPSG:2263", Affine(5, 0, 1e6, 0, -5, 2e5)))

    foot = 1200 / 3937
    np.testing.assert_allclose(area, np.array([8 * 25, 25]) * foot**2, atol=1e-4)
    np.testing.assert_allclose(perimeter, np.array([5 * 16, 20]) * foot, atol=1e-4)


def test_degrees_are_measured_on_the_ellipsoid(regions):
    at = grid("EPSG:4326", Affine(0.001, 0, -74.5, 0, -0.001, -8.3))

    area, perimeter = measure(regions.polygons, at)

    ring, pixel = map_polygons(regions.polygons, at)
    geod = Geod(ellps="WGS84")
    assert area[0] == pytest.approx(abs(geod.geometry_area_perimeter(ring)[0]), abs=1e-3)
    assert perimeter[0] == pytest.approx(
        sum(geod.geometry_length(part) for part in [ring.exterior, *ring.interiors]), abs=1e-3
    )
    assert area[1] == pytest.approx(abs(geod.geometry_area_perimeter(pixel)[0]), abs=1e-3)


def test_multipolygon_is_measured_as_its_parts(regions):
    both = np.array([shapely.MultiPolygon(list(regions.polygons))], object)
    at = grid("EPSG:4326", Affine(0.001, 0, -74.5, 0, -0.001, -8.3))

    np.testing.assert_allclose(np.ravel(measure(both, at)), np.sum(measure(regions.polygons, at), axis=1), atol=1e-3)


def test_images_without_a_crs_hang_upside_down_and_have_no_metres(regions):
    layer = ChangeLayer(grid=grid(None, Affine(1, 0, 0, 0, -1, 0)), labels=("a", "b"))

    rows = table(regions, layer)

    assert rows["area_m2"] == rows["perimeter_m"] == [None, None]
    assert shapely.from_wkb(rows["geometry"][1]).equals(shapely.box(3, -3, 4, -2))


@pytest.mark.parametrize("transform", [Affine(2, 0, 1000, 0, 2, 5000), Affine(2, 0, 1000, 0, -2, 5000)])
def test_a_geotransform_without_a_crs_is_kept_whichever_way_its_rows_run(regions, transform):
    pixel = map_polygons(regions.polygons, grid(None, transform))[1]

    corners = [transform @ corner for corner in ((3, 2), (4, 3))]
    assert pixel.normalize() == shapely.box(*np.min(corners, axis=0), *np.max(corners, axis=0)).normalize()
    assert pixel.exterior.is_ccw


def web_mercator(lon, lat, size=1.0):
    """Transform of pixels of so many Mercator metres from a place on."""
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(lon, lat)
    return Affine(size, 0, x, 0, -size, y)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:3857", web_mercator(25, 60)),
        ("EPSG:3857", web_mercator(-120, 0)),
        ("EPSG:3031", Affine(30, 0, 3e6, 0, -30, 2e6)),
        ("EPSG:32662", Affine(30, 0, 1e6, 0, -30, 5e6)),
        ("EPSG:3035", Affine(30, 0, 6e6, 0, -30, 5e6)),
        ("EPSG:4807", Affine(0.001, 0, 2, 0, -0.001, 52)),
    ],
)
def test_planes_that_are_not_true_to_scale_are_measured_on_the_ellipsoid(regions, crs, transform):
    at = grid(crs, transform)

    area, perimeter = measure(regions.polygons, at)

    base = at.crs.geodetic_crs
    to_base = Transformer.from_crs(at.crs, base, always_xy=True)
    degrees = np.degrees(base.axis_info[0].unit_conversion_factor)
    placed = shapely.transform(
        map_polygons(regions.polygons, at), lambda xy: np.stack(to_base.transform(*xy.T), axis=1) * degrees
    )
    geod = at.crs.get_geod()
    np.testing.assert_allclose(area, [geod.geometry_area_perimeter(polygon)[0] for polygon in placed], atol=1e-3)
    np.testing.assert_allclose(perimeter, [geod.geometry_length(polygon.boundary) for polygon in placed], atol=1e-3)


def test_attributes_say_what_the_pixels_hold(regions):
    layer = ChangeLayer(
        grid=grid("EPSG:26914"), labels=("grown", "lost"), score_scale=0.01, date_before="2009-07-01", date_after=None
    )

    rows = table(regions, layer)

    assert rows["id"] == [1, 2]
    assert rows["label"] == ["grown", "lost"]
    assert rows["score_mean"] == [0.05, 0.11]
    assert rows["score_max"] == [0.1, 0.11]
    assert rows["area_px"] == [8, 1]
    assert rows["on_edge"] == [True, True]
    assert rows["date_before"] == ["2009-07-01"] * 2
    assert rows["date_after"] == [None, None]
    assert rows["status"] == ["unreviewed"] * 2
    assert rows["comment"] == [""] * 2
    assert rows["geometry"] == shapely.to_wkb(map_polygons(regions.polygons, layer.grid)).tolist()


def test_scores_have_six_decimals_and_measures_four(regions):
    at = grid("EPSG:26914", Affine(1 / 3, 0, 500_000, 0, -1 / 7, 5_200_000))

    rows = table(regions, ChangeLayer(grid=at, labels=("a", "b"), score_scale=1 / 7))

    assert rows["score_mean"] == [0.714286, 1.571429]
    assert rows["score_max"] == [1.428571, 1.571429]
    assert rows["area_m2"] == [0.381, 0.0476]
    assert rows["perimeter_m"] == [3.8095, 0.9524]


def test_ids_run_on_over_chunks(regions):
    layer = ChangeLayer(grid=grid("EPSG:26914"), labels=("a", "b"))

    batches = list(feature_batches([regions, regions], layer))

    assert [batch.column("id").to_pylist() for batch in batches] == [[1, 2], [3, 4]]

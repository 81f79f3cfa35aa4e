import json
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer

from geochange.polygons.features import SCHEMA
from geochange.polygons.geojson import feature_collection, reaches_wgs84, to_wgs84

FIJI = CRS("EPSG:3460")  # metres, on both sides of the antimeridian


def over_antimeridian():
    x, y = Transformer.from_crs("OGC:CRS84", FIJI, always_xy=True).transform(180, -17)
    return shapely.box(x - 1000, y - 1000, x + 1000, y + 1000)


def test_polygon_over_the_antimeridian_is_cut_in_two_of_the_same_size():
    (cut,) = to_wgs84(np.array([over_antimeridian()]), FIJI)

    west, _, east, _ = cut.bounds
    assert (west, east) == (-180, 180)
    assert sorted(part.bounds[0] > 0 for part in cut.geoms) == [False, True]
    one, other = (part.area for part in cut.geoms)
    assert one == pytest.approx(other, rel=0.05)


def test_longitudes_beyond_180_degrees_come_back_as_negative_ones():
    (back,) = to_wgs84(np.array([shapely.box(190, 10, 191, 11)]), CRS("EPSG:4326"))

    assert back.equals(shapely.box(-170, 10, -169, 11))


def test_an_edge_on_the_antimeridian_leaves_no_line_beyond_it():
    step = shapely.Polygon([(179, 0), (181, 0), (181, 1), (180, 1), (180, 2), (179, 2)])

    (cut,) = to_wgs84(np.array([step]), CRS("EPSG:4326"))

    assert cut.geom_type == "MultiPolygon"
    assert cut.equals(shapely.union(shapely.box(179, 0, 180, 2), shapely.box(-180, 0, -179, 1)))


@pytest.mark.parametrize("west", [179.12345678, 255.12345678, -255.12345678, 13.12345678])
def test_degrees_have_eight_decimals_on_both_sides_of_the_antimeridian(west):
    box = shapely.box(west, 10, west + 1, 11)

    (placed,) = to_wgs84(np.array([shapely.transform(box, lambda xy: xy + 1e-10)]), CRS("EPSG:4326"))

    coordinates = shapely.get_coordinates(placed)
    np.testing.assert_array_equal(coordinates, np.round(coordinates, 8))
    assert placed.area == pytest.approx(1)
    assert {round((x - west) % 1, 8) % 1 for x in coordinates[:, 0] if abs(x) != 180} == {0}


def test_wide_polygon_of_a_global_grid_stays_whole():
    wide = shapely.box(-170, 10, 170, 11)

    (placed,) = to_wgs84(np.array([wide]), CRS("EPSG:4326"))

    assert placed.equals(wide)


@given(st.sampled_from(["EPSG:2193", "EPSG:2053", "EPSG:3857", "EPSG:26914", "EPSG:4326"]), st.booleans())
def test_shells_are_counter_clockwise_whatever_way_the_axes_run(code, ccw):
    crs = CRS(code)
    west, south, east, north = crs.area_of_use.bounds
    x, y = Transformer.from_crs("OGC:CRS84", crs, always_xy=True).transform((west + east) / 2, (south + north) / 2)
    size = 0.01 if crs.is_geographic else 1000

    (placed,) = to_wgs84(np.array([shapely.box(x, y, x + size, y + size, ccw=ccw)]), crs)

    assert placed.exterior.is_ccw


def test_text_is_json_with_names_and_nulls_as_given():
    rows = {name: [None] for name in SCHEMA.names} | {"label": ['"é"'], "geometry": [shapely.box(0, 0, 1, 2).wkb]}
    batch = SCHEMA.empty_table().from_pydict(rows, schema=SCHEMA).to_batches()[0]

    content = json.loads("".join(feature_collection([batch, batch], None, "changes")))

    assert content["name"] == "changes"
    assert [feature["properties"]["label"] for feature in content["features"]] == ['"é"', '"é"']
    assert content["features"][0]["properties"]["area_m2"] is None
    assert shapely.from_geojson(json.dumps(content["features"][0]["geometry"])).equals(shapely.box(0, 0, 1, 2))


@pytest.mark.parametrize("west", [-180.5, -181.0, -190.0])
def test_longitudes_below_minus_180_degrees_come_back_too(west):
    (back,) = to_wgs84(np.array([shapely.box(west, 10, west + 1, 11)]), CRS("EPSG:4326"))
    (same,) = to_wgs84(np.array([shapely.box(west + 360, 10, west + 361, 11)]), CRS("EPSG:4326"))

    assert -180 <= back.bounds[0] <= back.bounds[2] <= 180
    assert back.area == pytest.approx(1)
    assert back.equals(same)


@pytest.mark.parametrize(
    ("crs", "reached"),
    [('LOCAL_CS["site",UNIT["metre",1]]', False), ("+proj=eqc +R=3396190 +type=crs", False), ("EPSG:26914", True)],
)
def test_coordinates_that_do_not_reach_wgs84_are_written_as_they_are(crs, reached):
    box = shapely.box(500_000, 5_200_000, 500_001, 5_200_002)
    rows = {name: [None] for name in SCHEMA.names} | {"geometry": [box.wkb]}
    batch = SCHEMA.empty_table().from_pydict(rows, schema=SCHEMA).to_batches()[0]

    content = json.loads("".join(feature_collection([batch], CRS(crs), "changes")))

    assert reaches_wgs84(CRS(crs)) == reached
    assert shapely.from_geojson(json.dumps(content["features"][0]["geometry"])).equals(box) != reached


def test_values_of_every_type_are_strict_json():
    columns = {
        "text": pa.array(['a "b"', None, "é\n"]),
        "flag": pa.array([True, False, None]),
        "count": pa.array([2**53 + 1, None, -3], pa.int64()),
        "share": pa.array([0.1, float("nan"), None], pa.float64()),
        "day": pa.array([date(2009, 7, 1), None, date(2024, 2, 29)]),
        "names": pa.array([["a", "b"], [], None]),
        "geometry": pa.array([shapely.box(0, 0, 1, 2).wkb] * 3),
    }
    batch = pa.RecordBatch.from_pydict(columns)

    text = "".join(feature_collection([batch], None, "mine"))

    rows = [feature["properties"] for feature in json.loads(text, parse_constant=pytest.fail)["features"]]
    assert {name: [row[name] for row in rows] for name in rows[0]} == {
        "text": ['a "b"', None, "é\n"],
        "flag": [True, False, None],
        "count": [2**53 + 1, None, -3],
        "share": [0.1, None, None],
        "day": ["2009-07-01", None, "2024-02-29"],
        "names": [["a", "b"], [], None],
    }

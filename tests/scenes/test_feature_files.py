import json

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from geochange.errors import UnreadableInput
from geochange.polygons.export import LAYER_WRITERS
from geochange.polygons.features import SCHEMA, ChangeLayer
from geochange.scenes.feature_files import open_features
from geochange.scenes.grid import Grid
from geochange.scenes.layers import reproject_polygons
from tests.region_cases import Map, trace_whole, write_layer
from tests.stand_ins import UTM

GRID = Grid(geopandas.GeoSeries([], crs=UTM).crs, Affine(5, 0, 500_000, 0, -5, 5_200_000), (40, 50))


@pytest.fixture
def regions():
    random = np.random.default_rng(0)
    classes = (random.random((40, 50)) < 0.3).astype(np.uint8)
    return trace_whole(Map(classes, classes * 7, np.ones((40, 50), bool)))


@pytest.mark.parametrize("suffix", LAYER_WRITERS)
def test_what_was_written_comes_back_in_batches(regions, tmp_path, suffix):
    path = tmp_path / f"changes{suffix}"
    write_layer(path, [regions], ChangeLayer(grid=GRID))
    features = open_features(str(path))
    batches = list(features.batches(37))
    assert features.schema.names == [name for name in SCHEMA.names if name != "geometry"]
    assert (features.crs == GRID.crs) == (suffix != ".geojson")
    assert features.geometry_type == "Polygon"
    assert max(len(polygons) for _, polygons in batches) <= 37
    rows = [row for columns, _ in batches for row in columns.to_pylist()]
    assert sorted(row["id"] for row in rows) == [*range(1, len(regions) + 1)]
    areas = {
        row["id"]: polygon.area
        for columns, polygons in batches
        for row, polygon in zip(columns.to_pylist(), polygons, strict=True)
    }
    if suffix != ".geojson":
        assert areas == {row["id"]: row["area_m2"] for row in rows}


def test_layers_of_other_people_are_read(tmp_path):
    """Polygons and multipolygons together, with heights, clockwise, and a feature without a geometry."""
    square = shapely.Polygon([(0, 0, 9), (0, 1, 9), (1, 1, 9), (1, 0, 9)])
    pair = shapely.MultiPolygon([shapely.box(2, 0, 3, 1), shapely.box(4, 0, 5, 1)])
    frame = geopandas.GeoDataFrame({"name": ["a", "b", "c"]}, geometry=[square, None, pair], crs=UTM)
    frame.to_file(tmp_path / "mixed.gpkg")
    features = open_features(str(tmp_path / "mixed.gpkg"))
    ((rows, polygons),) = features.batches()
    assert rows.column("name").to_pylist() == ["a", "c"]
    assert features.geometry_type == "MultiPolygon"
    assert {each.geom_type for each in polygons} == {"MultiPolygon"}
    assert not shapely.has_z(polygons).any()
    assert shapely.is_ccw(shapely.get_exterior_ring(shapely.get_parts(polygons))).all()


def test_what_is_no_layer_of_polygons_is_refused(tmp_path):
    geopandas.GeoSeries([shapely.Point(0, 0)], crs=UTM).to_file(tmp_path / "points.gpkg")
    (tmp_path / "text.gpkg").write_text("no layer")
    (tmp_path / "text.parquet").write_text("no layer")
    with pytest.raises(UnreadableInput, match="holds Point"):
        list(open_features(str(tmp_path / "points.gpkg")).batches())
    for name in ("text.gpkg", "text.parquet", "missing.gpkg"):
        with pytest.raises(UnreadableInput, match=name):
            open_features(str(tmp_path / name))


def test_polygons_are_moved_as_geopandas_moves_them(regions):
    series = geopandas.GeoSeries(regions.polygons, crs=UTM)
    series = series.affine_transform([5, 0, 0, -5, 500_000, 5_200_000]).set_crs(UTM, allow_override=True)
    moved = reproject_polygons(series.to_numpy(), series.crs, geopandas.GeoSeries([], crs=4326).crs)
    assert shapely.equals_exact(moved, series.to_crs(4326).to_numpy(), 1e-12).all()
    assert reproject_polygons(series.to_numpy(), series.crs, None) is not None


def test_geoparquet_that_names_no_crs_is_in_degrees(tmp_path):
    path = tmp_path / "a.parquet"
    shape = shapely.box(10, 50, 11, 51)
    geopandas.GeoDataFrame({"name": ["a"]}, geometry=[shape], crs="OGC:CRS84").to_parquet(path)
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b"geo"])
    del about["columns"]["geometry"]["crs"]
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(about)}), path)
    assert open_features(str(path)).crs == CRS("OGC:CRS84")


def test_what_breaks_a_layer_is_told_with_the_file_and_what_was_wanted_of_it(tmp_path):
    """A table without a geometry, and a file that breaks off behind its head."""
    table, broken = tmp_path / "table.parquet", tmp_path / "broken.parquet"
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(None), table)
    with pytest.raises(UnreadableInput, match=r"table\.parquet cannot be read as a vector layer: it has no b'geo'"):
        open_features(str(table))
    frame = geopandas.GeoDataFrame({"name": ["a"] * 500}, geometry=[shapely.box(0, 0, 1, 1)] * 500, crs=UTM)
    frame.to_parquet(broken)
    content = bytearray(broken.read_bytes())
    content[4:200] = bytes(196)
    broken.write_bytes(content)
    features = open_features(str(broken))
    with pytest.raises(UnreadableInput, match=r"broken\.parquet cannot be read as a vector layer: "):
        list(features.batches())

import json
import sqlite3
from contextlib import closing, nullcontext
from xml.etree import ElementTree

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from affine import Affine
from pyproj import CRS

from geochange.errors import BadOption, OutputInTheWay
from geochange.polygons import export
from geochange.polygons.export import LAYER_WRITERS, FeatureLayer, write_features, writer_of
from geochange.polygons.features import SCHEMA, ChangeLayer, feature_batches
from geochange.scenes.grid import Grid
from tests.region_cases import Map, trace_whole, write_layer

SHAPE = 12, 15
UTM = Grid(CRS("EPSG:26914"), Affine(5, 0, 500_000, 0, -5, 5_200_000), SHAPE)
PLAIN = Grid(None, Affine(1, 0, 0, 0, -1, 0), SHAPE)
FIELDS = [name for name in SCHEMA.names if name != "geometry"]
suffixes = pytest.mark.parametrize("suffix", LAYER_WRITERS)


@pytest.fixture(scope="module")
def regions():
    random = np.random.default_rng(3)
    classes = (random.random(SHAPE) < 0.6).astype(np.uint8)
    return trace_whole(Map(classes, random.integers(0, 255, SHAPE), np.ones(SHAPE, bool)))


@pytest.fixture(scope="module")
def multipart():
    classes = (np.indices(SHAPE).sum(axis=0) % 2).astype(np.uint8)
    return trace_whole(Map(classes, classes.astype(np.int64), np.ones(SHAPE, bool)), connectivity=8)


def read(path):
    if path.suffix == ".parquet":
        return geopandas.read_parquet(path)
    return pyogrio.read_dataframe(path, layer="changes").sort_values("id", ignore_index=True)


@suffixes
def test_features_come_back_with_their_attributes_and_valid_polygons(regions, tmp_path, suffix):
    path = tmp_path / f"changes{suffix}"
    chunks = [regions.where([index]) for index in range(len(regions))]

    write_layer(path, chunks, ChangeLayer(grid=UTM, date_before="2009-07-01"))

    frame = read(path)
    assert [*frame.columns] == [*FIELDS, "geometry"]
    assert frame["area_px"].tolist() == regions.counts.area_px.tolist()
    assert frame["area_m2"].tolist() == (regions.counts.area_px * 25.0).tolist()
    assert frame["id"].tolist() == list(range(1, len(regions) + 1))
    assert frame.geometry.is_valid.all()
    assert set(frame.geom_type) == {"Polygon"}


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
@pytest.mark.parametrize("grid", [UTM, PLAIN], ids=["utm", "plain"])
def test_pixels_drawn_from_the_file_are_those_of_the_regions(regions, tmp_path, suffix, grid):
    path = tmp_path / f"changes{suffix}"

    write_layer(path, [regions], ChangeLayer(grid=grid))

    frame = read(path)
    assert frame.crs == grid.crs
    back = ~grid.transform if grid.crs else Affine.scale(1, -1)
    pixels = frame.geometry.affine_transform([back.a, back.b, back.d, back.e, back.c, back.f])
    assert shapely.equals(pixels.to_numpy(), regions.polygons).all()


@suffixes
def test_multipolygons_are_written_as_such(multipart, tmp_path, suffix):
    path = tmp_path / f"changes{suffix}"

    write_layer(path, [multipart], ChangeLayer(grid=UTM, multipart=True))

    assert set(read(path).geom_type) == {"MultiPolygon"}


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_layer_without_features_has_its_fields_and_crs(tmp_path, suffix):
    path = tmp_path / f"changes{suffix}"

    write_layer(path, [], ChangeLayer(grid=UTM))

    frame = read(path)
    assert len(frame) == 0
    assert [*frame.columns] == [*FIELDS, "geometry"]
    assert frame.crs == UTM.crs


def test_geojson_without_features_is_an_empty_collection(tmp_path):
    path = tmp_path / "changes.geojson"

    write_layer(path, [], ChangeLayer(grid=UTM))

    content = json.loads(path.read_text())
    assert content["type"] == "FeatureCollection"
    assert content["features"] == []


def test_geojson_is_right_handed_wgs84(regions, tmp_path):
    path = tmp_path / "changes.geojson"

    write_layer(path, [regions], ChangeLayer(grid=UTM))

    content = json.loads(path.read_text())
    assert "crs" not in content
    frame = read(path)
    assert all(
        polygon.exterior.is_ccw and not any(hole.is_ccw for hole in polygon.interiors) for polygon in frame.geometry
    )
    expected = (
        geopandas.GeoSeries(regions.polygons).affine_transform([5, 0, 0, -5, 500_000, 5_200_000]).set_crs(UTM.crs)
    )
    assert shapely.hausdorff_distance(frame.geometry, expected.to_crs(4326)).max() < 2e-8


def test_geojson_without_a_crs_holds_pixels(regions, tmp_path):
    path = tmp_path / "changes.geojson"

    write_layer(path, [regions], ChangeLayer(grid=PLAIN))

    features = json.loads(path.read_text())["features"]
    corners = np.array(features[0]["geometry"]["coordinates"][0])
    assert corners[:, 0].min() == regions.first[0, 1]
    assert corners[:, 1].max() == -regions.first[0, 0]
    assert features[0]["properties"]["area_m2"] is None


def test_geojson_bytes_do_not_depend_on_chunks(regions, tmp_path):
    layer = ChangeLayer(grid=UTM)
    write_layer(tmp_path / "whole.geojson", [regions], layer)
    write_layer(tmp_path / "cut.geojson", [regions.where([index]) for index in range(len(regions))], layer)

    assert (tmp_path / "whole.geojson").read_bytes() == (tmp_path / "cut.geojson").read_bytes()


@pytest.mark.parametrize(
    ("labels", "renderer"), [(("change",), "graduatedSymbol"), (("a & b", "c"), "categorizedSymbol")]
)
def test_geopackage_holds_a_default_style_that_names_every_class(regions, tmp_path, labels, renderer):
    path = tmp_path / "changes.gpkg"

    write_layer(path, [regions], ChangeLayer(grid=UTM, labels=labels))

    with closing(sqlite3.connect(path)) as database:
        (style,) = database.execute("SELECT f_table_name, f_geometry_column, useAsDefault, styleQML FROM layer_styles")
        (kind,) = database.execute("SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'")
    assert style[:3] == ("changes", "geom", 1)
    assert kind == ("attributes",)
    found = ElementTree.fromstring(style[3]).find("renderer-v2")
    assert found.get("type") == renderer
    symbols = {symbol.get("name") for symbol in found.iter("symbol")}
    assert {entry.get("symbol") for entry in [*found.iter("range"), *found.iter("category")]} == symbols
    if len(labels) > 1:
        assert [category.get("value") for category in found.iter("category")] == list(labels)


def test_geopackage_is_version_1_3_with_a_spatial_index(regions, tmp_path):
    path = tmp_path / "changes.gpkg"

    write_layer(path, [regions], ChangeLayer(grid=UTM))

    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (10300,)
        assert database.execute("SELECT count(*) FROM rtree_changes_geom").fetchone() == (len(regions),)


@suffixes
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ZeroDivisionError])
def test_interrupted_write_leaves_the_old_file_and_nothing_else(regions, tmp_path, suffix, interruption):
    path = tmp_path / f"changes{suffix}"
    path.write_text("old")

    def chunks():
        yield regions
        raise interruption

    with pytest.raises(interruption):
        write_layer(path, chunks(), ChangeLayer(grid=UTM))

    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"


@suffixes
def test_file_is_replaced(regions, tmp_path, suffix):
    path = tmp_path / f"changes{suffix}"
    path.write_text("old")

    write_layer(path, [regions], ChangeLayer(grid=UTM))

    assert len(read(path)) == len(regions)


@suffixes
def test_missing_folder_is_named(regions, tmp_path, suffix):
    path = tmp_path / "nowhere" / f"changes{suffix}"

    with pytest.raises(OutputInTheWay, match="nowhere"):
        write_layer(path, [regions], ChangeLayer(grid=UTM))


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(BadOption, match=r"\.gpkg, \.geojson, \.fgb, \.parquet"):
        write_layer(tmp_path / "changes.shp", [], ChangeLayer(grid=UTM))


@pytest.mark.parametrize("suffix", LAYER_WRITERS)
def test_a_suffix_in_capitals_names_the_same_format(tmp_path, suffix):
    assert writer_of(tmp_path / f"changes{suffix.upper()}") is writer_of(tmp_path / f"changes{suffix}")


def test_geoparquet_is_compressed_and_gathers_batches_in_row_groups(regions, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "ROW_GROUP", 2)
    path = tmp_path / "changes.parquet"

    write_layer(path, [regions.where([k]) for k in range(3)], ChangeLayer(grid=UTM))

    groups = [pq.ParquetFile(path).metadata.row_group(i) for i in range(2)]
    assert [group.num_rows for group in groups] == [2, 1]
    assert {group.column(i).compression for group in groups for i in range(group.num_columns)} == {"ZSTD"}
    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    assert geo["columns"]["geometry"]["geometry_types"] == ["Polygon"]
    assert geo["columns"]["geometry"]["orientation"] == "counterclockwise"


def test_geoparquet_names_the_kind_of_geometry_that_it_holds(multipart, tmp_path):
    path = tmp_path / "changes.parquet"

    write_layer(path, [multipart], ChangeLayer(grid=UTM, multipart=True))

    geo = json.loads(pq.read_schema(path).metadata[b"geo"])
    assert geo["columns"]["geometry"]["geometry_types"] == ["MultiPolygon"]


@pytest.mark.parametrize("failure", [None, ZeroDivisionError])
def test_the_index_of_a_geopackage_is_built_in_little_memory_and_gdal_gets_its_own_limit_back(
    regions, tmp_path, failure
):
    option, limits = "OGR_GPKG_MAX_RAM_USAGE_RTREE", []

    def chunks():
        limits.append(pyogrio.get_gdal_config_option(option))
        yield regions
        if failure:
            raise failure

    with pytest.raises(failure) if failure else nullcontext():
        write_layer(tmp_path / "changes.gpkg", chunks(), ChangeLayer(grid=UTM))

    assert limits == [pytest.approx(16e6, rel=0.05)]
    assert pyogrio.get_gdal_config_option(option) is None


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
def test_a_layer_has_the_name_that_it_is_given(regions, tmp_path, suffix):
    path = tmp_path / f"found{suffix}"
    layer = FeatureLayer(schema=SCHEMA, crs=UTM.crs, style="<qgis/>", name="transitions")

    write_features(path, feature_batches([regions], ChangeLayer(grid=UTM)), layer)

    frame = pyogrio.read_dataframe(path, layer="transitions")
    assert sorted(frame["id"]) == list(range(1, len(regions) + 1))
    names = [name for name, kind in pyogrio.list_layers(path) if kind]
    assert names == ["transitions"]
    if suffix == ".gpkg":
        with closing(sqlite3.connect(path)) as database:
            styles = database.execute("SELECT f_table_name, f_geometry_column, styleQML FROM layer_styles").fetchall()
        assert styles == [("transitions", "geom", "<qgis/>")]

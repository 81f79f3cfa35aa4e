"""Layers in files of all kinds and names: what is a layer, which one is meant, and where it is read and written."""

import os
import sqlite3
import string
import struct
import warnings
import zipfile
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas
import numpy as np
import pandas
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geochange.errors import BadOption, GridMismatch, UnreadableInput
from geochange.files import require_writable
from geochange.polygons.export import LAYER_WRITERS
from geochange.polygons.features import ChangeLayer
from geochange.scenes.feature_files import open_features
from geochange.scenes.grid import Grid
from geochange.scenes.layer_files import is_layer
from geochange.scenes.layers import open_layer
from tests.region_cases import Map, trace_whole, write_layer
from tests.stand_ins import UTM, write_raster

SQUARE = shapely.box(500_000, 5_000_000, 500_100, 5_000_100)
CRS = geopandas.GeoSeries([], crs=UTM).crs
FORMATS = {
    "x.gdb": "OpenFileGDB",
    "x.tab": "MapInfo File",
    "x.mif": "MapInfo File",
    "x.shp": "ESRI Shapefile",
    "x.shz": "ESRI Shapefile",
    "x.shp.zip": "ESRI Shapefile",
    "x.gpkg.zip": "GPKG",
    "X.GPKG": "GPKG",
    "x.fgb": "FlatGeobuf",
    "x.geojson": "GeoJSON",
    "x.geojsonl": "GeoJSONSeq",
    "x.geojsons": "GeoJSONSeq",
    "x.ndjson": "GeoJSONSeq",
}


def frame_of(*polygons, crs=UTM):
    return geopandas.GeoDataFrame({"name": [str(k) for k in range(len(polygons))]}, geometry=[*polygons], crs=crs)


def write(path, driver, polygon=SQUARE, **options):
    frame = frame_of(polygon)
    frame = frame.to_crs(4326) if driver.startswith("GeoJSON") else frame
    frame.to_file(path, driver=driver, engine="pyogrio", **options)
    return str(path)


def ways_of_reading(name):
    """Polygons of a layer in its own CRS, read whole and in batches."""
    ((_, polygons),) = open_features(name).batches()
    return open_layer(name).frame.geometry.to_numpy(), polygons


def assert_square(name):
    crs = open_layer(name).frame.crs
    for polygons in ways_of_reading(name):
        (found,) = geopandas.GeoSeries(polygons, crs=crs).to_crs(CRS)
        assert shapely.hausdorff_distance(found, SQUARE) < 0.01


@pytest.mark.parametrize(("file", "driver"), FORMATS.items())
def test_layers_of_all_formats_are_read(tmp_path, file, driver):
    name = write(tmp_path / file, driver)
    assert is_layer(name)
    assert_square(name)


def test_a_folder_that_is_a_layer_may_end_in_a_slash(tmp_path):
    name = f"{write(tmp_path / 'x.gdb', 'OpenFileGDB')}/"
    assert is_layer(name)
    assert_square(name)


@pytest.mark.parametrize("folder", ["", "inner/", "a/b c/"])
def test_a_zipped_shapefile_is_a_layer(tmp_path, folder):
    write(tmp_path / "x.shp", "ESRI Shapefile")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for each in sorted(tmp_path.glob("x.[!z]*")):
            archive.write(each, f"{folder}{each.name}")
        for hidden in ("__MACOSX/._x.shp", "__MACOSX/x.shp", f"{folder}._x.shp", "trash/.old/x.shp", "trash/._x.shp"):
            archive.writestr(hidden, b"")
        archive.writestr(f"{folder}readme.json", "{}")
    assert is_layer(str(tmp_path / "x.zip"))
    assert_square(str(tmp_path / "x.zip"))
    assert_square(f"/vsizip/{tmp_path}/x.zip/{folder}x.shp")


def test_suffixes_in_an_archive_may_be_in_capitals(tmp_path):
    write(tmp_path / "x.shp", "ESRI Shapefile")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for each in sorted(tmp_path.glob("x.[!z]*")):
            archive.write(each, each.name.upper())
    assert is_layer(str(tmp_path / "x.zip"))
    assert_square(str(tmp_path / "x.zip"))


def test_an_archive_of_several_layers_is_refused_with_their_names(tmp_path):
    for stem in ("one", "two"):
        write(tmp_path / f"{stem}.shp", "ESRI Shapefile")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for each in [*tmp_path.glob("one.*"), *tmp_path.glob("two.*")]:
            archive.write(each, each.name)
    with pytest.raises(UnreadableInput, match=r"several layers, one.shp, two.shp; .*/vsizip/.*/x.zip/one.shp"):
        open_layer(str(tmp_path / "x.zip"))
    assert_square(f"/vsizip/{tmp_path / 'x.zip'}/two.shp")
    assert_square(f"{tmp_path / 'x.zip'}|layername=two")


def test_an_archive_without_a_layer_is_none(tmp_path):
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=2, height=2, count=1, dtype="uint8") as file:
        file.write(np.ones((1, 2, 2), np.uint8))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "a.tif", "a.tif")
        archive.writestr("metadata.json", "{}")
    (tmp_path / "broken.zip").write_text("no archive")
    for name in (tmp_path / "x.zip", f"/vsizip/{tmp_path}/x.zip", tmp_path / "broken.zip", tmp_path / "missing.zip"):
        assert not is_layer(str(name))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("http://host/x.geojson?a=b.tif", True),
        ("/vsicurl/https://host/x.gpkg", True),
        ("/vsicurl?max_retry=3&url=https%3A%2F%2Fhost%2Fx.gpkg", True),
        ("zip://a.zip!x.shp", True),
        ("x.zip.d/y.tif", False),
        ("https://host/x.tif?name=x.gpkg", False),
        ("x.gpkg.tif", False),
        ("odd|layername=name", True),
    ],
)
def test_what_ends_as_a_layer_is_one(name, expected):
    assert is_layer(name) is expected


def packaged(path, *, first="study_area", second="changes"):
    """A GeoPackage as QGIS writes it: two layers of polygons, points, and styles."""
    frame_of(SQUARE.buffer(1000)).to_file(path, layer=first)
    if second:
        frame_of(SQUARE).to_file(path, layer=second)
    frame_of(SQUARE.centroid).to_file(path, layer="places")
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("create table layer_styles (id integer primary key, styleQML text)")
        database.execute("insert into gpkg_contents (table_name, data_type) values ('layer_styles', 'attributes')")
    return str(path)


def test_of_several_layers_one_is_named_as_qgis_names_it(tmp_path):
    name = packaged(tmp_path / "project.gpkg")
    for read in (open_layer, open_features):
        with pytest.raises(UnreadableInput, match=r"study_area, changes; .*project.gpkg\|layername=changes"):
            read(name)
        with pytest.raises(UnreadableInput, match="no layer 'other'; it has study_area, changes, places, layer_styles"):
            read(f"{name}|layername=other")
        with pytest.raises(UnreadableInput, match="no geometries"):
            read(f"{name}|layername=layer_styles")
        with pytest.raises(BadOption, match="save what it selects"):
            read(f"{name}|layername=changes|subset=name = 0")
    assert_square(f"{name}|layername=changes")
    with pytest.raises(UnreadableInput, match="holds Point; polygons are needed"):
        open_layer(f"{name}|layername=places")


def test_the_only_layer_of_polygons_is_chosen(tmp_path):
    path = tmp_path / "project.gpkg"
    frame_of(SQUARE.centroid).to_file(path, layer="places")
    frame_of(SQUARE).to_file(path, layer="changes")
    assert_square(str(path))


def test_a_table_without_geometries_is_no_layer(tmp_path):
    import pyogrio

    pyogrio.write_dataframe(pandas.DataFrame({"a": [1]}), tmp_path / "table.gpkg")
    for read in (open_layer, open_features):
        with pytest.raises(UnreadableInput, match=r"table.gpkg holds no geometries, only table"):
            read(str(tmp_path / "table.gpkg"))


def test_a_file_whose_name_has_a_bar_is_read(tmp_path):
    (tmp_path / "a|layername=b").mkdir()
    assert_square(write(tmp_path / "a|layername=b" / "x.gpkg", "GPKG"))
    assert_square(write(tmp_path / "a|layername=b.gpkg", "GPKG"))


def test_the_file_of_a_named_layer_is_an_input(tmp_path):
    path = tmp_path / "x.gpkg"
    write(path, "GPKG")
    with pytest.raises(OSError, match="is an input"):
        require_writable([path], overwrite=True, inputs=[f"{path}|layername=x"])


ODD_LETTERS = string.ascii_letters + "!#?%|;&=:+ '\"{}[]()~$@,\n\tä\udcff.zip"
ODD = st.text(st.sampled_from(ODD_LETTERS), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(folder=ODD, stem=ODD, suffix=st.sampled_from([".gpkg", ".shp", ".fgb", ".geojson", ".parquet"]))
def test_odd_names_are_read_and_written_where_they_are(folder, stem, suffix):
    assume({folder, f"{stem}{suffix}"}.isdisjoint({".", ".."}))
    classes = np.zeros((4, 4), np.uint8)
    classes[1:3, 1:3] = 1
    regions = trace_whole(Map(classes, classes, np.ones((4, 4), bool)))
    grid = Grid(CRS, Affine(100, 0, 499_900, 0, -100, 5_000_200), (4, 4))
    with TemporaryDirectory() as place:
        path = Path(place) / folder / f"{stem}{suffix}"
        path.parent.mkdir()
        if suffix in LAYER_WRITERS:
            write_layer(path, [regions], ChangeLayer(grid=grid))
        else:
            write(Path(place) / "plain.shp", "ESRI Shapefile")
            for each in Path(place).glob("plain.*"):
                os.rename(each, path.with_name(f"{stem}{each.suffix}"))
        everything = {each for each in Path(place).rglob("*") if each.is_file()}
        assert path in everything
        assert {each.parent for each in everything} == {path.parent}
        whole, batched = ways_of_reading(os.fspath(path))
        assert len(whole) == len(batched) == 1
        assert {each for each in Path(place).rglob("*") if each.is_file()} == everything


def curved(path, radius):
    """A GeoPackage with one circle as a CURVEPOLYGON of two arcs."""
    x, y = 500_000, 5_000_000
    frame_of(shapely.Point(x, y).buffer(radius)).to_file(path, layer="truth", engine="pyogrio")
    corners = [(x - radius, y), (x, y + radius), (x + radius, y), (x, y - radius), (x - radius, y)]
    arc = struct.pack("<BII", 1, 8, 5) + b"".join(struct.pack("<dd", *corner) for corner in corners)
    head = b"GP" + bytes([0, 1]) + struct.pack("<i", int(UTM.split(":")[1]))
    with closing(sqlite3.connect(path)) as database, database:
        for (name,) in database.execute("select name from sqlite_master where type='trigger'").fetchall():
            database.execute(f'drop trigger "{name}"')
        database.execute("update truth set geom=?", (head + struct.pack("<BII", 1, 10, 1) + arc,))
        database.execute("update gpkg_geometry_columns set geometry_type_name='CURVEPOLYGON'")
    return str(path)


@pytest.mark.parametrize("step", ["30", "10"])
def test_curves_are_cut_as_finely_as_gdal_is_told(tmp_path, step):
    name, option = curved(tmp_path / "circle.gpkg", 1000), "OGR_ARC_STEPSIZE"
    pyogrio.set_gdal_config_options({option: step})
    try:
        with warnings.catch_warnings(action="ignore"):  # GDAL's, of the column's type
            found, expected = ways_of_reading(name), pyogrio.read_dataframe(name).geometry.to_numpy()
        assert str(pyogrio.get_gdal_config_option(option)) == step
    finally:
        pyogrio.set_gdal_config_options({option: None})
    assert all(shapely.equals_exact(*map(shapely.normalize, (each, expected)), tolerance=1e-6).all() for each in found)


@pytest.mark.parametrize("polygons", [SQUARE, shapely.MultiPolygon([SQUARE]), shapely.force_3d(SQUARE)])
def test_of_several_layers_the_one_that_may_hold_polygons_is_read(tmp_path, polygons):
    path = tmp_path / "x.gpkg"
    for name, geometry in (
        ("a_points", SQUARE.centroid),
        ("middle", polygons),
        ("z_lines", shapely.LineString(SQUARE.exterior)),
    ):
        frame_of(geometry).to_file(path, layer=name, engine="pyogrio")
    assert shapely.area(open_layer(str(path)).frame.geometry).sum() == pytest.approx(SQUARE.area)


def test_a_table_that_is_named_has_no_geometries_though_a_layer_lies_beside_it(tmp_path):
    path = write(tmp_path / "x.gpkg", "GPKG", layer="drawn")
    pyogrio.write_dataframe(pandas.DataFrame({"a": [1]}), path, layer="table", driver="GPKG")
    assert_square(path)
    with pytest.raises(UnreadableInput, match=r"x.gpkg\|layername=table holds no geometries"):
        open_layer(f"{path}|layername=table")


def test_curves_are_cut_into_segments_that_lie_within_a_tenth_of_a_pixel(tmp_path):
    radius = 10_000
    name = curved(tmp_path / "circle.gpkg", radius)
    with warnings.catch_warnings(action="ignore"):  # GDAL's, of the column's type
        found = ways_of_reading(name)
    for (polygon,) in found:
        assert shapely.distance(polygon.exterior, shapely.Point(500_000, 5_000_000)) > radius - 0.1
        assert polygon.area == pytest.approx(np.pi * radius**2, rel=1e-4)


BAD = {
    "nan": '{"type":"Polygon","coordinates":[[[0,0],[1,0],[NaN,1],[0,0]]]}',
    "open": '{"type":"Polygon","coordinates":[[[0,0],[1,0]]]}',
    "collection": '{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[0,0]}]}',
    "point": '{"type":"Point","coordinates":[0,0]}',
    "deep": "[" * 100_000,
    "list": "[1, 2]",
    "text": "no layer",
    "binary": "\x00\x01\x02",
}


@pytest.mark.parametrize("kind", BAD)
def test_broken_geometries_are_one_line_with_the_files_name(tmp_path, kind):
    path = tmp_path / "bad.geojson"
    feature = f'{{"type":"Feature","properties":{{}},"geometry":{BAD[kind]}}}'
    path.write_text(f'{{"type":"FeatureCollection","features":[{feature}]}}' if BAD[kind][0] == "{" else BAD[kind])
    for read in (open_layer, lambda name: list(open_features(name).batches())):
        with pytest.raises(UnreadableInput, match=r"bad.geojson") as caught, warnings.catch_warnings(action="ignore"):
            read(str(path))
        assert len(str(caught.value).splitlines()) == 1


def test_coordinates_that_are_nowhere_are_refused(tmp_path):
    endless = shapely.Polygon([(0, 0), (1, 0), (1, np.inf), (0, 0)])
    geopandas.GeoDataFrame(geometry=[endless], crs=4326).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UnreadableInput, match="not finite"):
        open_layer(str(tmp_path / "x.parquet"))
    far = shapely.Polygon([(0, 0), (1e30, 0), (1e30, 1e30), (0, 0)])
    geopandas.GeoDataFrame(geometry=[far], crs=4326).to_file(tmp_path / "far.gpkg")
    with pytest.raises(GridMismatch, match=r"far.gpkg reaches beyond where EPSG:4326 can be brought to"):
        open_layer(str(tmp_path / "far.gpkg")).polygons(Grid(CRS, Affine.identity(), (1, 1)))


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(sorted({".parquet", *FORMATS} - {"x.gdb"})))
def test_garbage_is_refused_whatever_it_is_called(content, file):
    with TemporaryDirectory() as place, warnings.catch_warnings(action="ignore"):
        path = Path(place) / (f"x{file}" if file.startswith(".") else file)
        path.write_bytes(content)
        for read in (open_layer, lambda name: list(open_features(name).batches())):
            with pytest.raises(UnreadableInput) as caught:
                read(str(path))
            assert path.name in str(caught.value)


def test_an_archive_elsewhere_of_rasters_and_tables_is_no_layer(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.ones((1, 2, 2), np.uint8))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(path, "a.tif")
        for name in ("scenes.csv", "bands.csv"):
            archive.writestr(name, "name,cloud\na,1\n")
    for name in (tmp_path / "x.zip", f"/vsizip/{tmp_path}/x.zip"):
        assert not is_layer(str(name))


def test_curves_of_any_batch_stay_with_their_features(tmp_path):
    path = tmp_path / "circles.gpkg"
    geopandas.GeoSeries(shapely.points(np.zeros(7), 0).tolist(), crs=UTM).buffer(1).to_file(path, layer="circles")
    with closing(sqlite3.connect(path)) as database:
        for (trigger,) in database.execute("select name from sqlite_master where type='trigger'").fetchall():
            database.execute(f'drop trigger "{trigger}"')
        for k in range(7):
            arc = [(10 * k + 1, 0), (10 * k, 1), (10 * k - 1, 0), (10 * k, -1), (10 * k + 1, 0)]
            ring = struct.pack("<BII", 1, 8, 5) + b"".join(struct.pack("<2d", *point) for point in arc)
            blob = b"GP\x00\x01" + struct.pack("<I", 32633) + struct.pack("<BII", 1, 10, 1) + ring
            database.execute("update circles set geom=? where fid=?", (blob, k + 1))
        database.execute("update gpkg_geometry_columns set geometry_type_name='CURVEPOLYGON'")
        database.commit()
    with warnings.catch_warnings(action="ignore"):  # GDAL's, of the column's type
        found = np.concatenate([polygons for _, polygons in open_features(str(path)).batches(2)])
    np.testing.assert_allclose(shapely.get_x(shapely.centroid(found)), 10 * np.arange(7), atol=1e-3)


def test_a_zipped_geodatabase_is_a_layer_and_of_several_one_is_chosen(tmp_path):
    for stem in ("one", "Two"):
        write(tmp_path / f"{stem}.gdb", "OpenFileGDB")
    for name, stems in (("x.zip", ("one",)), ("several.zip", ("one", "Two"))):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for each in (each for stem in stems for each in sorted((tmp_path / f"{stem}.gdb").iterdir())):
                archive.write(each, f"a/{each.relative_to(tmp_path)}")
            archive.writestr(f"a/{stems[0]}.gdb/inner.gml", "part of the geodatabase")
    assert is_layer(str(tmp_path / "x.zip"))
    assert_square(str(tmp_path / "x.zip"))
    with pytest.raises(UnreadableInput, match=r"several layers, a/Two.gdb, a/one.gdb; .*/several.zip/a/Two.gdb$"):
        open_layer(str(tmp_path / "several.zip"))
    assert_square(f"/vsizip/{tmp_path / 'several.zip'}/a/one.gdb")


def test_of_several_layers_without_polygons_none_is_offered(tmp_path):
    for layer in ("places", "wells"):
        frame_of(SQUARE.centroid).to_file(tmp_path / "points.gpkg", layer=layer)
    for read in (open_layer, lambda name: list(open_features(name).batches())):
        with pytest.raises(UnreadableInput, match="holds Point; polygons are needed"):
            read(str(tmp_path / "points.gpkg"))


def test_geoparquet_that_is_no_local_file_or_of_a_named_layer_is_refused_with_the_way_out(tmp_path):
    frame_of(SQUARE).to_parquet(tmp_path / "x.parquet")
    assert_square(str(tmp_path / "x.parquet"))
    for name in (f"{tmp_path}/x.parquet|layername=x", f"/vsizip/{tmp_path}/a.zip/x.parquet", "s3://host/x.parquet"):
        for read in (open_layer, open_features):
            with pytest.raises(UnreadableInput, match=r"x\.parquet.*: GeoParquet is read from local files.*file alone"):
                read(name)
    with pytest.raises(UnreadableInput, match=r"y\.parquet does not exist"):
        open_layer(str(tmp_path / "y.parquet"))


@pytest.mark.parametrize("table", ["a_table.dbf", "z_table.dbf"])
def test_an_archive_elsewhere_of_a_layer_and_a_table_is_a_layer(tmp_path, table):
    write(tmp_path / "x.shp", "ESRI Shapefile")
    pyogrio.write_dataframe(pandas.DataFrame({"a": [1]}), tmp_path / table, driver="ESRI Shapefile")
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as both, zipfile.ZipFile(tmp_path / "table.zip", "w") as alone:
        for each in sorted(tmp_path.glob("x.*")):
            both.write(each, each.name)
        for archive in (both, alone):
            archive.write(tmp_path / table, table)
    assert is_layer(f"/vsizip/{tmp_path}/both.zip")
    assert_square(f"/vsizip/{tmp_path}/both.zip")
    assert not is_layer(f"/vsizip/{tmp_path}/table.zip")

"""Changes between two layers of land cover, from files to files, and on to training."""

import csv
import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.warp import transform

import geochange
from geochange.datasets.collection import open_collection
from geochange.datasets.labels import read_labels
from geochange.datasets.options import CollectionOptions
from geochange.errors import BadOption, GridMismatch, NothingValid
from geochange.pipeline.options import FromToOptions
from geochange.scenes.grid import Tile
from geochange.scenes.scene import open_file
from tests.commands import refused
from tests.stand_ins import PLACE, UTM, textured, write_raster

SIZE = 120  # metres, at the upper left corner of PLACE
SHAPE = (SIZE // 2, SIZE // 2)


def box(left, top, right, bottom):
    """In metres from the corner, downwards."""
    return shapely.box(PLACE.c + left, PLACE.f - bottom, PLACE.c + right, PLACE.f - top)


BEFORE = {"wood, old": [(0, 0, 60, 120)], "grass": [(60, 0, 120, 120)]}
AFTER = {"wood, old": [(0, 0, 60, 40)], "grass": [(0, 40, 60, 120), (60, 60, 120, 120)], "town": [(60, 0, 120, 60)]}
NAMES = ["grass_to_town", "wood_old_to_grass"]


def layer(path, places, crs=UTM, column="cover"):
    rows = [(name, box(*place)) for name, own in places.items() for place in own]
    frame = geopandas.GeoDataFrame({column: [row[0] for row in rows]}, geometry=[row[1] for row in rows], crs=UTM)
    frame.to_crs(crs).to_file(path)
    return str(path)


@pytest.fixture
def pair(tmp_path):
    return layer(tmp_path / "2000.gpkg", BEFORE), layer(tmp_path / "2020.gpkg", AFTER)


@pytest.fixture
def image(tmp_path):
    return write_raster(tmp_path / "image.tif", textured(SHAPE))


def read(path):
    layers = {".gpkg": {"layer": "changes"}}
    of_suffix = layers.get(path.suffix, {})
    frame = geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path, **of_suffix)
    return frame.sort_values("id", ignore_index=True)


def options(**settings):
    return FromToOptions(**{"label_column": "cover", **settings})


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet"])
def test_changes_are_written_with_what_they_were_and_are(pair, tmp_path, suffix):
    out = tmp_path / f"changes{suffix}"
    found = geochange.from_to(*pair, out, options())
    frame = read(out)
    assert frame["change"].tolist() == NAMES
    assert frame["from"].tolist() == ["grass", "wood, old"]
    assert frame["to"].tolist() == ["town", "grass"]
    assert frame["area_m2"].tolist() == pytest.approx([3600, 4800], abs=0.1)
    assert found.square_metres["unchanged"] == pytest.approx(6000)
    assert found.classes == ",".join(NAMES)
    assert found.changes().sort_values("id")["change"].tolist() == NAMES
    if suffix != ".geojson":
        assert frame.crs == UTM


def test_a_layer_in_another_crs_is_brought_to_the_first(pair, tmp_path):
    other = layer(tmp_path / "degrees.gpkg", AFTER, crs=4326)
    found = geochange.from_to(pair[0], other, tmp_path / "changes.gpkg", options(tolerance=0.1))
    assert [change.area_m2 for change in found.transitions] == pytest.approx([3600, 4800], abs=1)


def test_layers_in_degrees_are_measured_in_metres(tmp_path):
    degrees = [
        layer(tmp_path / f"{i}.gpkg", places, crs=4326)
        for i, places in enumerate(
            (BEFORE, AFTER | {"grass": [(1, 40, 60, 120), (60, 60, 120, 120)], "pond": [(0, 40, 1, 120)]})
        )
    ]
    found = geochange.from_to(*degrees, tmp_path / "changes.gpkg", options(tolerance=2))
    assert [change.name for change in found.transitions] == NAMES
    assert [change.area_m2 for change in found.transitions] == pytest.approx([3600, 4720], rel=2e-3)
    assert found.square_metres["dropped"] == pytest.approx(80, rel=0.01)


def test_labels_have_a_number_for_each_change(pair, image, tmp_path):
    out = tmp_path / "labels.tif"
    geochange.from_to(*pair, out, options(grid=image))
    with rasterio.open(out) as dataset:
        assert dataset.transform == PLACE
        assert dataset.nodata == 255
        labels = dataset.read(1)
    expected = np.zeros(SHAPE, np.uint8)
    expected[:30, 30:], expected[20:, :30] = 1, 2
    np.testing.assert_array_equal(labels, expected)
    with (tmp_path / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["value"], row["name"], row["from"], row["pixels"]) for row in rows] == [
        ("0", "unchanged", "", "1500"),
        ("1", NAMES[0], "grass", "900"),
        ("2", NAMES[1], "wood, old", "1200"),
        ("255", "not labelled", "", "0"),
    ]


def test_where_one_layer_ends_or_a_change_was_too_small_nothing_is_labelled(image, tmp_path):
    before = layer(tmp_path / "0.gpkg", {"grass": [(0, 0, 100, 120)]})
    after = layer(
        tmp_path / "1.gpkg", {"grass": [(0, 0, 120, 100)], "shed": [(20, 102, 24, 106)], "town": [(50, 100, 100, 120)]}
    )
    geochange.from_to(before, after, tmp_path / "l.tif", options(min_area="50m2", grid=image))
    with rasterio.open(tmp_path / "l.tif") as dataset:
        labels = dataset.read(1)
    expected = np.full(SHAPE, 255, np.uint8)
    expected[:50, :50], expected[50:60, 25:50] = 0, 1
    np.testing.assert_array_equal(labels, expected)
    named = options(missing="nothing", grid=image)
    found = geochange.from_to(before, after, tmp_path / "n.tif", named)
    with pytest.raises(BadOption, match="holds labels; name a layer too"):
        found.changes()
    assert {change.name for change in found.transitions} == {
        "grass_to_nothing",
        "nothing_to_grass",
        "grass_to_shed",
        "grass_to_town",
    }


def test_the_smallest_change_may_be_given_in_pixels_of_the_grid(pair, image, tmp_path):
    pixel = 4.0  # square metres
    for least, kept in ((f"{3600 / pixel:g}px", NAMES), (f"{3600 / pixel + 1:g}px", NAMES[1:])):
        found = geochange.from_to(*pair, tmp_path / f"{least}.gpkg", options(min_area=least, grid=image))
        assert [each.name for each in found.transitions] == kept


@pytest.mark.parametrize("settings", [{"min_area": -1}, {"min_area": "4px"}, {"tolerance": -1}, {"tolerance": np.nan}])
def test_bad_options_are_refused(settings):
    with pytest.raises(BadOption, match=r"^(min-area|tolerance) .*(pixels|metres)"):
        options(**settings)


def test_labels_do_not_depend_on_blocks_nor_on_the_crs_of_the_grid(pair, tmp_path, monkeypatch):
    (left, *_), (*_, top) = transform("EPSG:32633", "EPSG:4326", [PLACE.c, PLACE.c], [PLACE.f, PLACE.f])
    place = Affine(2e-5, 0, left - 1e-4, 0, -2e-5, top + 1e-4)
    grid = write_raster(tmp_path / "grid.tif", np.zeros((1, 90, 110), np.uint8), crs="EPSG:4326", transform=place)
    geochange.from_to(*pair, tmp_path / "a.tif", options(grid=grid))
    monkeypatch.setattr("geochange.pipeline.from_to.LABEL_BLOCK", 32)
    geochange.from_to(*pair, tmp_path / "b.tif", options(grid=grid))
    labels = [open_file(str(tmp_path / f"{name}.tif")).read(Tile(0, 0, 90, 110))[0] for name in "ab"]
    np.testing.assert_array_equal(*labels)
    assert {0, 1, 2, 255} == set(np.unique(labels[0]).tolist())


def test_both_outputs_go_straight_into_training(pair, image, tmp_path):
    outs = tmp_path / "labels.tif", tmp_path / "labels.gpkg"
    found = geochange.from_to(*pair, outs, options(grid=image))
    names = tuple(found.classes.split(","))
    table = tmp_path / "scenes.csv"
    table.write_text("before,after,labels\nimage.tif,image.tif,labels.tif\n")
    sample = open_collection(table, CollectionOptions(classes=names)).read(0)
    assert sorted(np.unique(sample.labels).tolist()) == [0, 1, 2]
    grid = open_file(image).grid
    by_layer = CollectionOptions(classes=names, label_column="change")
    burnt = read_labels(str(outs[1]), grid.area, grid, image, by_layer)
    np.testing.assert_array_equal(burnt, sample.labels)


def test_numbers_are_classes_too_and_polygons_without_one_are_left_out(tmp_path):
    frame = geopandas.GeoDataFrame(
        {"code": [1.0, 2.0, None]}, geometry=[box(0, 0, 60, 60), box(60, 0, 120, 60), box(0, 60, 120, 120)], crs=UTM
    )
    frame.to_file(tmp_path / "0.gpkg")
    other = geopandas.GeoDataFrame({"klass": [2]}, geometry=[box(0, 0, 120, 120)], crs=UTM)
    other.to_file(tmp_path / "1.gpkg")
    found = geochange.from_to(
        tmp_path / "0.gpkg",
        tmp_path / "1.gpkg",
        tmp_path / "c.gpkg",
        options(label_column="code", label_column_after="klass"),
    )
    assert [change.name for change in found.transitions] == ["1_to_2"]
    assert found.left_out == (1, 0)
    assert found.square_metres["unchanged"] == pytest.approx(3600)
    assert found.square_metres["only_after"] == pytest.approx(7200)


def test_layers_that_agree_have_no_changes(pair, image, tmp_path):
    outs = tmp_path / "none.gpkg", tmp_path / "none.tif"
    found = geochange.from_to(pair[0], pair[0], outs, options(grid=image))
    assert found.transitions == ()
    assert len(read(outs[0])) == 0
    with rasterio.open(outs[1]) as dataset:
        assert not dataset.read().any()


@pytest.mark.filterwarnings("ignore:'crs' was not provided")  # that is the point of it
def test_what_cannot_be_overlaid_is_refused(pair, image, tmp_path, run):
    out = tmp_path / "c.gpkg"
    refused(run("from-to", *pair, "-o", out, "--label-column", "klass"), "no column 'klass'", "cover")
    refused(run("from-to", *pair, "-o", tmp_path / "c.tif", "--label-column", "cover"), "--grid")
    refused(run("from-to", *pair, "-o", out, "--label-column", "cover", "--min-area", "100"), "100m2", "--grid")
    refused(run("from-to", *pair, "-o", tmp_path / "c.shp", "--label-column", "cover"), ".gpkg")
    away = layer(tmp_path / "away.gpkg", {"grass": [(500, 0, 560, 50)]})
    with pytest.raises(NothingValid, match="no place in common"):
        geochange.from_to(pair[0], away, out, options())
    geopandas.read_file(pair[0]).set_crs(None, allow_override=True).to_file(tmp_path / "plain.gpkg")
    with pytest.raises(GridMismatch, match="no CRS"):
        geochange.from_to(pair[0], tmp_path / "plain.gpkg", out, options())
    plain = write_raster(tmp_path / "plain.tif", np.zeros((1, 9, 9), np.uint8), crs=None)
    with pytest.raises(GridMismatch):
        geochange.from_to(*pair, tmp_path / "c.tif", options(grid=plain))
    many = {f"class {i}": [(i % 20 * 6, i // 20 * 6, i % 20 * 6 + 6, i // 20 * 6 + 6)] for i in range(300)}
    with pytest.raises(BadOption, match="too many"):
        geochange.from_to(layer(tmp_path / "m.gpkg", many), pair[1], tmp_path / "c.tif", options(grid=image))
    assert not out.exists()
    assert not (tmp_path / "c.tif").exists()


def test_the_command_says_what_became_what(pair, image, tmp_path, run):
    outs = ("-o", tmp_path / "c.gpkg", "-o", tmp_path / "c.tif", "--grid", image)
    code, out, _ = run("from-to", *pair, *outs, "--label-column", "cover", "--json")
    assert code == 0
    answer = json.loads(out)
    assert answer["classes"] == ",".join(NAMES)
    assert answer["unchanged_m2"] == 6000
    code, out, _ = run("from-to", *pair, *outs, "--label-column", "cover", "--min-area", "100m2", "--overwrite")
    assert code == 0
    assert "wood, old" in out
    refused(run("from-to", *pair, *outs, "--label-column", "cover"), "exists")


def test_widths_and_areas_are_those_of_the_ground_in_web_mercator(tmp_path):
    """At 48.7 degrees a Mercator metre is 0.66 m: what is 50 m wide there is 33 m wide."""
    x, y = transform(UTM, "EPSG:3857", [PLACE.c], [PLACE.f])
    squares = [shapely.box(x[0] + left, y[0], x[0] + left + width, y[0] + 400) for left, width in ((0, 50), (500, 200))]
    for name, classes in (("before", ["wood", "wood"]), ("after", ["town", "town"])):
        frame = geopandas.GeoDataFrame({"cover": classes}, geometry=squares, crs="EPSG:3857")
        frame.to_file(tmp_path / f"{name}.gpkg")
    pair = tmp_path / "before.gpkg", tmp_path / "after.gpkg"
    ground = np.sort(geopandas.GeoSeries(squares, crs="EPSG:3857").to_crs(UTM).area)

    every = geochange.from_to(*pair, tmp_path / "every.gpkg", options(tolerance=30))
    wide = geochange.from_to(*pair, tmp_path / "wide.gpkg", options(tolerance=36))
    large = geochange.from_to(*pair, tmp_path / "large.gpkg", options(min_area="10000m2"))

    assert np.sort(read(tmp_path / "every.gpkg")["area_m2"]) == pytest.approx(ground, rel=1e-3)
    assert every.transitions[0].area_m2 == pytest.approx(ground.sum(), rel=1e-3)
    assert [found.transitions[0].polygons for found in (every, wide, large)] == [2, 1, 1]

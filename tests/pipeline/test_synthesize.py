"""`geochange synthesize`: files that train as they are, the same for anyone, and one line for each mistake."""

import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from scipy import ndimage

import geochange
from geochange.arrays import IGNORE
from geochange.datasets.collection import open_collection
from geochange.datasets.options import CHANGE_KINDS, LabelOptions, SynthesizeOptions
from geochange.engine.cluster import ClusterOptions
from geochange.errors import BadOption
from geochange.pipeline.synthesize import synthesize as make
from tests.commands import refused
from tests.stand_ins import PLACE, UTM, textured, write_raster

SHAPE = 300, 420


@pytest.fixture
def image(tmp_path):
    return write_raster(tmp_path / "scene.tif", textured(SHAPE, bands=3, seed=4))


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read()


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.tif")}


def test_the_files_are_on_the_images_grid_and_train_as_they_are(image, tmp_path, run):
    code, out, _ = run("synthesize", image, "-o", tmp_path / "made", "--json")
    assert code == 0
    record = json.loads(out)
    with rasterio.open(image) as source:
        for name in ("A", "B", "label"):
            with rasterio.open(tmp_path / "made" / name / "scene.tif") as dataset:
                assert (dataset.crs, dataset.transform, dataset.shape) == (source.crs, source.transform, SHAPE)
    sample = open_collection(tmp_path / "made").read(0)
    assert sample.labels.shape == SHAPE
    assert {*np.unique(sample.labels)} <= {0, 1, IGNORE}
    assert (sample.labels == 1).any()
    cut = open_collection(tmp_path / "made" / "pairs.csv")
    assert cut.gsd == 2.0
    np.testing.assert_array_equal(cut.read(0).dates[1], sample.dates[1])
    assert record["changes"] == json.loads((tmp_path / "made" / "run.json").read_text())["changes"]


def test_objects_are_boxes_in_map_units_around_the_labels(image, tmp_path):
    made = geochange.synthesize([image], tmp_path / "made", SynthesizeOptions(label_kinds=True))
    objects = geopandas.read_file(made.folder / "objects" / "scene.gpkg")
    labels = read(made.folder / "label" / "scene.tif")[0]
    assert objects.crs == UTM
    assert len(objects) == sum(made.record["changes"].values()) > 10
    for each in objects.itertuples():
        left, bottom, right, top = each.geometry.bounds
        (col, row), (stop_col, stop_row) = ~PLACE @ (left, top), ~PLACE @ (right, bottom)
        part = labels[round(row) : round(stop_row), round(col) : round(stop_col)] == CHANGE_KINDS.index(each.kind) + 1
        regions, count = ndimage.label(part)
        assert count >= 1
        assert max(np.bincount(regions.ravel())[1:]) == each.area_px
        assert (each.rows, each.cols) == part.shape


def test_the_same_for_any_workers_and_other_for_another_seed(image, tmp_path):
    one = make([image], tmp_path / "one", cluster=ClusterOptions(threads=1))
    two = make([image], tmp_path / "two", cluster=ClusterOptions(workers=2))
    other = make([image], tmp_path / "other", SynthesizeOptions(seed=1))
    assert contents(one.folder) == contents(two.folder)
    assert contents(one.folder) != contents(other.folder)


def test_copies_differ_and_are_all_listed(image, tmp_path):
    made = make([image], tmp_path / "made", SynthesizeOptions(copies=3))
    names = sorted(path.stem for path in (made.folder / "B").iterdir())
    assert names == ["scene-1", "scene-2", "scene-3"]
    assert len({*contents(made.folder / "label").values()}) == 3
    assert (made.folder / "pairs.csv").read_text().splitlines()[1] == "A/scene-1.tif,B/scene-1.tif,label/scene-1.tif"


def test_nodata_stays_nodata_and_no_other_pixel_becomes_it(tmp_path):
    values = textured(SHAPE, bands=4, dtype="uint16")
    values[:, 100:150, 200:260] = 0
    path = write_raster(tmp_path / "scene.tif", values, nodata=0)
    made = make([path], tmp_path / "made", SynthesizeOptions(strength=4.0))
    hole = np.zeros(SHAPE, bool)
    hole[100:150, 200:260] = True
    for name in ("A", "B"):
        np.testing.assert_array_equal((read(made.folder / name / "scene.tif") == 0).any(axis=0), hole)
    labels = read(made.folder / "label" / "scene.tif")[0]
    assert (labels[hole] == IGNORE).all()
    assert (labels == 1).any()


def test_floats_without_data_stay_so(tmp_path):
    values = textured(SHAPE, dtype="float32")
    values[:, 100:150, 200:260] = np.nan
    path = write_raster(tmp_path / "scene.tif", values)
    made = make([path], tmp_path / "made")
    for name in ("A", "B"):
        empty = np.isnan(read(made.folder / name / "scene.tif")).any(axis=0)
        assert empty[100:150, 200:260].all()
        assert empty.sum() == 50 * 60


def test_a_nodata_value_that_the_type_cannot_hold_is_refused(image, tmp_path, run):
    for value in ("-1", "300", "1.5"):
        refused(run("synthesize", image, "-o", tmp_path / "made", f"--nodata={value}"), value, "0 to 255")


def test_a_mask_is_kept(tmp_path):
    path = tmp_path / "scene.tif"
    write_raster(path, textured(SHAPE))
    mask = np.full(SHAPE, 255, np.uint8)
    mask[:40] = 0
    with rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    made = make([path], tmp_path / "made")
    with rasterio.open(made.folder / "B" / "scene.tif") as dataset:
        np.testing.assert_array_equal(dataset.dataset_mask(), mask)


def test_plain_pictures_and_folders_of_them_will_do(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("b", "a"):
        Image.fromarray(np.moveaxis(textured((80, 90), seed=ord(name)), 0, -1)).save(tmp_path / "in" / f"{name}.png")
    made = make([tmp_path / "in"], tmp_path / "made", SynthesizeOptions(density=2000))
    assert made.record["images"] == ["a.png", "b.png"]
    collection = open_collection(made.folder)
    assert [item.pair.name for item in collection.items] == ["a", "b"]
    objects = geopandas.read_file(made.folder / "objects" / "a.gpkg")
    assert objects.crs is None
    assert objects.total_bounds[1] < 0  # y is minus the row


def test_classes_are_the_kinds(image, tmp_path):
    made = make([image], tmp_path / "made", SynthesizeOptions(label_kinds=True))
    sample = open_collection(made.folder)
    assert len(sample) == 1
    labels = read(made.folder / "label" / "scene.tif")
    assert {*np.unique(labels)} - {IGNORE} == {0, 1, 2, 3, 4, 5}
    assert LabelOptions(classes=CHANGE_KINDS).classes == CHANGE_KINDS


def test_outlines_are_cut_from_the_image_or_from_another(image, tmp_path):
    other = write_raster(tmp_path / "other.tif", np.full((3, 200, 200), 200, np.uint8))
    corner = [PLACE @ each for each in ((20, 20), (60, 20), (60, 40), (20, 40))]
    layer = tmp_path / "outlines.gpkg"
    geopandas.GeoDataFrame(geometry=[shapely.Polygon(corner)], crs=UTM).to_file(layer)
    options = {
        "outlines": str(layer),
        "effects": (),
        **{"cut": 1.0, "kinds": ("appeared",), "shadows": 0.0, "standing": 0.0, "contrast": (0.01, 50)},
    }
    made = make([image], tmp_path / "made", SynthesizeOptions(**options))
    assert {*geopandas.read_file(made.folder / "objects" / "scene.gpkg").area_px} == {800}
    made = make([image], tmp_path / "foreign", SynthesizeOptions(**options, cut_from=other))
    after, labels = read(made.folder / "B" / "scene.tif"), read(made.folder / "label" / "scene.tif")[0]
    inside = ndimage.binary_erosion(labels == 1, iterations=3)
    assert inside.any()
    assert after[:, inside].std(axis=1).max() < 1  # what is one colour there is one colour here


def test_pictures_are_pasted(image, tmp_path):
    (tmp_path / "pictures").mkdir()
    disc = np.zeros((30, 30, 4), np.uint8)
    disc[10:20, 8:24] = 255, 0, 0, 255
    Image.fromarray(disc).save(tmp_path / "pictures" / "red.png")
    objects = {"cut": 1.0, "kinds": ("vanished",), "shadows": 0.0, "standing": 0.0, "contrast": (0.01, 50)}
    options = SynthesizeOptions(pictures=str(tmp_path / "pictures"), effects=(), **objects)
    made = make([image], tmp_path / "made", options)
    before, labels = read(made.folder / "A" / "scene.tif"), read(made.folder / "label" / "scene.tif")[0]
    assert {*geopandas.read_file(made.folder / "objects" / "scene.gpkg").area_px} == {160}
    assert {*map(tuple, before[:, labels == 1].T.tolist())} == {(255, 0, 0)}


def test_a_real_second_date_is_pasted_into_and_real_changes_are_not_labelled(image, tmp_path, run):
    second = write_raster(tmp_path / "second.tif", textured(SHAPE, bands=3, seed=9))
    mask = np.zeros((1, *SHAPE), np.uint8)
    mask[0, 50:120, 60:200] = 255
    changed = write_raster(tmp_path / "mask.tif", mask)
    options = "--effects", "none", "--after", second, "--changed", changed, "-q"
    assert run("synthesize", image, "-o", tmp_path / "made", *options)[0] == 0
    dates = [read(tmp_path / "made" / letter / "scene.tif").astype(int) for letter in "AB"]
    labels = read(tmp_path / "made" / "label" / "scene.tif")[0]
    assert (labels[mask[0] > 0] == IGNORE).all()
    assert (labels == 1).sum() > 100
    for date, path in zip(dates, (image, second), strict=True):
        same = (date == read(path)).all(axis=0)
        assert same[labels == 0].mean() > 0.9  # but for what stands at both dates, and rims
    objects = geopandas.read_file(tmp_path / "made" / "objects" / "scene.gpkg")
    (left, top), (right, bottom) = (PLACE @ each for each in ((60, 50), (200, 120)))
    assert not objects.geometry.intersects(shapely.box(left, bottom, right, top).buffer(-1)).any()


def test_second_dates_and_masks_that_do_not_fit_are_refused(image, tmp_path, run):
    out = "-o", tmp_path / "made"
    small = write_raster(tmp_path / "small.tif", textured((20, 20)))
    (tmp_path / "empty").mkdir()
    refused(run("synthesize", image, *out, "--after", small), "small.tif")
    refused(run("synthesize", image, *out, "--after", tmp_path / "empty"), "scene")
    refused(run("synthesize", image, *out, "--changed", small), "after")
    refused(run("synthesize", image, *out, "--after", image, "--changed", small), "20 x 20")
    assert not (tmp_path / "made").exists()


def test_inputs_are_not_replaced(image, tmp_path, run):
    assert run("synthesize", image, "-o", tmp_path / "made", "-q")[0] == 0
    own = tmp_path / "made" / "A" / "scene.tif"
    refused(run("synthesize", own, "-o", tmp_path / "made", "--overwrite"), "input")
    assert own.exists()
    other = tmp_path / "made" / "B" / "scene.tif"  # which would be removed, not replaced
    refused(run("synthesize", other, "-o", tmp_path / "made", "--overwrite", "--copies", "2"), "input")
    assert other.exists()


def test_mistakes_get_one_line(image, tmp_path, run):
    out = tmp_path / "made"
    refused(run("synthesize", tmp_path / "none.tif", "-o", out), "none.tif")
    refused(run("synthesize", image, "-o", out, "--kinds", "grown"), "grown", "appeared")
    refused(run("synthesize", image, "-o", out, "--sizes", "big"), "big", "2 numbers")
    refused(run("synthesize", image, "-o", out, "--sizes", "9:3"), "9:3")
    refused(run("synthesize", image, "-o", out, "--effects", "rain"), "rain", "haze")
    refused(run("synthesize", image, "-o", out, "--copies", "0"), "copies")
    refused(run("synthesize", image, "-o", out, "--cut-from", image), "outlines")
    refused(run("synthesize", image, "-o", out, "--outlines", tmp_path / "no.gpkg"), "no.gpkg")
    refused(run("synthesize", image, "-o", out, "--pictures", tmp_path / "no"), "is not a folder of pictures")
    refused(run("synthesize", image, "-o", tmp_path / "scene.tif" / "b"), "cannot be written to")
    refused(run("synthesize", image, image, "-o", out), "scene")
    refused(run("synthesize", image, "-o", out, "--bands", "7"), "7")
    assert not out.exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_only_own_files_are_replaced(image, tmp_path, run):
    out = tmp_path / "made"
    assert run("synthesize", image, "-o", out, "-q")[0] == 0
    refused(run("synthesize", image, "-o", out), "--overwrite")
    assert run("synthesize", image, "-o", out, "-q", "--overwrite", "--seed", "3")[0] == 0
    for name in ("thesis.doc", "A/thesis.tif"):
        (out / name).write_text("years")
    assert run("synthesize", image, "-o", out, "-q", "--overwrite", "--copies", "2")[0] == 0
    assert sorted(path.name for path in (out / "A").iterdir()) == ["scene-1.tif", "scene-2.tif", "thesis.tif"]
    assert (out / "thesis.doc").read_text() == "years"
    foreign = tmp_path / "foreign"
    (foreign / "A").mkdir(parents=True)
    (foreign / "A" / "scene.tif").write_text("years")
    refused(run("synthesize", image, "-o", foreign), "scene.tif exists", "--overwrite")
    assert (foreign / "A" / "scene.tif").read_text() == "years"
    assert [path.name for path in foreign.iterdir()] == ["A"]


def test_outlines_elsewhere_and_pictures_that_do_not_fit_are_refused(image, tmp_path, run):
    layer = tmp_path / "far.gpkg"
    geopandas.GeoDataFrame(geometry=[shapely.box(0, 0, 10, 10)], crs=UTM).to_file(layer)
    refused(run("synthesize", image, "-o", tmp_path / "made", "--outlines", layer), "far.gpkg", "scene.tif")
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "pictures" / "plain.png")
    refused(run("synthesize", image, "-o", tmp_path / "made", "--pictures", tmp_path / "pictures"), "opacity")
    Image.fromarray(np.full((9, 9, 2), 255, np.uint8), mode="LA").save(tmp_path / "pictures" / "plain.png")
    refused(run("synthesize", image, "-o", tmp_path / "made", "--pictures", tmp_path / "pictures"), "bands")


def test_an_image_without_data_is_refused(tmp_path, run):
    path = write_raster(tmp_path / "empty.tif", np.zeros((3, 50, 50), np.uint8), nodata=0, transform=Affine.identity())
    refused(run("synthesize", path, "-o", tmp_path / "made"), "empty.tif")


def test_a_single_image_need_not_be_a_list(image, tmp_path):
    assert make(image, tmp_path / "one").record["images"] == ["scene.tif"]


def test_a_folder_without_images_is_refused(tmp_path, run):
    (tmp_path / "empty").mkdir()
    refused(run("synthesize", tmp_path / "empty", "-o", tmp_path / "made"), "empty")


@pytest.mark.parametrize("nodata", [float("nan"), float("inf"), 300.0, 7.5])
def test_a_nodata_value_that_the_image_cannot_hold_is_refused(tmp_path, nodata):
    image = write_raster(tmp_path / "a.tif", textured((80, 80)))
    with pytest.raises(BadOption, match="is not a value that"):
        geochange.synthesize(image, tmp_path / "out", nodata=nodata)
    assert not (tmp_path / "out").exists()

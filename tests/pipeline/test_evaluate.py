import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from sklearn import metrics

import geochange
from geochange.errors import BadOption, GridMismatch, NothingValid, OutputInTheWay, UnreadableInput
from geochange.pipeline.options import EvaluateOptions
from geochange.scenes.layers import VectorLabels
from tests.commands import refused
from tests.stand_ins import PLACE, UTM, textured, write_raster

SHAPE = (200, 300)


@pytest.fixture
def masks():
    return [(textured(SHAPE, 1, seed)[0] > 140).astype(np.uint8) for seed in (0, 1)]


def test_pixel_scores_agree_with_scikit_learn(tmp_path, masks):
    predicted, reference = (write_raster(tmp_path / f"{i}.tif", mask[None]) for i, mask in enumerate(masks))
    scores = geochange.evaluate(predicted, reference).to_dict()["pixels"]
    flat = masks[1].ravel(), masks[0].ravel()
    assert scores["f1"] == pytest.approx(metrics.f1_score(*flat))
    assert scores["kappa"] == pytest.approx(metrics.cohen_kappa_score(*flat))
    assert scores["confusion"] == metrics.confusion_matrix(*flat).tolist()
    low, high = scores["intervals"]["f1"]
    assert low < scores["f1"] < high


@pytest.mark.parametrize("top", [1, 255])
def test_nodata_and_ignored_labels_are_left_out(tmp_path, masks, top):
    predicted, reference = masks[0] * np.uint8(top), masks[1] * np.uint8(top)
    predicted[:50], reference[:, 250:] = 77, 99
    paths = (
        write_raster(tmp_path / "p.tif", predicted[None], nodata=77),
        write_raster(tmp_path / "r.tif", reference[None]),
    )
    scores = geochange.evaluate(*paths, EvaluateOptions(ignore=(99,))).to_dict()["pixels"]
    kept = (masks[1] > 0)[50:, :250].ravel(), (masks[0] > 0)[50:, :250].ravel()
    assert scores["confusion"] == metrics.confusion_matrix(*kept).tolist()


def test_a_perfect_prediction_scores_one_as_raster_and_as_layer(tmp_path, masks):
    path = write_raster(tmp_path / "mask.tif", masks[0][None])
    geochange.vectorize(path, tmp_path / "layer.gpkg", geochange.VectorizeOptions(min_area=0))
    for predicted, reference in ((path, path), (path, tmp_path / "layer.gpkg"), (tmp_path / "layer.gpkg", path)):
        scores = geochange.evaluate(predicted, reference).to_dict()
        assert scores["pixels"]["f1"] == 1
        assert scores["objects"]["f1"] == 1
        assert scores["objects"]["mean_iou"] == pytest.approx(1)


def test_two_layers_are_compared_on_a_raster_s_grid(tmp_path):
    grid = write_raster(tmp_path / "grid.tif", np.zeros((1, 100, 100), np.uint8))
    left, top = PLACE @ (0, 0)
    boxes = [shapely.box(left + x, top - 40, left + x + 20, top - 20) for x in (20, 60, 100)]
    moved = shapely.box(left + 104, top - 40, left + 124, top - 20)
    geopandas.GeoSeries(boxes, crs=UTM).to_file(tmp_path / "truth.gpkg")
    geopandas.GeoSeries([*boxes[:1], moved], crs=UTM).to_crs("EPSG:4326").to_file(tmp_path / "found.geojson")
    scores = geochange.evaluate(
        tmp_path / "found.geojson", tmp_path / "truth.gpkg", EvaluateOptions(grid=str(grid))
    ).to_dict()
    assert scores["pixels"]["confusion"] == [[10_000 - 320, 20], [120, 180]]
    assert (scores["objects"]["matched"], scores["objects"]["predicted"], scores["objects"]["reference"]) == (2, 2, 3)


def test_a_probability_raster_is_cut_at_its_own_threshold(tmp_path, masks):
    path = tmp_path / "p.tif"
    write_raster(path, np.where(masks[0], 200, 20).astype(np.uint8)[None], nodata=255)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (1 / 254,)
    reference = write_raster(tmp_path / "r.tif", masks[0][None])
    assert geochange.evaluate(path, reference).to_dict()["pixels"]["f1"] == 1
    assert geochange.evaluate(path, reference, EvaluateOptions(threshold=0.9)).to_dict()["pixels"]["recall"] == 0


def test_a_raster_on_another_grid_is_brought_to_the_reference_s(tmp_path, masks):
    reference = write_raster(tmp_path / "r.tif", masks[0][None])
    twice = masks[0].repeat(2, axis=0).repeat(2, axis=1)
    predicted = write_raster(tmp_path / "p.tif", twice[None], transform=PLACE @ Affine.scale(0.5))
    assert geochange.evaluate(predicted, reference).to_dict()["pixels"]["f1"] == 1


def test_several_classes_are_scored_each(tmp_path):
    labels = np.random.default_rng(0).integers(0, 4, (2, 1, *SHAPE)).astype(np.uint8)
    paths = [write_raster(tmp_path / f"{i}.tif", each) for i, each in enumerate(labels)]
    scores = geochange.evaluate(*paths).to_dict()["pixels"]
    expected = metrics.precision_recall_fscore_support(labels[1].ravel(), labels[0].ravel())[2]
    assert [scores["per_class"][str(c)]["f1"] for c in range(4)] == pytest.approx(expected.tolist())


def test_the_table_names_each_class_and_each_average(tmp_path, run):
    labels = np.random.default_rng(0).integers(0, 4, (2, 1, *SHAPE)).astype(np.uint8)
    paths = [write_raster(tmp_path / f"{i}.tif", each) for i, each in enumerate(labels)]
    code, out, _ = run("evaluate", *paths)
    assert code == 0
    assert "pixels, macro average" in out
    assert "boundary F at 1 px, micro average" in out
    lines = out.partition("reference \\ predicted")[0].splitlines()
    rows = {tuple(line.split()[:-4]): line.split()[-4:] for line in lines if len(line.split()) > 4}
    truth, found = labels[1].ravel(), labels[0].ravel()
    each = np.array(metrics.precision_recall_fscore_support(truth, found)).T
    for name, expected in zip("0123", each, strict=True):
        assert rows[name,] == [*(f"{figure:.4f}" for figure in expected[:3]), f"{int(expected[3]):,}"]
    for name in ("micro", "macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(truth, found, average=name)[:3]
        assert rows[name, "average"] == [*(f"{figure:.4f}" for figure in expected), f"{truth.size:,}"]


def test_the_table_of_change_alone_has_no_averages(tmp_path, run, masks):
    paths = [write_raster(tmp_path / f"{i}.tif", mask[None]) for i, mask in enumerate(masks)]
    assert "average" not in run("evaluate", *paths)[1]


def test_the_picture_shows_the_whole_scene(tmp_path, masks):
    paths = [write_raster(tmp_path / f"{i}.tif", mask[None]) for i, mask in enumerate(masks)]
    geochange.evaluate(*paths, picture=tmp_path / "scores.png")
    with Image.open(tmp_path / "scores.png") as picture:
        assert picture.size[0] >= SHAPE[1]


def test_what_cannot_be_compared_is_refused(tmp_path, masks):
    mask = write_raster(tmp_path / "mask.tif", masks[0][None])
    plain = write_raster(tmp_path / "plain.tif", masks[0][None], crs=None)
    with pytest.raises(GridMismatch):
        geochange.evaluate(mask, plain)
    with pytest.raises(UnreadableInput, match=r"missing\.gpkg does not exist"):
        geochange.evaluate(mask, tmp_path / "missing.gpkg")
    geopandas.GeoSeries([shapely.Point(0, 0)], crs=UTM).to_file(tmp_path / "points.gpkg")
    with pytest.raises(UnreadableInput, match="Point"):
        geochange.evaluate(mask, tmp_path / "points.gpkg")
    nothing = write_raster(tmp_path / "nothing.tif", np.ones((1, *SHAPE), np.uint8), nodata=1)
    with pytest.raises(NothingValid, match=r"share no pixel that is to be scored"):
        geochange.evaluate(nothing, mask)


def test_json_has_the_keys_that_scripts_read(tmp_path, masks, capsys):
    from geochange.cli import main

    paths = [write_raster(tmp_path / f"{i}.tif", mask[None]) for i, mask in enumerate(masks)]
    with pytest.raises(SystemExit):
        main(["evaluate", *paths, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert {"precision", "recall", "f1", "iou", "accuracy", "kappa", "intervals"} <= set(answer["pixels"])
    assert {"precision", "recall", "f1", "mean_iou"} <= set(answer["objects"])


def test_several_classes_stay_themselves_where_one_side_holds_just_one(tmp_path):
    reference = np.zeros((1, 60, 60), np.uint8)
    reference[0, 5:20, 5:20] = 2
    predicted = reference.copy()
    predicted[0, 40:50, 40:50] = 1
    paths = [write_raster(tmp_path / f"{i}.tif", each) for i, each in enumerate((predicted, reference))]
    scores = geochange.evaluate(*paths).to_dict()["pixels"]
    assert scores["per_class"]["2"]["f1"] == 1
    assert scores["confusion"][2] == [0, 0, 225]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_labels_are_ignored_as_they_are_stored(tmp_path, dtype):
    reference = np.zeros((1, 60, 60), dtype)
    reference[0, 5:20, 5:20] = 2 if dtype == "uint8" else 1
    reference[0, 30:40] = 1 if dtype == "uint8" else 255
    ignored = 1 if dtype == "uint8" else 255
    predicted = np.where(np.isin(reference, (0, ignored)), 0, 7).astype(np.uint8)
    paths = write_raster(tmp_path / "p.tif", predicted), write_raster(tmp_path / "r.tif", reference)
    scores = geochange.evaluate(*paths, EvaluateOptions(ignore=(ignored,))).to_dict()["pixels"]
    assert scores["confusion"] == [[60 * 50 - 225, 0], [0, 225]]


def test_labels_beyond_a_byte_and_below_zero_are_objects_too(tmp_path):
    labels = np.zeros((1, 40, 40), np.int16)
    labels[0, 5:10, 5:10], labels[0, 5:10, 10:15], labels[0, 20:30, 20:30] = 300, 44, -7
    path = write_raster(tmp_path / "a.tif", labels)
    objects = geochange.evaluate(path, path).to_dict()["objects"]
    assert (objects["matched"], objects["predicted"]) == (3, 3)


@pytest.mark.parametrize("block", [64, 100, 77])
def test_block_size_does_not_matter(tmp_path, masks, monkeypatch, block):
    predicted, reference = masks[0].copy(), masks[1]
    predicted[60:70, 40:90] = 9
    paths = [write_raster(tmp_path / f"{i}.tif", each[None], nodata=9) for i, each in enumerate((predicted, reference))]
    whole = geochange.evaluate(*paths).to_dict()
    monkeypatch.setattr("geochange.engine.work.BLOCK_SIDE", block)
    assert geochange.evaluate(*paths).to_dict() == whole


def test_boundaries_of_a_shifted_mask_are_found_within_the_shift(tmp_path, run):
    reference = np.zeros((1, *SHAPE), np.uint8)
    reference[0, 50:100, 50:200] = 1
    paths = [write_raster(tmp_path / f"{shift}.tif", np.roll(reference, shift, axis=2)) for shift in (2, 0)]
    boundaries = geochange.evaluate(*paths).to_dict()["boundaries"]
    assert boundaries["support"] == {"predicted": 396, "reference": 396}
    assert boundaries["f1_1px"] < boundaries["f1_2px"] == 1
    low, high = boundaries["intervals"]["f1_1px"]
    assert low < boundaries["f1_1px"] < high
    _, out, _ = run("evaluate", *paths)
    row = next(line.split() for line in out.splitlines() if line.startswith("boundary F at 2 px"))
    assert row[5:] == ["1.0000", "1.000", "to", "1.000"]


@pytest.mark.parametrize("name", ["scores", "scores.xyz", "nowhere/scores.png"])
def test_a_picture_that_could_not_be_written_is_refused_first(tmp_path, masks, name):
    path = write_raster(tmp_path / "mask.tif", masks[0][None])
    with pytest.raises((BadOption, OutputInTheWay), match=r"must end in|not a folder that can be written to"):
        geochange.evaluate(path, path, picture=tmp_path / name)


def test_classes_of_layers_are_those_that_a_column_names(tmp_path, run):
    squares = shapely.box(*np.array([[0, 0, 12, 12], [100, 0, 112, 12], [0, 100, 12, 112]], float).T)
    labels = np.zeros((1, 60, 60), np.uint8)
    names = {"there": ["built", "felled", "felled"], "found": ["built", "built", "felled"]}
    for name, kinds in names.items():
        frame = geopandas.GeoDataFrame({"label": kinds, "score_mean": [0.9, 0.8, 0.7]}, geometry=squares, crs=UTM)
        frame.to_file(tmp_path / f"{name}.gpkg")
    pair = tmp_path / "found.gpkg", tmp_path / "there.gpkg"
    options = "--resolution", "2", "--json"
    code, out, _ = run("evaluate", *pair, "--classes", "built,felled", *options)
    assert code == 0
    scores = json.loads(out)
    assert scores["pixels"]["classes"] == ["no change", "built", "felled"]
    assert np.array(scores["pixels"]["confusion"])[1:, 1:].tolist() == [[36, 0], [36, 36]]
    steps = np.arange(101) / 100
    built, felled = 1.0, (steps <= 0.5).mean()  # the wrong one comes second, and one of two is found
    assert scores["average_precision"]["ap50"] == pytest.approx((built + felled) / 2)
    assert json.loads(run("evaluate", *pair, *options)[1])["average_precision"]["ap50"] == 1
    refused(run("evaluate", *pair, "--classes", "built", *options), "felled")
    refused(run("evaluate", *pair, "--classes", "built,felled", "--label-column", "kind", *options), "no column 'kind'")
    transform = Affine(2, 0, 0, 0, -2, 120)
    labels[0, 54:, :6], labels[0, 54:, 50:56], labels[0, 4:10, :6] = 1, 2, 2
    raster = write_raster(tmp_path / "there.tif", labels, transform=transform)
    code, out, _ = run("evaluate", pair[0], raster, "--classes", "built,felled", "--json")
    assert code == 0
    assert json.loads(out)["average_precision"]["ap50"] == pytest.approx((built + felled) / 2)


@pytest.mark.parametrize(
    ("crs", "left", "bottom"), [(UTM, 5e5, 5.4e6), ("EPSG:4326", 15, 60), ("EPSG:3857", 1.6e6, 8.4e6), (None, 0, 0)]
)
@pytest.mark.filterwarnings("ignore:.crs. was not provided:UserWarning")
def test_two_layers_are_compared_on_pixels_of_so_many_metres(tmp_path, crs, left, bottom):
    side = {"EPSG:4326": 0.01, None: 600}.get(crs, 1000)
    square = geopandas.GeoDataFrame(geometry=[shapely.box(left, bottom, left + side, bottom + side)], crs=crs)
    square.to_file(tmp_path / "square.gpkg")

    found = geochange.evaluate(tmp_path / "square.gpkg", tmp_path / "square.gpkg", resolution=5)

    ground = side**2 if crs is None else square.to_crs("EPSG:32633").area[0]
    assert found.pixels.confusion[1, 1] * 25 == pytest.approx(ground, rel=0.02)


def test_each_pixel_is_read_once_however_many_polygons_a_layer_has(tmp_path, masks, monkeypatch):
    raster = write_raster(tmp_path / "mask.tif", masks[0][None])
    layer = geochange.vectorize(raster, tmp_path / "layer.gpkg", min_area=0)
    read, kept = [], VectorLabels.read
    monkeypatch.setattr(VectorLabels, "read", lambda self, tile: read.append(tile.size) or kept(self, tile))

    geochange.evaluate(layer.path, raster)

    assert layer.totals.count > 10
    assert sum(read) <= 1.1 * masks[0].size


def test_objects_of_a_layer_count_where_their_inside_is_scored(tmp_path):
    reference = np.ones((1, 40, 40), np.uint8)
    reference[0, :, 20:] = 9
    raster = write_raster(tmp_path / "r.tif", reference, nodata=9)
    inside, astride, beyond, outside = (
        shapely.box(PLACE.c + left, PLACE.f - 20, PLACE.c + right, PLACE.f - 10)
        for left, right in ((4, 10), (30, 48), (60, 70), (-40, -30))
    )
    layer = geopandas.GeoDataFrame(geometry=[inside, astride, beyond, outside], crs=UTM)
    layer.to_file(tmp_path / "p.gpkg")

    objects = geochange.evaluate(tmp_path / "p.gpkg", raster).to_dict()["objects"]

    assert objects["predicted"] == 2


def test_a_picture_takes_the_place_of_no_input(tmp_path, run, masks):
    paths = [write_raster(tmp_path / f"{i}.tif", mask[None]) for i, mask in enumerate(masks)]
    for path in paths:
        refused(run("evaluate", *paths, "--picture", path), "input")
    assert all(rasterio.open(path).count == 1 for path in paths)


def test_scores_that_are_no_numbers_are_refused(tmp_path, run):
    squares = shapely.box(*np.array([[0, 0, 12, 12], [100, 0, 112, 12]], float).T)
    for name, scores in (("text", ["high", "low"]), ("holes", [0.5, np.nan])):
        frame = geopandas.GeoDataFrame({"score_mean": scores}, geometry=squares, crs=UTM)
        frame.to_file(tmp_path / f"{name}.gpkg")
        layers = tmp_path / f"{name}.gpkg", tmp_path / f"{name}.gpkg"
        refused(run("evaluate", *layers, "--resolution", "2"), "score_mean")


def test_objects_with_scores_get_their_average_precision(tmp_path, run):
    squares = shapely.box(*np.array([[0, 0, 12, 12], [100, 0, 112, 12], [0, 100, 12, 112], [60, 60, 66, 66]], float).T)
    layers = {
        "there": geopandas.GeoDataFrame(geometry=squares[:3], crs=UTM),
        "found": geopandas.GeoDataFrame({"score_mean": [0.9, 0.8, 0.7]}, geometry=squares[[0, 3, 1]], crs=UTM),
        "plain": geopandas.GeoDataFrame(geometry=squares[[0, 3, 1]], crs=UTM),
    }
    for name, frame in layers.items():
        frame.to_file(tmp_path / f"{name}.gpkg")
    code, out, _ = run("evaluate", tmp_path / "found.gpkg", tmp_path / "there.gpkg", "--resolution", "2", "--json")
    assert code == 0
    measured = json.loads(out)["average_precision"]
    steps = np.arange(101) / 100
    expected = ((steps <= 1 / 3) * 1.0 + ((steps > 1 / 3) & (steps <= 2 / 3)) * 2 / 3).mean()
    assert (measured["ap50"], measured["ap"]) == pytest.approx((expected, expected))
    assert measured["sizes"]["tiny"]["count"] == 3  # six pixels of two metres
    assert measured["sizes"]["large"] == {"ap": None, "ap50": None, "ap75": None, "recall": None, "count": 0}
    assert measured["recall"] == pytest.approx(1 / 3)
    code, out, _ = run("evaluate", tmp_path / "plain.gpkg", tmp_path / "there.gpkg", "--resolution", "2", "--json")
    assert json.loads(out)["average_precision"] is None
    code, out, _ = run("evaluate", tmp_path / "found.gpkg", tmp_path / "there.gpkg", "--resolution", "2")
    assert "AP50" in out
    assert "tiny" in out


def test_probabilities_are_cut_at_the_threshold_that_the_raster_keeps(tmp_path):
    rng = np.random.default_rng(0)
    truth = (rng.random((1, 60, 70)) < 0.3).astype(np.uint8)
    values = np.clip(np.where(truth, 200, 110) + rng.normal(0, 40, truth.shape), 0, 254).astype(np.uint8)
    path, label = write_raster(tmp_path / "p.tif", values), write_raster(tmp_path / "t.tif", truth)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = [1 / 254]
        dataset.update_tags(GEOCHANGE_CLASSES='["change"]', GEOCHANGE_THRESHOLDS='{"default": 0.8}')
    kept, given, half = (
        geochange.evaluate(path, label, **each).to_dict()["pixels"]
        for each in ({}, {"threshold": 0.8}, {"threshold": 0.5})
    )
    assert kept == given != half

"""Thresholds found in passes over a raster's blocks, and labels that choose them."""

import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from scipy import ndimage
from sklearn.metrics import precision_score, recall_score

import geochange
from geochange.engine.cluster import Crew
from geochange.engine.progress import Stages
from geochange.engine.work import Work
from geochange.errors import BadOption, GridMismatch, NothingValid
from geochange.probability import raster as score_raster
from geochange.probability import threshold_search as thresholds
from geochange.probability.options import ThresholdOptions, parse_threshold
from geochange.probability.raster import open_scores
from geochange.probability.threshold_search import resolve_threshold, scene_histogram
from geochange.probability.thresholds import HISTOGRAM_METHODS
from tests.commands import refused
from tests.stand_ins import PLACE, UTM, textured, write_pair, write_raster

SHAPE = (210, 330)


class AtOnce:
    """An executor that does not wait."""

    def submit(self, function, *arguments):
        from concurrent.futures import Future

        done = Future()
        done.set_result(function(*arguments))
        return done


WORK = Work(Crew(AtOnce(), 1), Stages())


@pytest.fixture
def truth():
    return ndimage.gaussian_filter(np.random.default_rng(3).normal(size=SHAPE), 4) > 0.1


@pytest.fixture
def scored(tmp_path, truth):
    """A probability raster with haze in a corner and nodata in another."""
    rows, cols = np.indices(SHAPE)
    haze = np.clip(1 - np.hypot(rows / SHAPE[0], cols / SHAPE[1]) / 0.8, 0, 1)
    noise = np.random.default_rng(4).normal(0, 0.07, SHAPE)
    codes = np.rint((0.2 + 0.5 * truth * (1 - 0.5 * haze) + 0.45 * haze + noise).clip(0, 1) * 254).astype(np.uint8)
    codes[180:, 300:] = 255
    return save(tmp_path / "p.tif", codes)


def save(path, codes):
    write_raster(path, codes[None], nodata=255)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales = (1 / 254,)
    return path


def chosen(path, wanted, **more):
    return resolve_threshold(open_scores(str(path)), ThresholdOptions(threshold=wanted, **more), WORK)


def layer_of(path, truth, count=60, column="changed", **words):
    """Labels of small boxes, half of them where there is change, by what the truth says of most of each."""
    random, boxes, said = np.random.default_rng(5), [], []
    changed, still = (np.argwhere(each[:170, :290]) for each in (truth, ~truth))
    for row, col in np.concatenate([random.choice(each, count) for each in (changed, still)]):
        (left, top), (right, bottom) = PLACE @ (col, row), PLACE @ (col + 6, row + 6)
        boxes.append(shapely.box(left, bottom, right, top))
        said.append(words["yes"] if truth[row : row + 6, col : col + 6].mean() > 0.5 else words["no"])
    geopandas.GeoDataFrame({column: said}, geometry=boxes, crs=UTM).to_file(path)
    return str(path)


@pytest.mark.parametrize("wanted", [*HISTOGRAM_METHODS, "local:64px", "precision=0.8", "recall=0.8", "f1"])
def test_thresholds_do_not_depend_on_blocks(scored, truth, tmp_path, monkeypatch, wanted):
    labels = write_raster(tmp_path / "l.tif", np.where(textured(SHAPE, 1)[0] > 120, truth, 255).astype(np.uint8)[None])
    more = {"labels": labels} if parse_threshold(wanted) == wanted and wanted not in HISTOGRAM_METHODS else {}
    whole = chosen(scored, wanted, **more).to_record()
    monkeypatch.setattr(thresholds, "BLOCK_SIDE", 64)
    monkeypatch.setattr("geochange.engine.work.BLOCK_SIDE", 64)
    assert chosen(scored, wanted, **more).to_record() == whole


def test_methods_see_the_raster_s_histogram(scored):
    raster = open_scores(str(scored))
    counts = scene_histogram(raster, WORK)
    assert counts.sum() == 210 * 330 - 30 * 30
    for name, method in HISTOGRAM_METHODS.items():
        assert chosen(scored, name).threshold.low == method(counts, np.linspace(0, 1, 1024))


def test_fitted_thresholds_come_before_those_of_the_histogram(scored):
    with rasterio.open(scored, "r+") as dataset:
        dataset.update_tags(**{score_raster.THRESHOLDS_TAG: json.dumps({"default": 0.5, "otsu": 0.31, "em": 0.32})})
    assert chosen(scored, "otsu").threshold.low == 0.31
    assert chosen(scored, "em").threshold.low == 0.32
    assert chosen(scored, "kittler").threshold.low not in (0.31, 0.32, 0.5)


@pytest.mark.parametrize("code", [0, 40, 254])
@pytest.mark.parametrize("method", HISTOGRAM_METHODS)
def test_a_raster_of_one_value_has_no_change(tmp_path, code, method):
    path = save(tmp_path / "flat.tif", np.full((40, 50), code, np.uint8))
    found = geochange.vectorize(path, tmp_path / "c.gpkg", geochange.VectorizeOptions(threshold=method))
    assert found.totals.count == 0


def test_a_local_threshold_leaves_haze_alone_and_keeps_the_rest(scored, truth, tmp_path):
    """What is called in the hazy corner, and over the scene."""
    found = {}
    for wanted in ("0.5", "local:40px"):
        out = tmp_path / f"{wanted.replace(':', '')}.gpkg"
        geochange.vectorize(scored, out, geochange.VectorizeOptions(threshold=wanted, min_area=0))
        frame = geopandas.read_file(out, layer="changes")
        found[wanted] = rasterio.features.rasterize(frame.geometry, SHAPE, transform=PLACE).astype(bool)
    corner = np.s_[:40, :60]
    still = ~truth[corner]
    assert found["0.5"][corner][still].mean() > 0.5
    assert found["local:40px"][corner][still].mean() < 0.1
    clear = np.s_[:180, 250:]
    assert (found["0.5"][clear] != found["local:40px"][clear]).mean() < 0.06


def test_local_thresholds_with_hysteresis_keep_what_reaches_the_peak(scored, tmp_path):
    plain, strong = (
        geochange.vectorize(scored, tmp_path / f"{i}.gpkg", geochange.VectorizeOptions(threshold=wanted, min_area=0))
        for i, wanted in enumerate(("local:40px", "local:40px:0.8"))
    )
    frames = [geopandas.read_file(each.path, layer="changes") for each in (plain, strong)]
    assert 0 < len(frames[1]) < len(frames[0])
    assert len(frames[1]) == (frames[0]["score_max"] >= 0.8).sum()
    assert strong.to_dict()["threshold"]["local"]["high"] == 0.8


@pytest.mark.parametrize("wanted", ["precision=0.85", "recall=0.8"])
def test_what_labels_promise_holds_on_their_pixels(scored, truth, tmp_path, wanted):
    labels = np.where(textured(SHAPE, 1)[0] > 120, truth, 255).astype(np.uint8)
    found = chosen(scored, wanted, labels=write_raster(tmp_path / "l.tif", labels[None]))
    with rasterio.open(scored) as dataset:
        codes = dataset.read(1)
    known = (labels != 255) & (codes != 255)
    called = codes[known] / 254 >= found.threshold.low
    assert found.labelled.precision == pytest.approx(precision_score(labels[known], called), abs=1e-6)
    assert found.labelled.recall == pytest.approx(recall_score(labels[known], called), abs=1e-6)
    assert getattr(found.labelled, f"{wanted.partition('=')[0]}_lower") >= float(wanted.partition("=")[2])
    assert found.labelled.changed_px + found.labelled.unchanged_px == known.sum()


def test_layers_say_what_changed_in_a_column_and_nothing_of_what_lies_outside(scored, truth, tmp_path):
    words = [{"yes": 1, "no": 0}, {"yes": "built", "no": "Unchanged"}, {"yes": True, "no": False}]
    found = [
        chosen(scored, "f1", labels=layer_of(tmp_path / f"{i}.gpkg", truth, **each), label_column="changed").labelled
        for i, each in enumerate(words)
    ]
    assert found[0] == found[1] == found[2]
    assert found[0].changed_px + found[0].unchanged_px <= 120 * 36


def test_a_layer_without_a_column_says_that_the_rest_is_unchanged(scored, truth, tmp_path):
    path = tmp_path / "all.gpkg"
    shapes = rasterio.features.shapes(truth.astype(np.uint8), mask=truth, transform=PLACE)
    geopandas.GeoSeries([shapely.geometry.shape(each) for each, _ in shapes], crs=UTM).to_file(path)
    raster = write_raster(tmp_path / "all.tif", truth.astype(np.uint8)[None])
    assert chosen(scored, "f1", labels=str(path)).labelled == chosen(scored, "f1", labels=raster).labelled


def test_labels_on_another_grid_are_brought_to_the_raster_s(scored, truth, tmp_path):
    twice = write_raster(
        tmp_path / "twice.tif",
        truth.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)[None],
        transform=PLACE * PLACE.scale(0.5),
    )
    once = write_raster(tmp_path / "once.tif", truth.astype(np.uint8)[None])
    assert chosen(scored, "f1", labels=twice).labelled == chosen(scored, "f1", labels=once).labelled


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"threshold": "f1"}, BadOption),
        ({"threshold": "0.5", "labels": "l.gpkg"}, BadOption),
        ({"threshold": None, "labels": "l.gpkg"}, BadOption),
        ({"threshold": "precision=0.9", "label_column": "changed"}, BadOption),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, error):
    with pytest.raises(error):
        ThresholdOptions(**options)


def test_labels_that_do_not_fit_are_refused(scored, truth, tmp_path):
    layer = layer_of(tmp_path / "l.gpkg", truth, yes=1, no=0)
    with pytest.raises(BadOption, match="no column 'state'; it has changed"):
        chosen(scored, "f1", labels=layer, label_column="state")
    raster = write_raster(tmp_path / "l.tif", truth.astype(np.uint8)[None], crs=None)
    with pytest.raises(BadOption, match="is a raster"):
        chosen(scored, "f1", labels=raster, label_column="changed")
    with pytest.raises(GridMismatch):
        chosen(scored, "f1", labels=raster)
    nothing = write_raster(tmp_path / "n.tif", np.full((1, *SHAPE), 255, np.uint8))
    with pytest.raises(NothingValid, match=r"label some of both"):
        chosen(scored, "f1", labels=nothing)


def test_the_command_takes_labels_and_reports_their_figures(scored, truth, tmp_path, run):
    layer = layer_of(tmp_path / "l.gpkg", truth, yes=1, no=0)
    common = ("vectorize", scored, "-o", tmp_path / "c.gpkg", "--labels", layer, "--label-column", "changed")
    code, out, lines = run(*common, "--threshold", "precision=0.6", "--json")
    assert code == 0, lines
    answer = json.loads(out)
    assert answer["threshold_labels"]["wanted"] == "precision=0.6"
    assert answer["threshold_labels"]["threshold"] == answer["threshold"]
    _, out, _ = run(*common, "--threshold", "f1", "--overwrite")
    assert "by labels" in out
    refused(run(*common, "--threshold", "precision=0.999", "--overwrite"), "precision=0.999", "the best is")
    assert run("vectorize", scored, "-o", tmp_path / "d.gpkg", "--threshold", "local:64px")[1].count("raised in")


def test_detect_chooses_by_labels_what_vectorize_chooses(tmp_path):
    before, after = write_pair(tmp_path, (96, 128))
    labels = np.full((1, 96, 128), 255, np.uint8)
    labels[0, :48], labels[0, 48:60] = 0, 1
    path = write_raster(tmp_path / "l.tif", labels)
    found = geochange.detect(before, after, tmp_path / "out", threshold="f1", labels=path)
    again = geochange.vectorize(
        found.probability, tmp_path / "c.gpkg", geochange.VectorizeOptions(threshold="f1", labels=path)
    )
    assert again.threshold == found.record["threshold"]
    assert again.threshold_labels == found.record["threshold_labels"]


def test_detect_hears_of_bad_labels_first(tmp_path):
    before, after = write_pair(tmp_path, (64, 64))
    with pytest.raises(BadOption, match=r"a raster, which has no column 'x'"):
        geochange.detect(before, after, tmp_path / "out", threshold="f1", labels=before, label_column="x")
    assert not (tmp_path / "out").exists()

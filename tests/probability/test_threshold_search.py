"""Histograms and labels over rasters of several classes: a pixel counts by its largest probability."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from geopandas import GeoDataFrame
from shapely import box

from geochange.engine.work import open_work
from geochange.errors import BadOption
from geochange.probability.label_thresholds import choose_threshold, label_counts
from geochange.probability.local_thresholds import cell_threshold
from geochange.probability.options import LocalRule, Threshold, ThresholdOptions
from geochange.probability.raster import open_scores
from geochange.probability.threshold_search import (
    BIN_VALUES,
    HISTOGRAM_BINS,
    column_labels,
    count_labelled,
    local_threshold,
    open_labelled,
    resolve_threshold,
    scene_histogram,
)
from geochange.probability.thresholds import HISTOGRAM_METHODS
from geochange.scenes.layers import open_layer
from geochange.scenes.tiling import cell_side, partition
from tests.stand_ins import write_raster

SHAPE = (1030, 90)  # more than a block high
SIDE = 40


@pytest.fixture(scope="module")
def classes():
    """(class, y, x) float32 of three classes, each the largest somewhere; NaN in two places, one of a single band."""
    rng = np.random.default_rng(0)
    values = rng.beta(4, 20, (3, *SHAPE)).astype(np.float32)
    values[:, 500:900, 30:] += np.float32(0.3) * rng.random((3, 400, 60)).astype(np.float32)
    values = (np.rint(np.clip(values, 0, 1) * 1023) / 1023).astype(np.float32)  # at the middles of bins
    values[:, 200:230, :50] = np.nan
    values[1, 700:720, 20:60] = np.nan
    return values


@pytest.fixture(scope="module")
def raster(classes, tmp_path_factory):
    return open_scores(write_raster(tmp_path_factory.mktemp("p") / "p.tif", classes, nodata=np.nan))


@pytest.fixture
def work():
    with open_work(None, None) as work:
        yield work


def bins_of(classes):
    """Bin of each valid pixel, (y, x), and where pixels are valid."""
    valid = ~np.isnan(classes).any(axis=0)
    return np.rint(np.where(valid, classes.max(axis=0), 0) * (HISTOGRAM_BINS - 1)).astype(int), valid


def test_the_histogram_is_of_the_largest_probability_of_each_valid_pixel(classes, raster, work):
    bins, valid = bins_of(classes)
    counts = scene_histogram(raster, work)
    np.testing.assert_array_equal(counts, np.bincount(bins[valid], minlength=HISTOGRAM_BINS))
    for name, method in HISTOGRAM_METHODS.items():
        found = resolve_threshold(raster, ThresholdOptions(threshold=name), work)
        assert found.to_record() == {"threshold": method(counts, BIN_VALUES)}


@pytest.mark.parametrize(
    ("kept", "scene"), [({}, 0.5), ({"default": 0.44}, 0.44), ({"default": 0.63, "f1": 0.2}, 0.63)]
)
@pytest.mark.parametrize("side", [SIDE, 1400])
def test_local_thresholds_are_those_of_the_largest_probability_in_each_cell(classes, raster, work, side, kept, scene):
    bins, valid = bins_of(classes)
    found = local_threshold(replace(raster, thresholds=kept), LocalRule(size=side, high=0.8), work)
    expected = []
    for cell in partition(SHAPE, (side, side)):
        at = cell.slices()
        counts = np.bincount(bins[at][valid[at]], minlength=HISTOGRAM_BINS)
        expected.append(cell_threshold(counts, BIN_VALUES, scene))
    assert found.cells.min() >= scene
    assert found.cells.shape == (-(-SHAPE[0] // side), -(-SHAPE[1] // side))
    np.testing.assert_array_equal(found.cells.ravel(), expected)
    assert (found.side, found.scene, found.high) == (side, scene, 0.8)
    assert side != SIDE or 0 < (found.cells > scene).mean() < 1


@pytest.mark.parametrize("wanted", ["precision=0.6", "recall=0.6", "f1"])
def test_labels_choose_by_the_largest_probability_of_the_pixels_that_they_mark(classes, raster, work, tmp_path, wanted):
    rng, (bins, valid) = np.random.default_rng(1), bins_of(classes)
    labels = (rng.random(SHAPE) < 2 * bins / 1023 - 0.3).astype(np.uint8) * np.uint8(7)  # any number is change
    labels[rng.random(SHAPE) < 0.5] = 255
    labels[600:, :20] = 9
    path = write_raster(tmp_path / "labels.tif", labels[None], nodata=9)
    known = valid & (labels != 255) & (labels != 9)
    rows, cols = np.indices(SHAPE) // cell_side(SHAPE)
    counts = label_counts(bins[known], (labels[known] == 7).astype(int), (rows * 100 + cols)[known], HISTOGRAM_BINS)
    found = count_labelled(raster, open_labelled(path, None, raster.source.grid, work), work)
    for name in ("changed", "called", "called_squares", "changed_squares", "cells"):
        np.testing.assert_array_equal(getattr(found, name), getattr(counts, name), name)
    chosen = resolve_threshold(raster, ThresholdOptions(threshold=wanted, labels=path), work)
    assert chosen.labelled == choose_threshold(counts, wanted)
    assert chosen.threshold == Threshold(chosen.labelled.threshold, chosen.labelled.threshold)
    assert chosen.to_record()["threshold_labels"] == chosen.labelled.to_dict()


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, 0.35),
        ("0.2", 0.2),
        ("0.2:0.7", [0.2, 0.7]),
        ("recall=0.9", 0.11),
        ("otsu", 0.42),
    ],
)
def test_thresholds_that_the_detector_keeps_come_first(tmp_path, work, wanted, found):
    path = write_raster(tmp_path / "p.tif", np.linspace(0, 1, 600, dtype=np.float32).reshape(1, 20, 30))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(GEOCHANGE_THRESHOLDS='{"default": 0.35, "recall=0.9": 0.11, "otsu": 0.42}')
    raster = open_scores(path)
    assert resolve_threshold(raster, ThresholdOptions(threshold=wanted), work).to_record() == {"threshold": found}
    assert local_threshold(raster, LocalRule(size=32), work).scene == 0.35
    with pytest.raises(BadOption, match=r"no threshold is kept for recall=0.8; those that are: recall=0\.9; or"):
        resolve_threshold(raster, ThresholdOptions(threshold="recall=0.8"), work)


def test_without_a_kept_threshold_it_is_a_half(tmp_path, work):
    raster = open_scores(write_raster(tmp_path / "p.tif", np.full((1, 20, 30), 0.2, np.float32)))
    assert resolve_threshold(raster, ThresholdOptions(), work).threshold == Threshold(0.5, 0.5)
    with pytest.raises(BadOption, match="those that are: none; or give labels"):
        resolve_threshold(raster, ThresholdOptions(threshold="precision=0.8"), work)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ([0, 1, 255, 7], [0, 1, 255, 1]),
        ([0.0, 1.0, 255.0, np.nan, 2.5], [0, 1, 255, 255, 1]),
        ([True, False], [1, 0]),
        (["kept", " Rejected ", "unsure", "", None, "No change", "building"], [1, 0, 255, 255, 255, 0, 1]),
        (["0.0", "255.0", "FALSE"], [0, 255, 0]),
    ],
)
def test_a_column_says_what_is_changed_unchanged_or_not_labelled(tmp_path, said, meant):
    path = tmp_path / "labels.gpkg"
    boxes = [box(k, 0, k + 1, 1) for k in range(len(said))]
    GeoDataFrame({"said": said}, geometry=boxes, crs=32633).to_file(path, layer="labels")
    assert column_labels(open_layer(str(path)), "said").tolist() == meant
    with pytest.raises(BadOption, match=r"has no column 'told'; it has said"):
        column_labels(open_layer(str(path)), "told")

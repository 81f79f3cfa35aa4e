"""How sure one may be of a change by its width, and by how far it stands out."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

import geochange
from geochange.errors import BadOption
from geochange.polygons.confidence import confidence_of, contrast_of, width_of
from geochange.polygons.options import RegionOptions
from geochange.polygons.regions import Counts, RegionFilter
from geochange.scenes.tiling import partition
from tests.region_cases import Map, maps, trace_in_blocks, trace_whole
from tests.stand_ins import write_raster

STEP = 1 / 254


def one(classes, scores):
    classes = np.array(classes, np.uint8)
    return trace_whole(Map(classes, np.array(scores), np.ones(classes.shape, bool))).counts


@given(maps())
def test_rims_are_the_sides_that_other_valid_pixels_lie_behind(scene):
    counts = trace_whole(scene).counts
    classes = np.where(scene.valid, scene.classes, 0)
    labels = np.zeros(scene.shape, int)
    for value in (1, 2):
        own, _ = ndimage.label(classes == value)
        labels = np.where(own > 0, own + labels.max(), labels)
    expected = {}
    for row, col in zip(*np.nonzero(labels), strict=True):
        found = expected.setdefault(labels[row, col], [0, 0])
        for y, x in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
            inside = 0 <= y < scene.shape[0] and 0 <= x < scene.shape[1]
            if inside and scene.valid[y, x] and labels[y, x] != labels[row, col]:
                found[0] += 1
                found[1] += int(scene.scores[y, x])
    sides = sorted(map(tuple, expected.values()))
    assert sorted(zip(counts.rim.tolist(), counts.rim_sum.tolist(), strict=True)) == sides


@given(maps(), st.tuples(st.integers(1, 6), st.integers(1, 6)), st.floats(0.05, 0.95))
def test_it_is_that_of_the_whole_region_however_the_scene_was_cut(scene, cell, least):
    keep = RegionFilter(min_confidence=least, score_scale=STEP)
    whole, every = trace_whole(scene, keep=keep), trace_whole(scene)
    cut = trace_in_blocks(scene, list(partition(scene.shape, cell)), keep=keep)
    for column in fields(Counts):
        np.testing.assert_array_equal(getattr(cut.counts, column.name), getattr(whole.counts, column.name))
    sure = confidence_of(every.counts, STEP) >= least
    np.testing.assert_array_equal(whole.first, every.first[sure])


def test_widths_are_those_of_strips_and_contrast_is_against_what_lies_beside():
    classes, scores = np.zeros((9, 30), int), np.full((9, 30), 20)
    classes[4, 2:28], scores[4, 2:28] = 1, 220
    counts = one(classes, scores)
    assert width_of(counts)[0] == pytest.approx(2 * 26 / 54)
    assert contrast_of(counts)[0] == 200
    classes[2:7, 2:28], scores[2:7, 2:28] = 1, 220
    assert width_of(one(classes, scores))[0] == pytest.approx(2 * 130 / 62)


def test_wider_and_clearer_changes_are_surer():
    found = []
    for width, score in ((1, 130), (2, 130), (2, 254), (4, 254)):
        classes, scores = np.zeros((20, 40), int), np.zeros((20, 40), int)
        classes[8 : 8 + width, 5:35], scores[8 : 8 + width, 5:35] = 1, score
        found.append(confidence_of(one(classes, scores), STEP)[0])
    assert found == sorted(found)
    assert found[0] < 0.3 < found[2]
    assert 0 <= min(found) <= max(found) <= 1


def test_a_change_of_all_there_is_is_as_sure_as_its_score():
    counts = one(np.ones((5, 5)), np.full((5, 5), 127))
    assert confidence_of(counts, STEP)[0] == pytest.approx(0.5)
    assert np.isnan(contrast_of(counts)[0])


def test_the_layer_tells_it_and_slivers_are_left_out_on_request(tmp_path):
    scores = np.zeros((1, 40, 60), np.uint8)
    scores[0, 5, 5:55] = scores[0, 20:30, 20:30] = 200
    raster = write_raster(tmp_path / "scores.tif", scores)
    options = {"threshold": 0.5, "min_area": "1px"}
    every = geochange.vectorize(raster, tmp_path / "all.gpkg", **options).changes()
    sure = geochange.vectorize(raster, tmp_path / "sure.gpkg", min_confidence=0.3, **options).changes()
    assert (len(every), len(sure)) == (2, 1)
    assert every.confidence.iloc[0] < 0.3 < every.confidence.iloc[1]
    assert every.compactness.tolist() == pytest.approx([16 * 50 / 102**2, 1], abs=1e-4)
    assert sure.contrast.iloc[0] > 0.5
    assert sure.width_m.iloc[0] == pytest.approx(2 * sure.area_m2.iloc[0] / sure.perimeter_m.iloc[0], abs=1e-3)


@pytest.mark.parametrize("wrong", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused(wrong):
    with pytest.raises(BadOption, match=r"min-confidence -?\d.\d must lie in 0..1"):
        RegionOptions(min_confidence=wrong)

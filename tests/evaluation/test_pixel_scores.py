"""Pixel scores: against scikit-learn, and laws of the lattice and of the intervals."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geochange.errors import BadOption, GridMismatch
from geochange.evaluation.bootstrap import CellCounts, merge_cells
from geochange.evaluation.classes import Classes
from geochange.evaluation.pixel_scores import confusion, confusion_by_cell, score_pixels
from geochange.evaluation.report import Evaluation

THREE = Classes(labels=(0, 1, 2))


def label_pairs(classes: int):
    """Two arrays of labels on one small grid."""
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)
    both = shapes.map(lambda shape: (2, *shape))
    return both.flatmap(lambda shape: hnp.arrays(np.uint8, shape, elements=st.integers(0, classes - 1)))


def everywhere(labels):
    return np.ones(labels.shape, bool)


def score(predicted, reference, classes):
    counts = confusion(predicted, reference, everywhere(predicted), classes)
    return score_pixels(counts[None], classes)


def nan_to_none(values):
    return [None if np.isnan(value) else pytest.approx(value) for value in values]


@given(label_pairs(3))
def test_confusion_equals_sklearn(pair):
    predicted, reference = pair
    expected = sk.confusion_matrix(reference.ravel(), predicted.ravel(), labels=THREE.labels)
    np.testing.assert_array_equal(confusion(*pair, everywhere(predicted), THREE), expected)


@given(label_pairs(3))
def test_class_scores_equal_sklearn(pair):
    predicted, reference = pair.reshape(2, -1)
    expected = sk.precision_recall_fscore_support(reference, predicted, labels=THREE.labels, zero_division=np.nan)
    found = score(*pair, THREE).per_class
    for measure, values in zip(("precision", "recall", "f1"), expected, strict=False):
        assert [found[name].values[measure] for name in THREE.names] == nan_to_none(values)


@given(label_pairs(3))
@pytest.mark.parametrize("average", ["micro", "macro", "weighted"])
def test_averages_equal_sklearn(average, pair):
    predicted, reference = pair.reshape(2, -1)
    assume(np.intersect1d(predicted, reference).size)  # where no weight is left, scikit-learn drops the weights
    *expected, _ = sk.precision_recall_fscore_support(
        reference, predicted, labels=THREE.labels, average=average, zero_division=np.nan
    )
    found = score(*pair, THREE).averages[average].values
    assert [found[measure] for measure in ("precision", "recall", "f1")] == nan_to_none(expected)


@given(label_pairs(3))
def test_iou_equals_sklearn(pair):
    predicted, reference = pair.reshape(2, -1)
    present = np.union1d(predicted, reference)
    expected = sk.jaccard_score(reference, predicted, labels=present, average=None)
    scores = score(*pair, THREE)
    assert [scores.per_class[str(label)].values["iou"] for label in present] == nan_to_none(expected)
    assert scores.averages["macro"].values["iou"] == pytest.approx(expected.mean())
    micro = sk.jaccard_score(reference, predicted, labels=present, average="micro")
    assert scores.averages["micro"].values["iou"] == pytest.approx(micro)


@given(label_pairs(3))
def test_accuracy_and_kappa_equal_sklearn(pair):
    predicted, reference = pair.reshape(2, -1)
    with warnings.catch_warnings(action="ignore"):
        kappa = sk.cohen_kappa_score(reference, predicted, labels=THREE.labels)
    overall = score(*pair, THREE).overall.values
    assert overall["accuracy"] == pytest.approx(sk.accuracy_score(reference, predicted))
    assert [overall["kappa"]] == nan_to_none([kappa])


def test_kappa_survives_counts_of_a_large_scene():
    small = np.array([[[90, 3], [2, 5]]])
    expected = score_pixels(small).overall.values["kappa"]
    assert score_pixels(small * 10**9).overall.values["kappa"] == pytest.approx(expected)


def test_weighted_average_without_weights_is_undefined():
    averages = score(np.array([[0]]), np.array([[1]]), Classes()).averages
    assert (averages["weighted"].values["precision"], averages["macro"].values["precision"]) == (None, 0.0)


def test_headline_is_the_class_change():
    reference = np.array([[0, 0, 0, 1, 1]], np.uint8)
    predicted = np.array([[0, 0, 1, 1, 0]], np.uint8)
    found = score(predicted, reference, Classes()).headline.values
    assert found["precision"] == sk.precision_score(reference[0], predicted[0])
    assert found["iou"] == sk.jaccard_score(reference[0], predicted[0])


def test_headline_of_several_classes_is_their_macro_average():
    reference = np.array([[0, 1, 2, 2]])
    scores = score(np.array([[0, 1, 2, 1]]), reference, THREE)
    assert scores.headline == scores.averages["macro"]


@given(label_pairs(2))
def test_swapping_the_sides_swaps_precision_and_recall(pair):
    there, back = score(*pair, Classes()), score(*pair[::-1], Classes())
    assert there.headline.values["precision"] == back.headline.values["recall"]
    assert there.headline.values["f1"] == back.headline.values["f1"]
    assert there.overall == back.overall


@given(label_pairs(3))
def test_perfect_prediction_scores_one_wherever_defined(pair):
    scores = score(pair[0], pair[0], THREE)
    figures = [scores.overall, *scores.per_class.values(), *scores.averages.values()]
    assert {value for f in figures for value in f.values.values()} <= {1.0, None}
    assert scores.overall.values["accuracy"] == 1


@pytest.mark.filterwarnings("error")
def test_undefined_figures_are_none_without_a_warning():
    nothing = score(np.zeros((2, 2)), np.zeros((2, 2)), Classes())
    assert set(nothing.headline.values.values()) == {None}
    assert nothing.overall.values == {"accuracy": 1.0, "kappa": None}
    unscored = score_pixels(np.zeros((0, 2, 2), np.int64))
    assert set(unscored.overall.values.values()) == {None}


def test_what_is_not_valid_is_not_scored():
    reference = np.array([[0, 1, 255, 1, 0]], np.uint8)
    predicted = np.array([[0, 1, 1, 255, 1]], np.uint8)
    valid = np.array([[True, True, False, False, False]])
    counts = confusion(predicted, reference, valid, Classes())
    np.testing.assert_array_equal(counts, [[1, 0], [0, 1]])


def test_labels_may_be_any_numbers():
    reference = np.array([[0.0, 255.0, 255.0]], np.float32)
    predicted = np.array([[0, 255, 0]], np.uint8)
    counts = confusion(predicted, reference, everywhere(predicted), Classes(labels=(0, 255)))
    np.testing.assert_array_equal(counts, [[1, 0], [1, 1]])


def test_unknown_label_is_named():
    with pytest.raises(BadOption, match="reference holds the label 7, but classes are 0, 1"):
        confusion(np.zeros((1, 2)), np.array([[0, 7]]), np.ones((1, 2), bool), Classes())


@pytest.mark.parametrize("count", [confusion, confusion_by_cell])
def test_other_shapes_are_refused(count):
    with pytest.raises(GridMismatch, match=r"\(2, 2\), \(2, 3\)"):
        count(np.zeros((2, 2)), np.zeros((2, 3)), np.ones((2, 2), bool), Classes())


@pytest.mark.parametrize(
    "options",
    [
        {"labels": (1,)},
        {"labels": (1, 1)},
        {"names": ("a", "a")},
        {"names": ("a", "b", "c")},
    ],
)
def test_contradictory_classes_are_refused(options):
    with pytest.raises(BadOption, match=r"must be (different|two or more different)"):
        Classes(**options)


@given(label_pairs(2), st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 5))
def test_cells_add_up_to_the_whole(pair, row, col, cell):
    valid = everywhere(pair[0])
    cells = confusion_by_cell(*pair, valid, Classes(), origin=(row, col), cell=cell)
    np.testing.assert_array_equal(cells.counts.sum(axis=0), confusion(*pair, valid, Classes()))
    assert cells.counts.sum(axis=(1, 2)).max() <= cell**2


@given(label_pairs(2), st.data())
def test_cells_do_not_depend_on_how_a_scene_is_read(pair, data):
    height, width = pair.shape[1:]
    cut_row, cut_col = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    whole = merge_cells([read_part(pair, 0, height, 0, width)])
    corners = [(rows, cols) for rows in ((0, cut_row), (cut_row, height)) for cols in ((0, cut_col), (cut_col, width))]
    parts = [read_part(pair, *rows, *cols) for rows, cols in data.draw(st.permutations(corners))]
    merged = merge_cells(parts)
    np.testing.assert_array_equal(merged.cells, whole.cells)
    np.testing.assert_array_equal(merged.counts, whole.counts)


def read_part(pair, top, bottom, left, right) -> CellCounts:
    predicted, reference = pair[:, top:bottom, left:right]
    return confusion_by_cell(predicted, reference, everywhere(predicted), Classes(), origin=(top, left), cell=4)


def random_cells(rng, cells, errors=(0.02, 0.05)):
    """Confusions of cells whose share of errors varies from one to the next."""
    wrong = rng.uniform(*errors, (cells, 2))
    change = rng.integers(50, 500, cells)
    misses, alarms = rng.binomial(change, wrong[:, 0]), rng.binomial(1000 - change, wrong[:, 1])
    return np.stack([1000 - change - alarms, alarms, misses, change - misses], axis=-1).reshape(-1, 2, 2)


def every_interval(scores):
    for figures in (scores.overall, *scores.per_class.values(), *scores.averages.values()):
        for measure, bounds in figures.intervals.items():
            yield figures.values[measure], bounds


def test_every_interval_contains_its_score():
    scores = score_pixels(random_cells(np.random.default_rng(0), 60))
    assert all(low < value < high for value, (low, high) in every_interval(scores))


def test_intervals_narrow_with_more_cells():
    few, many = (score_pixels(random_cells(np.random.default_rng(1), cells)) for cells in (40, 640))
    ratios = [
        (high_few - low_few) / (high - low)
        for (_, (low_few, high_few)), (_, (low, high)) in zip(every_interval(few), every_interval(many), strict=True)
    ]
    assert np.median(ratios) == pytest.approx(4, rel=0.3)  # the square root of 640 / 40


@pytest.mark.parametrize("cells", [0, 1])
def test_one_cell_has_no_intervals(cells):
    scores = score_pixels(random_cells(np.random.default_rng(2), 1)[:cells])
    assert {bounds for _, bounds in every_interval(scores)} == {None}


def test_empty_cells_change_nothing():
    matrices = random_cells(np.random.default_rng(3), 10)
    padded = np.concatenate([matrices, np.zeros((30, 2, 2), np.int64)])
    assert score_pixels(padded).to_dict() == score_pixels(matrices).to_dict()


def test_matrices_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="do not fit 3 classes"):
        score_pixels(np.zeros((4, 2, 2), np.int64), THREE)


@settings(max_examples=20)
@given(label_pairs(2))
def test_result_is_plain_json(pair):
    pixels = score(*pair, Classes())
    found = json.loads(json.dumps(Evaluation(pixels=pixels).to_dict(), allow_nan=False))
    assert found["objects"] is None
    assert found["pixels"]["count"] == pair[0].size
    assert found["pixels"]["precision"] == found["pixels"]["per_class"]["change"]["precision"]
    six = {"precision", "recall", "f1", "iou", "accuracy", "kappa"}
    assert set(found["pixels"]["intervals"]) == six <= set(found["pixels"])

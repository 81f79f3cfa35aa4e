"""Boundary scores: against brute force and scikit-image, and laws of blocks and cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from skimage.segmentation import find_boundaries

from geochange.errors import GridMismatch
from geochange.evaluation.bootstrap import merge_cells
from geochange.evaluation.boundary_scores import (
    BOUNDARY_HALO,
    TOLERANCES,
    boundaries_by_cell,
    boundary_pixels,
    score_boundaries,
)
from geochange.evaluation.classes import Classes
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition

THREE = Classes(labels=(0, 1, 2))


@st.composite
def scenes(draw, classes: int = 3, max_side: int = 20):
    """(predicted, reference, scored) of one small scene, with patches of labels and some pixels that are not scored."""
    height, width = draw(st.tuples(st.integers(1, max_side), st.integers(1, max_side)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from([1, 3, 6]))
    coarse = rng.integers(0, classes, (2, -(-height // size), -(-width // size))).astype(np.uint8)
    predicted, reference = coarse.repeat(size, axis=1).repeat(size, axis=2)[:, :height, :width]
    return predicted, reference, rng.random((height, width)) < draw(st.sampled_from([0.9, 1.0]))


def counts_of(scene, block=None, cell=1000, classes=THREE):
    """Merged counts of a scene that is read in square blocks."""
    shape = scene[2].shape
    padded = [np.pad(values, BOUNDARY_HALO) for values in scene]
    parts = []
    for tile in partition(shape, (block, block) if block else shape):
        rows, cols = Tile(tile.row, tile.col, tile.height + 2 * BOUNDARY_HALO, tile.width + 2 * BOUNDARY_HALO).slices()
        around = [values[rows, cols] for values in padded]
        parts.append(boundaries_by_cell(*around, classes, origin=(tile.row, tile.col), cell=cell))
    return merge_cells(parts)


def scores_of(predicted, reference, scored=None, classes=None):
    classes = classes or Classes()
    scene = predicted, reference, np.ones(predicted.shape, bool) if scored is None else scored
    return score_boundaries(counts_of(scene, classes=classes).counts, classes)


def edge_by_hand(labels, scored, label):
    """Coordinates of the boundary pixels of a class, pixel by pixel."""
    found = []
    for row, col in np.argwhere((labels == label) & scored):
        for r, c in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
            inside = 0 <= r < labels.shape[0] and 0 <= c < labels.shape[1]
            if inside and scored[r, c] and labels[r, c] != label:
                found.append((row, col))
                break
    return np.array(found, float).reshape(-1, 2)


@settings(max_examples=50)
@given(scenes())
def test_counts_equal_brute_force(scene):
    predicted, reference, scored = scene
    found = counts_of(scene).counts[0]
    for label in (1, 2):
        edges = edge_by_hand(predicted, scored, label), edge_by_hand(reference, scored, label)
        for side in (0, 1):
            nearest = cdist(edges[side], edges[1 - side]).min(axis=1, initial=np.inf)
            expected = [len(nearest), *(int((nearest <= tolerance).sum()) for tolerance in TOLERANCES)]
            assert found[label - 1, side].tolist() == expected


@given(scenes())
def test_boundary_pixels_are_those_of_scikit_image(scene):
    labels = scene[0]
    found = boundary_pixels(labels, np.ones(labels.shape, bool))
    np.testing.assert_array_equal(found, find_boundaries(labels, connectivity=1, mode="thick"))


@settings(max_examples=50)
@given(scenes(), st.integers(1, 9), st.sampled_from([4, 7, 100]))
def test_blocks_do_not_matter(scene, block, cell):
    whole, cut = counts_of(scene, cell=cell), counts_of(scene, block, cell)
    np.testing.assert_array_equal(cut.cells, whole.cells)
    np.testing.assert_array_equal(cut.counts, whole.counts)


@given(scenes())
def test_swapping_the_sides_swaps_precision_and_recall(scene):
    predicted, reference, scored = scene
    there, back = (scores_of(*pair, scored, THREE).micro.values for pair in ((predicted, reference), scene[1::-1]))
    for tolerance in TOLERANCES:
        assert there[f"precision_{tolerance}px"] == back[f"recall_{tolerance}px"]
        assert there[f"f1_{tolerance}px"] == back[f"f1_{tolerance}px"]


@given(scenes())
def test_no_wider_tolerance_scores_less(scene):
    counts = counts_of(scene).counts
    assert (np.diff(counts[..., 1:], axis=-1) >= 0).all()
    assert (counts[..., 1:] <= counts[..., :1]).all()


def square(row, col, side=10, shape=(40, 40)):
    mask = np.zeros(shape, np.uint8)
    mask[row : row + side, col : col + side] = 1
    return mask


@pytest.mark.parametrize("shift", [0, 1, 2, 3, 4, 5])
def test_a_shift_is_forgiven_up_to_the_tolerance(shift):
    scores = scores_of(square(10, 10 + shift), square(10, 10)).headline.values
    for tolerance in TOLERANCES:
        assert (scores[f"f1_{tolerance}px"] == 1) == (shift <= tolerance)


def test_distances_are_euclidean():
    scores = scores_of(square(12, 12, 1), square(10, 10, 1))
    assert scores.headline.values["f1_2px"] == 0  # 2.83 px away
    assert scores.headline.values["f1_4px"] == 1


def test_edges_of_nodata_and_of_the_scene_are_no_boundaries():
    mask, scored = square(0, 0, 20), np.ones((40, 40), bool)
    mask[20:30, :20], scored[20:30] = 1, False
    edge = boundary_pixels(mask, scored) & (mask > 0)
    np.testing.assert_array_equal(np.argwhere(edge), [(row, 19) for row in range(20)])


@pytest.mark.filterwarnings("error")
def test_undefined_figures_are_none_without_a_warning():
    empty, one = np.zeros((40, 40), np.uint8), square(10, 10)
    assert set(scores_of(empty, empty).headline.values.values()) == {None}
    missed = scores_of(empty, one).headline.values
    assert (missed["precision_1px"], missed["recall_1px"], missed["f1_1px"]) == (None, 0, 0)
    false = scores_of(one, empty).headline.values
    assert (false["precision_1px"], false["recall_1px"], false["f1_1px"]) == (0, None, 0)


def test_f_is_the_harmonic_mean():
    scores = scores_of(square(10, 10) | square(30, 30, 4), square(10, 10)).headline.values
    assert scores["precision_1px"] == pytest.approx(36 / 48)
    assert scores["recall_1px"] == 1
    assert scores["f1_1px"] == pytest.approx(2 * 0.75 / 1.75)


def test_intervals_come_from_cells():
    rng = np.random.default_rng(0)
    reference = (rng.random((12, 12)) < 0.3).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    predicted = np.where(rng.random(reference.shape) < 0.02, 1 - reference, reference)
    cells = counts_of((predicted, reference, np.ones(reference.shape, bool)), cell=8, classes=Classes())
    scores = score_boundaries(cells.counts)
    low, high = scores.headline.intervals["f1_1px"]
    assert low < scores.headline.values["f1_1px"] < high
    assert scores_of(predicted, reference).headline.intervals["f1_1px"] is None  # one cell


def test_classes_are_scored_each_and_pooled():
    reference = np.where(square(5, 5), 1, 0) + np.where(square(25, 25), 2, 0)
    scores = scores_of(np.where(reference == 2, 0, reference), reference, classes=THREE)
    assert scores.per_class["1"].values["f1_1px"] == 1
    assert scores.per_class["2"].values["recall_4px"] == 0
    assert scores.headline.values["recall_1px"] == 0.5
    assert scores.to_dict()["headline"] == "micro"
    assert scores.to_dict()["per_class"]["2"]["support"] == {"predicted": 0, "reference": 36}


def test_labels_may_be_any_numbers():
    reference = np.where(square(5, 5), 300, 0) + np.where(square(25, 25), -7, 0)
    strange = Classes(labels=(0, -7, 300))
    scores = scores_of(np.where(reference == 300, 0, reference), reference, classes=strange)
    assert scores.per_class["-7"].values["f1_1px"] == 1
    assert scores.per_class["300"].values["recall_1px"] == 0


def test_shapes_that_differ_are_refused():
    with pytest.raises(GridMismatch, match=r"\(30, 31\)"):
        boundaries_by_cell(np.zeros((30, 30)), np.zeros((30, 31)), np.ones((30, 30), bool), Classes())


def test_counts_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="do not fit 2 classes"):
        score_boundaries(np.zeros((4, 1, 2, 4), np.int64), THREE)

"""Object scores: matching against brute force, and laws."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geochange.errors import BadOption, UnreadableInput
from geochange.evaluation.object_scores import ObjectOptions, match_objects, score_objects

NONE = np.zeros(0, object)


def boxes(most):
    """Up to `most` small boxes that often overlap."""
    corner, side = st.integers(0, 4), st.integers(1, 4)
    box = st.builds(lambda x, y, w, h: shapely.box(x, y, x + w, y + h), corner, corner, side, side)
    return st.lists(box, max_size=most).map(lambda found: np.array(found, object))


def pairwise_iou(predicted, reference):
    a, b = predicted[:, None], reference[None]
    return shapely.area(shapely.intersection(a, b)) / shapely.area(shapely.union(a, b))


def brute_force(iou, threshold):
    """(pairs, sum of IoU) of the best matching: every way to give each row a column of its own."""
    rows, cols = iou.shape
    padded = np.concatenate([np.where(iou >= threshold - 1e-9, iou, 0), np.zeros((rows, rows))], axis=1)
    tries = [padded[np.arange(rows), list(way)] for way in permutations(range(cols + rows), rows)]
    return max((int((t > 0).sum()), round(float(t.sum()), 9)) for t in tries)


@settings(max_examples=60)
@given(boxes(3), boxes(4), st.sampled_from([0.1, 0.3, 0.5, 0.75]))
def test_matching_is_the_best_of_all(predicted, reference, threshold):
    found = match_objects(predicted, reference, threshold)
    iou = pairwise_iou(predicted, reference)
    np.testing.assert_allclose(found.iou, iou[found.predicted, found.reference])
    assert (found.iou >= threshold - 1e-9).all()
    assert len(set(found.predicted)) == len(set(found.reference)) == len(found.iou)
    best = brute_force(iou, threshold)
    assert (len(found.iou), float(found.iou.sum())) == (best[0], pytest.approx(best[1]))


@given(boxes(6), boxes(6))
def test_swapping_the_sides_swaps_precision_and_recall(predicted, reference):
    there = score_objects(predicted, reference).figures.values
    back = score_objects(reference, predicted).figures.values
    assert (there["precision"], there["recall"], there["f1"]) == (back["recall"], back["precision"], back["f1"])
    assert there["mean_iou"] == pytest.approx(back["mean_iou"])


@given(boxes(6))
def test_a_set_matches_itself_wholly(objects):
    found = score_objects(objects, objects[::-1])
    assert found.matched == found.predicted == len(objects)
    assert set(found.figures.values.values()) == ({1.0} if len(objects) else {None})


@given(boxes(6), boxes(6), st.randoms(use_true_random=False))
def test_order_of_objects_does_not_matter(predicted, reference, random):
    shuffled = random.sample(list(predicted), len(predicted))
    there, other = (score_objects(p, reference).figures.values for p in (predicted, shuffled))
    assert there == pytest.approx(other)


def test_more_pairs_come_before_larger_overlap():
    predicted = np.array([shapely.box(0, 0, 10, 1), shapely.box(0, 0, 3.5, 1)])
    reference = np.array([shapely.box(0, 0, 10, 1), shapely.box(0, 0, 30, 1)])
    found = match_objects(predicted, reference, 0.3)  # a twin (1.0), or two poor pairs (0.33 and 0.35)
    assert list(zip(found.predicted, found.reference, strict=True)) == [(0, 1), (1, 0)]


def test_counts_and_rates_of_a_small_scene():
    square = shapely.box(0, 0, 10, 10)
    reference = np.array([shapely.transform(square, lambda xy, d=d: xy + d) for d in (0, 100, 200, 300)])
    predicted = np.array([square, shapely.box(102, 100, 112, 110), shapely.box(209, 200, 219, 210)])
    found = score_objects(predicted, reference).to_dict()
    assert (found["matched"], found["predicted"], found["reference"]) == (2, 3, 4)
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx((2 / 3, 1 / 2, 4 / 7))
    assert found["mean_iou"] == pytest.approx((1 + 80 / 120) / 2)


def test_iou_of_exactly_the_threshold_matches_far_from_the_origin():
    east, north = 500_000.1, 4_649_776.22  # where the overlay falls 1.5e-10 short
    whole, half = (shapely.box(east, north, east + 0.1 * n, north + 0.1) for n in (2, 1))
    assert match_objects(np.array([half]), np.array([whole]), 0.5).iou == pytest.approx([0.5])


@pytest.mark.filterwarnings("error")
def test_nothing_predicted_has_a_recall_and_no_precision():
    found = score_objects(NONE, np.array([shapely.box(0, 0, 1, 1)])).figures.values
    assert found == {"precision": None, "recall": 0.0, "f1": 0.0, "mean_iou": None}


def scattered(rng, count, extent):
    """Pairs of squares, of which the second is moved by a random step."""
    x, y = rng.uniform(0, extent, (2, count))
    step_x, step_y = rng.normal(0, 1.5, (2, count))
    first = shapely.box(x, y, x + 10, y + 10)
    return first, shapely.box(x + step_x, y + step_y, x + step_x + 10, y + step_y + 10)


def test_every_interval_contains_its_score_and_narrows_with_more_cells():
    rng = np.random.default_rng(0)
    few, many = (score_objects(*scattered(rng, n, n * 50), ObjectOptions(cell=100)).figures for n in (50, 800))
    for name, (low, high) in few.intervals.items():
        assert low < few.values[name] < high
        assert many.intervals[name][1] - many.intervals[name][0] < (high - low) / 2


def test_objects_of_one_cell_have_no_intervals():
    found = score_objects(*scattered(np.random.default_rng(1), 20, 100), ObjectOptions(cell=10_000))
    assert found.cells == 1
    assert set(found.figures.intervals.values()) == {None}


def test_invalid_polygon_is_repaired_and_counted():
    bowtie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    spike = shapely.Polygon([(0, 0), (1, 0), (1, 1), (1, 5), (1, 1), (0, 1)])
    repaired = np.array([shapely.union_all(shapely.polygons([[(0, 0), (1, 1), (0, 2)], [(2, 2), (1, 1), (2, 0)]]))])
    found = score_objects(np.array([bowtie]), repaired)
    assert (found.repaired, found.figures.values["mean_iou"]) == (1, 1.0)
    found = score_objects(np.array([spike]), np.array([shapely.box(0, 0, 1, 1)]))
    assert (found.repaired, found.figures.values["mean_iou"]) == (1, 1.0)


@pytest.mark.parametrize(
    ("geometry", "kind"),
    [(None, "missing"), (shapely.Point(1, 2), "a Point"), (shapely.Polygon(), "a Polygon and encloses no area")],
)
def test_what_is_not_an_area_is_refused_by_its_number(geometry, kind):
    objects = np.array([shapely.box(0, 0, 1, 1), geometry], object)
    with pytest.raises(UnreadableInput, match=f"reference object 1 is {kind}"):
        score_objects(NONE, objects)


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 1.5}, {"cell": 0.0}, {"cell": -1.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(BadOption, match=r"must (lie above 0|be positive)"):
        ObjectOptions(**options)

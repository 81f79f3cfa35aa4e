"""Boxes become objects: merged from above to below as if all at once, with the counts of all their pixels."""

import re

import numpy as np
import pytest

from geochange.detectors.boxes import boxes_of, join_boxes, no_boxes, suppress
from geochange.errors import BadOption
from geochange.polygons.boxes import BoxMerger, object_threshold, regions_of
from geochange.probability.options import Threshold


def box(left, top, right, bottom, score=0.5, kind=1):
    """One box of a class, found at its upper left corner."""
    return boxes_of(np.array([[left, top, right, bottom, kind, score, top, left]], float))


def rows_of(boxes):
    return sorted(map(tuple, boxes.pack().tolist()))


def test_a_box_is_finished_once_it_ends_above_all_that_a_lower_box_can_reach():
    merger = BoxMerger(reach=5)
    assert len(merger.add(box(2, 3, 9, 11), 16)) == 0
    assert rows_of(merger.add(no_boxes(), 17)) == rows_of(box(2, 3, 9, 11))
    assert len(merger.finish()) == 0


def test_boxes_that_are_linked_wait_for_the_lowest_of_them():
    upper, lower, apart = box(2, 3, 9, 11, 0.9), box(3, 4, 9, 20, 0.6), box(30, 3, 37, 11)
    merger = BoxMerger(reach=5)
    assert rows_of(merger.add(join_boxes([upper, lower, apart]), 17)) == rows_of(apart)
    assert rows_of(merger.finish()) == rows_of(upper)
    assert len(merger.finish()) == 0


@pytest.mark.parametrize("step", [7, 20, 41])
def test_boxes_row_by_row_give_what_all_of_them_give_together(step):
    rng = np.random.default_rng(4)
    corner, sides = rng.uniform(0, (90, 60), (150, 2)), rng.uniform(2, (9, 6), (150, 2))
    parts = np.column_stack(
        [corner, corner + sides, rng.integers(1, 4, 150), rng.uniform(0.1, 1, 150), corner[:, ::-1]]
    )
    boxes, merger, found = boxes_of(parts), BoxMerger(reach=2), []
    for row in range(0, 70, step):
        cells = boxes.cells[:, 0] // 16
        found.append(merger.add(boxes.where((cells >= row) & (cells < row + step)), row + step))
    assert rows_of(join_boxes([*found, merger.finish()])) == rows_of(suppress(boxes))


def test_a_region_has_the_area_score_and_shape_of_its_box():
    regions = regions_of(join_boxes([box(2, 3, 9, 14, 0.75, 2), box(5, 1, 5.25, 1.5, 0.5, 1)]))
    counts = regions.counts
    assert counts.area_px.tolist() == [77, 1]
    assert counts.score_max.tolist() == [7500, 5000]
    assert counts.score_sum.tolist() == [77 * 7500, 5000]
    assert counts.classes.tolist() == [2, 1]
    assert regions.first.tolist() == [[8, 5], [1, 5]]
    assert regions.polygons[0].bounds == (2, 3, 9, 14)
    assert regions.polygons[0].area == 77


def test_the_threshold_of_objects_is_as_given_or_as_the_detector_keeps_it():
    kept = {"default": 0.35, "recall=0.9": 0.2}
    assert object_threshold(0.6, kept) == Threshold(0.6, 0.6)
    assert object_threshold("0.6", kept) == Threshold(0.6, 0.6)
    assert object_threshold(None, kept) == Threshold(0.35, 0.35)
    assert object_threshold(None, {}) == Threshold(0.5, 0.5)
    assert object_threshold("recall=0.9", kept) == Threshold(0.2, 0.2)


@pytest.mark.parametrize("wanted", ["otsu", "f1", "local"])
def test_a_threshold_for_pixels_is_refused_for_objects(wanted):
    words = f"threshold '{wanted}' is for pixels; objects take a number, precision=0.9 or recall=0.9"
    with pytest.raises(BadOption, match=re.escape(words)):
        object_threshold(wanted, {"default": 0.4})


def test_hysteresis_and_a_share_that_is_not_kept_are_refused_for_objects():
    with pytest.raises(BadOption, match=r"threshold '0\.2:0\.9': objects have one score each, so give one number"):
        object_threshold("0.2:0.9", {})
    with pytest.raises(BadOption, match=r"no threshold is kept for recall=0\.8; those that are: recall=0\.9"):
        object_threshold("recall=0.8", {"default": 0.4, "recall=0.9": 0.2})

"""Boxes: which of those that mean one object stay, whatever their order."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geochange.detectors.boxes import (
    CONTAINED,
    PIXEL_PARTS,
    SHARED,
    Boxes,
    boxes_of,
    groups_of,
    join_boxes,
    no_boxes,
    suppress,
)
from geochange.polygons.boxes import BoxMerger, regions_of


def make(corners, scores=None, classes=None):
    """Boxes of (n, 4) left, top, right, bottom in pixels, found at their middles."""
    corners = np.asarray(corners, float).reshape(-1, 4)
    middles = np.rint((corners[:, [1, 0]] + corners[:, [3, 2]]) / 2)
    scores = np.full(len(corners), 0.5) if scores is None else np.asarray(scores)
    classes = np.ones(len(corners)) if classes is None else np.asarray(classes)
    return boxes_of(np.column_stack([corners, classes, scores, middles]))


@st.composite
def crowds(draw, most=40):
    count = draw(st.integers(0, most))
    numbers = draw(
        st.lists(
            st.tuples(
                st.integers(0, 120), st.integers(0, 120), st.integers(1, 24), st.integers(1, 24), st.integers(1, 9)
            ),
            min_size=count,
            max_size=count,
        )
    )
    rows = np.array(numbers, float).reshape(-1, 5)
    return make(np.column_stack([rows[:, :2], rows[:, :2] + rows[:, 2:4]]), rows[:, 4] / 10)


def as_set(boxes):
    return {tuple(row) for row in boxes.pack().tolist()}


def plain_suppression(boxes):
    """The textbook's loop, with every pair compared."""
    left, top, right, bottom = boxes.corners.T
    order = sorted(range(len(boxes)), key=lambda k: (-boxes.scores[k], top[k], left[k], bottom[k], right[k]))
    kept = []
    for k in order:
        for j in kept:
            a, b = boxes.corners[j], boxes.corners[k]
            sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
            shared = float(np.prod(np.maximum(sides, 0)))
            areas = boxes.areas[j], boxes.areas[k]
            touching = (sides >= 0).all()
            one_centre = (boxes.centres[j] == boxes.centres[k]).all()
            if touching and (shared / (sum(areas) - shared) > SHARED or shared > CONTAINED * min(areas) or one_centre):
                break
        else:
            kept.append(k)
    return boxes.where(np.array(kept, int))


@given(crowds())
def test_suppression_is_the_textbooks(boxes):
    assert as_set(suppress(boxes)) == as_set(plain_suppression(boxes))


@given(crowds(), st.randoms(use_true_random=False))
def test_the_order_of_boxes_does_not_matter(boxes, random):
    order = list(range(len(boxes)))
    random.shuffle(order)
    shuffled = suppress(boxes.where(np.array(order, int)))
    np.testing.assert_array_equal(shuffled.pack(), suppress(boxes).pack())


@given(crowds())
def test_nothing_is_left_out_without_a_better_one_and_none_twice(boxes):
    kept = suppress(boxes)
    assert as_set(suppress(kept)) == as_set(kept) <= as_set(boxes)
    assert len({tuple(each) for each in kept.centres.tolist()}) == len(kept)


def test_torchvision_leaves_out_the_same_where_only_overlap_counts():
    torchvision_ops = pytest.importorskip("torchvision").ops
    import torch

    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 400, (300, 2))
    boxes = make(
        np.hstack([corner, corner + 20 + 0.01 * rng.random((300, 2))]), rng.random(300)
    )  # one size: none inside
    kept = torchvision_ops.nms(
        torch.tensor(boxes.corners, dtype=torch.float64), torch.tensor(boxes.scores / 1.0), SHARED
    )
    assert as_set(boxes.where(kept.numpy())) == as_set(suppress(boxes))


@given(crowds(), st.lists(st.integers(1, 140), max_size=6, unique=True))
def test_boxes_joined_row_by_row_are_those_of_the_whole_scene(boxes, cuts):
    merger, rows, found = BoxMerger(reach=14), [0, *sorted(cuts), 10_000], []
    cells = boxes.cells[:, 0] // PIXEL_PARTS
    for first, stop in pairwise(rows):
        found.append(merger.add(boxes.where((cells >= first) & (cells < stop)), stop))
    found.append(merger.finish())
    assert as_set(join_boxes(found)) == as_set(suppress(boxes))


def test_what_nothing_below_can_touch_is_given_back_at_once():
    merger = BoxMerger(reach=10)
    early, late = make([[0, 0, 8, 8]]), make([[0, 85, 8, 95]])
    assert len(merger.add(join_boxes([early, late]), 100)) == 1
    assert len(merger.finish()) == 1
    assert len(merger.finish()) == 0


def test_groups_are_linked_by_boxes_that_mean_one_object():
    groups = groups_of(make([[0, 0, 10, 10], [0, 4, 10, 14], [0, 8, 10, 18], [9, 0, 19, 10], [20, 20, 22, 22]]))
    assert groups[0] == groups[1] == groups[2]  # the first and the third through the second
    assert len({*groups.tolist()}) == 3  # the fourth shares too little


def test_packing_and_moving_keep_everything():
    boxes = make([[1.5, 2, 4, 6.25], [0, 0, 1, 1]], [0.25, 0.75], [1, 2])
    np.testing.assert_array_equal(Boxes.unpack(boxes.pack()).pack(), boxes.pack())
    moved = boxes.move(10, 20)
    np.testing.assert_array_equal(moved.corners - boxes.corners, [[20 * PIXEL_PARTS, 10 * PIXEL_PARTS] * 2] * 2)
    np.testing.assert_array_equal(moved.cells - boxes.cells, [[10 * PIXEL_PARTS, 20 * PIXEL_PARTS]] * 2)
    assert len(no_boxes()) == 0


def test_regions_hold_what_boxes_say():
    boxes = make([[1.5, 2, 4, 6.25], [10, 10, 11, 11]], [0.25, 0.75], [1, 2])
    regions = regions_of(boxes)
    assert regions.counts.classes.tolist() == [1, 2]
    np.testing.assert_allclose(regions.counts.score_sum / regions.counts.area_px, [2500, 7500])
    assert regions.counts.area_px.tolist() == [11, 1]
    assert [each.bounds for each in regions.polygons] == [(1.5, 2.0, 4.0, 6.25), (10, 10, 11, 11)]
    assert all(each.exterior.is_ccw for each in regions.polygons)
    assert regions.first.tolist() == [[4, 2], [10, 10]]

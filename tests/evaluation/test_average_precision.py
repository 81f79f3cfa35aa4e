"""Average precision: that of pycocotools, and recall at a number of false alarms."""

import contextlib
import io

import numpy as np
import pytest
import shapely

from geochange.errors import BadOption
from geochange.evaluation.average_precision import SIZES, THRESHOLDS, Objects, PrecisionOptions, average_precision


def boxes(rng, count, images, classes, side):
    corner, size = rng.uniform(0, 120, (count, 2)), rng.uniform(*side, (count, 2))
    return np.hstack([corner, corner + size]), rng.integers(0, images, count), rng.integers(1, classes + 1, count)


def scene(seed, images=4, classes=2, count=120, side=(3, 60)):
    """What is there, and what was found: much of it nearly right, some doubled, some of nothing."""
    rng = np.random.default_rng(seed)
    there, image, kind = boxes(rng, count, images, classes, side)
    picked = rng.choice(count, count, replace=True)
    shaken = there[picked] + rng.normal(0, 1, (count, 4)) * rng.uniform(0, 4, (count, 1))
    shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2] + 1)
    other, its_image, its_kind = boxes(rng, count // 2, images, classes, side)
    found = np.concatenate([shaken, other])
    scores = np.round(rng.random(len(found)), 2)  # equals occur
    return (
        Objects(shapely.box(*found.T), np.append(image[picked], its_image), np.append(kind[picked], its_kind), scores),
        Objects(shapely.box(*there.T), image, kind),
    )


def by_pycocotools(found, there, span):
    """Precision (threshold,) averaged over recalls and classes."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")

    def listed(objects):
        left, top, right, bottom = shapely.bounds(objects.polygons).T
        for k in range(len(objects)):
            width, height = right[k] - left[k], bottom[k] - top[k]
            yield {
                "id": k + 1,
                "image_id": int(objects.images[k]),
                "category_id": int(objects.classes[k]),
                "bbox": [left[k], top[k], width, height],
                "area": width * height,
                "iscrowd": 0,
                **({} if objects.scores is None else {"score": float(objects.scores[k])}),
            }

    truth = coco.COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": int(k)} for k in np.unique(there.images)],
        "categories": [{"id": int(k)} for k in np.unique(there.classes)],
        "annotations": list(listed(there)),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        scoring = cocoeval.COCOeval(truth, truth.loadRes(list(listed(found))), "bbox")
        scoring.params.areaRng, scoring.params.areaRngLbl = [[span[0] ** 2, min(span[1] ** 2, 1e10)]], ["all"]
        scoring.params.maxDets = [100_000]
        scoring.evaluate()
        scoring.accumulate()
    precision = scoring.eval["precision"][:, :, :, 0, 0]  # (threshold, recall, class)
    kinds = (precision > -1).all(axis=(0, 1))
    return precision[:, :, kinds].mean(axis=(1, 2))


@pytest.mark.parametrize("seed", range(8))
def test_it_is_that_of_pycocotools_for_all_and_by_size(seed):
    found, there = scene(seed)
    ours = average_precision(found, there)
    for span, each in [((0.0, 1e5), ours.all), *((SIZES[name], part) for name, part in ours.sizes.items())]:
        if each.count:
            theirs = by_pycocotools(found, there, span)
            assert each.ap == pytest.approx(theirs.mean(), abs=1e-9)
            assert each.ap50 == pytest.approx(theirs[0], abs=1e-9)
            assert each.ap75 == pytest.approx(theirs[THRESHOLDS.index(0.75)], abs=1e-9)


def test_the_order_of_rows_does_not_matter_where_no_scores_are_equal():
    found, there = scene(3)
    found = Objects(found.polygons, found.images, found.classes, np.random.default_rng(0).permutation(len(found)) / 999)
    shuffled = np.random.default_rng(1).permutation(len(found))
    assert average_precision(found.where(shuffled), there) == average_precision(found, there)


def test_finding_all_and_nothing_else_is_1_and_finding_nothing_0():
    _, there = scene(0)
    every = Objects(there.polygons, there.images, there.classes, np.linspace(0.1, 0.9, len(there)))
    assert average_precision(every, there).all.ap == pytest.approx(1)
    assert average_precision(every.where(np.zeros(len(every), bool)), there).all.ap == 0


def test_where_nothing_is_nothing_is_said():
    found, there = scene(0)
    none = there.where(np.zeros(len(there), bool))
    measured = average_precision(found, none, PrecisionOptions(pixels=1e4))
    assert measured.all.to_dict() == {"ap": None, "ap50": None, "ap75": None, "recall": None, "count": 0}


def test_recall_is_what_is_found_before_there_are_too_many_false_alarms():
    squares = [shapely.box(x, 0, x + 4, 4) for x in (0, 10, 20, 30, 40, 50)]
    there = Objects(np.array(squares[:4]), np.zeros(4, int), np.ones(4, int))
    found = Objects(
        np.array([squares[0], squares[4], squares[1], squares[5], squares[2]]),
        np.zeros(5, int),
        np.ones(5, int),
        np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
    )
    measured = [average_precision(found, there, PrecisionOptions(pixels=1e6, alarms=k)) for k in (0, 1, 2)]
    assert [each.all.recall for each in measured] == [0.25, 0.5, 0.75]
    assert [each.threshold for each in measured] == [0.9, 0.7, 0.5]
    assert average_precision(found, there).all.recall is None


def test_equal_scores_come_or_go_together():
    squares = np.array([shapely.box(x, 0, x + 4, 4) for x in (0, 10)])
    there = Objects(squares[:1], np.zeros(1, int), np.ones(1, int))
    found = Objects(squares, np.zeros(2, int), np.ones(2, int), np.array([0.5, 0.5]))
    measured = average_precision(found, there, PrecisionOptions(pixels=1e6, alarms=0.5))
    assert measured.all.recall == 0
    assert measured.threshold == float("inf")


def test_polygons_match_by_their_own_area():
    circle = shapely.Point(10, 10).buffer(5)
    there = Objects(np.array([circle]), np.zeros(1, int), np.ones(1, int))
    found = Objects(np.array([circle.envelope]), np.zeros(1, int), np.ones(1, int), np.array([0.5]))
    share = np.pi / 4
    assert average_precision(found, there).all.ap == pytest.approx(np.mean([share >= t for t in THRESHOLDS]), abs=1e-6)


def test_what_cannot_be_is_refused():
    with pytest.raises(BadOption, match=r"IoU 0 of a find must lie above 0"):
        PrecisionOptions(least=0)
    _, there = scene(0)
    with pytest.raises(ValueError, match="score"):
        average_precision(there, there)

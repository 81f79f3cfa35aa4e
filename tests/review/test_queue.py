"""The order in which changes are looked at."""

import numpy as np
import pytest

from geochange.review.base import Columns
from geochange.review.queue import AT_ONCE, ORDERS, SCREEN


def columns_of(count, seed=0, side=3 * SCREEN):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, side - 30, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(2, 30, (count, 2))], axis=1)
    ids = np.sort(rng.choice(np.arange(1, 10 * count + 1), count, replace=False))
    scores = rng.random(count).astype(np.float32)
    labels = rng.integers(0, 3, count).astype(np.uint8)
    areas, confidences = rng.integers(1, 500, count).astype(np.float32), rng.random(count).astype(np.float32)
    return Columns(ids, labels, scores, areas, boxes.astype(np.float32), confidences)


def doubt_of(columns):
    return (1 - abs(2 * columns.scores - 1)) * np.sqrt(columns.areas)


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("count", [0, 1, 500])
def test_each_change_comes_once(name, count):
    assert sorted(ORDERS[name](columns_of(count)).tolist()) == list(range(count))


def test_the_first_doubtful_ones_are_the_most_doubtful_of_each_neighbourhood():
    columns = columns_of(900)
    order = ORDERS["doubtful"](columns)
    doubt = doubt_of(columns)
    middles = (columns.boxes[:, :2] + columns.boxes[:, 2:]) / 2
    cells = [tuple(each) for each in np.floor(middles / SCREEN).astype(int).tolist()]
    first = [order[start : start + AT_ONCE] for start in range(0, len(set(cells)) * AT_ONCE, AT_ONCE)]
    for group in first:
        (cell,) = {cells[place] for place in group}
        others = [place for place in range(900) if cells[place] == cell]
        assert set(group) == set(sorted(others, key=lambda place: -doubt[place])[:AT_ONCE])
        assert (np.diff(middles[group, 0]) >= 0).all()
    sums = [doubt[group].sum() for group in first]
    assert sums == sorted(sums, reverse=True)
    assert len({cells[group[0]] for group in first}) == len(set(cells))


def test_the_most_confident_come_first_and_those_without_confidence_last():
    columns = columns_of(300)
    columns.confidences[::3] = np.nan
    confidences = columns.confidences[ORDERS["confidence"](columns)]
    assert (np.diff(confidences[:200]) <= 0).all()
    assert np.isnan(confidences[200:]).all()


def test_size_and_class_and_place_are_as_they_say():
    columns = columns_of(300)
    areas, labels = columns.areas, columns.labels
    assert (np.diff(areas[ORDERS["size"](columns)]) <= 0).all()
    by_class = ORDERS["class"](columns)
    assert (np.diff(labels[by_class].astype(int)) >= 0).all()
    for label in range(3):
        assert (np.diff(areas[by_class][labels[by_class] == label]) <= 0).all()
    middles = (columns.boxes[:, :2] + columns.boxes[:, 2:]) / 2
    cells = np.floor(middles[ORDERS["place"](columns)][:, ::-1] / SCREEN)
    assert (np.diff(cells[:, 0] * 1000 + cells[:, 1]) >= 0).all()


def test_the_random_sample_is_one_of_all_and_the_same_each_time():
    columns = columns_of(2000)
    order = ORDERS["random"](columns)
    assert (order == ORDERS["random"](columns)).all()
    assert abs(columns.scores[order[:200]].mean() - columns.scores.mean()) < 0.06

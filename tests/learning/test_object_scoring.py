"""Objects of labelled samples, found by a network whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

from geochange.datasets.collection import open_collection  # noqa: E402
from geochange.datasets.options import CollectionOptions  # noqa: E402
from geochange.learning.object_scoring import find_items, hits_of, score_histogram  # noqa: E402
from geochange.learning.scoring import ScoringOptions  # noqa: E402
from tests.tiny_network import NORMALISATION, write_pairs  # noqa: E402


class Finding:
    """Finds the same boxes in every sample: left, top, right, bottom, class, score, row, col; in its own pixels."""

    stride = 4

    def __init__(self, *boxes):
        self.boxes, self.sides = torch.tensor(boxes, dtype=torch.float32), []

    def eval(self):
        return self

    def with_objects(self, dates):
        self.sides.append(tuple(dates.shape[-2:]))
        return None, torch.cat([torch.zeros(len(self.boxes), 1), self.boxes], dim=1)


BOXES = (
    (2.0, 3.0, 6.0, 9.0, 1, 0.9, 6, 4),
    (10.0, 12.0, 15.0, 14.0, 2, 0.7, 13, 12),
    (20.0, 20.0, 31.0, 30.0, 1, 0.5, 24, 24),  # beyond the sample
    (16.0, 2.0, 19.0, 5.0, 1, 0.8, 3, 17),  # where nothing is labelled
)


@pytest.fixture
def pairs(tmp_path):
    folder = write_pairs(tmp_path / "pairs", ["a", "b", "c"])
    for k, name in enumerate("abc"):
        labels = np.zeros((24, 24), np.uint8)
        labels[3:9, 2:6], labels[12:14, 10:15], labels[:, 16:19] = 1, 2, 9
        labels[20 + k, 2:5] = 1
        Image.fromarray(labels).save(folder / "label" / f"{name}.png")
    return open_collection(folder, CollectionOptions(classes=("built", "felled"), values=(1, 2), ignore=(9,)))


def test_objects_whose_middle_is_labelled_are_found_in_the_items_asked_for(pairs):
    items = list(find_items(Finding(*BOXES), pairs, NORMALISATION, ScoringOptions(), [2, 0]))
    assert len(list(find_items(Finding(*BOXES), pairs, NORMALISATION, ScoringOptions()))) == 3
    for row, item in zip((22, 20), items, strict=True):
        assert item.found.tolist() == [[2, 3, 6, 9], [10, 12, 15, 14], [20, 20, 24, 24]]
        assert item.found_classes.tolist() == [1, 2, 1]
        assert item.scores.tolist() == [0.9, 0.7, 0.5]
        assert sorted(item.there.tolist()) == sorted([[2, 3, 6, 9], [10, 12, 15, 14], [2, row, 5, row + 1]])
        assert sorted(item.there_classes.tolist()) == [1, 1, 2]
        assert item.pixels == 24 * 21
        assert hits_of(item).tolist() == [True, True, False]
    assert score_histogram(items).counts[1].sum() == 6


def test_boxes_come_back_in_the_pixels_of_the_sample(pairs):
    network = Finding(*(tuple(2 * np.array(box[:4])) + box[4:6] + (2 * box[6], 2 * box[7]) for box in BOXES))
    (item,) = find_items(network, replace(pairs, gsd=1.0), NORMALISATION, ScoringOptions(gsd=0.5), [1])
    assert network.sides == [(48, 48)]
    assert item.found.tolist() == [[2, 3, 6, 9], [10, 12, 15, 14], [20, 20, 24, 24]]


def test_boxes_of_less_than_a_pixel_within_the_sample_are_none(pairs):
    boxes = (
        (23.5, 4.0, 30.0, 9.0, 1, 0.9, 6, 23),
        (4.0, 4.0, 4.9, 9.0, 1, 0.8, 6, 4),
        (4.0, 9.0, 9.0, 10.0, 1, 0.7, 9, 6),
    )
    (item,) = find_items(Finding(*boxes), pairs, NORMALISATION, ScoringOptions(), [0])
    assert item.found.tolist() == [[4, 9, 9, 10]]

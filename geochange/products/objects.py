"""Boxes of a scene, block by block, to finished objects: each object once. Pure."""

from __future__ import annotations

import numpy as np

from geochange.detectors.boxes import PARTS, Boxes, groups_of, join_boxes, no_boxes, suppress
from geochange.products.polygons import Counts, Regions


class BoxMerger:
    """Takes boxes from above to below, and gives those back that nothing below can touch, suppressed.

    Suppression acts among boxes that are linked by overlaps. Once all of such a group is there, its result is that of
    all boxes of the scene together.
    """

    def __init__(self, reach: int) -> None:
        """
        Args:
            reach: pixels above its cell that a box can begin.
        """
        self._reach, self._waiting = reach, no_boxes()

    def add(self, boxes: Boxes, row: int) -> Boxes:
        """Take the boxes of all cells above a row, and give back what is finished."""
        self._waiting = join_boxes([self._waiting, boxes])
        return self._settle((row - self._reach) * PARTS)

    def finish(self) -> Boxes:
        """What is left."""
        return self._settle(None)

    def _settle(self, line: int | None) -> Boxes:
        boxes = self._waiting
        if not len(boxes):
            return boxes
        if line is None:
            done = np.ones(len(boxes), bool)
        else:
            groups = groups_of(boxes)
            lowest = np.full(groups.max() + 1, np.iinfo(np.int64).min)
            np.maximum.at(lowest, groups, boxes.corners[:, 3])
            done = lowest[groups] < line
        self._waiting = boxes.where(~done)
        return suppress(boxes.where(done))


def regions_of(boxes: Boxes) -> Regions:
    """Boxes as regions: their scores are those of all their pixels; they begin at the pixel of their centre."""
    area = np.maximum(np.rint(boxes.areas / PARTS**2).astype(np.int64), 1)
    counts = Counts(boxes.classes.astype(np.uint8), area, boxes.scores * area, boxes.scores, boxes.on_edge)
    return Regions(counts, boxes.centres, boxes.polygons())

"""Boxes that a detector found, block by block, as finished objects: each object once, in a store on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from pathlib import Path

import numpy as np

from geochange.detectors.boxes import PIXEL_PARTS, SCORE_STEPS, Boxes, groups_of, join_boxes, no_boxes, suppress
from geochange.engine.inference import Inference
from geochange.engine.work import Work
from geochange.errors import BadOption
from geochange.polygons.options import RegionOptions
from geochange.polygons.regions import Counts, Regions
from geochange.polygons.store import RegionStore
from geochange.polygons.tracing import FoundRegions, at_least, band_rows
from geochange.probability.options import Threshold, parse_threshold
from geochange.probability.threshold_search import ChosenThreshold, require_threshold


class BoxMerger:
    """Takes boxes from above to below, and returns those that nothing below can touch, suppressed.

    Suppression acts among boxes that are linked by overlaps. Once all of such a group is there, its result is that of
    all boxes of the scene together.
    """

    def __init__(self, reach: int) -> None:
        """Start without boxes.

        Args:
            reach: pixels above its cell that a box can begin.
        """
        self._reach, self._waiting = reach, no_boxes()

    def add(self, boxes: Boxes, row: int) -> Boxes:
        """Take the boxes of all cells above a row, and return what is finished."""
        self._waiting = join_boxes([self._waiting, boxes])
        return self._take_finished((row - self._reach) * PIXEL_PARTS)

    def finish(self) -> Boxes:
        """Give back what is left."""
        return self._take_finished(None)

    def _take_finished(self, line: int | None) -> Boxes:
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
    """Turn boxes into regions: their scores are those of all their pixels; they begin at the pixel of their centre."""
    area = np.maximum(np.rint(boxes.areas / PIXEL_PARTS**2).astype(np.int64), 1)
    none = np.zeros_like(area)
    counts = Counts(boxes.classes.astype(np.uint8), area, boxes.scores * area, boxes.scores, boxes.on_edge, none, none)
    return Regions(counts, boxes.centres, boxes.polygons())


def object_threshold(wanted: str | float | None, kept: Mapping[str, float]) -> Threshold:
    """Return the least score of an object: as given, or as the detector keeps it.

    Raises:
        BadOption: it is one that objects do not have, or that the detector does not keep.
    """
    parsed = parse_threshold("default" if wanted is None else str(wanted))
    if isinstance(parsed, Threshold):
        if parsed.low != parsed.high:
            raise BadOption(f"threshold {wanted!r}: objects have one score each, so give one number")
        return parsed
    require_threshold(parsed, kept)
    if not isinstance(parsed, str) or (parsed != "default" and parsed not in kept):
        raise BadOption(f"threshold {wanted!r} is for pixels; objects take a number, precision=0.9 or recall=0.9")
    found = kept.get(str(parsed), 0.5)
    return Threshold(found, found)


@contextmanager
def found_objects(
    rows: Iterable[tuple[int, Boxes]], inference: Inference, options: RegionOptions, work: Work, scratch: Path
) -> Iterator[FoundRegions]:
    """Join boxes over the seams of tiles and blocks; the store in the scratch folder is gone at the end.

    Args:
        rows: for each row of blocks, the row of pixels behind it, and the boxes found in it.
        inference: the detector and its scene.
        options: threshold and smallest area.
        work: whose stages the joining is one of.
        scratch: an existing folder.

    Raises:
        BadOption: the smallest area is in square metres, and the scene has no CRS.
    """
    grid = inference.scene.grid
    smallest = options.smallest_on(grid, inference.scene.sources[0].name)
    threshold = object_threshold(options.threshold, inference.fitted.thresholds)
    least = ceil(threshold.low * SCORE_STEPS - 1e-9)
    merger = BoxMerger(inference.fitted.receptive_radius)
    with RegionStore(scratch, band_rows(grid)) as store:

        def keep(boxes: Boxes) -> None:
            regions = regions_of(boxes)
            large = regions.where(regions.counts.area_px >= smallest.pixels)
            store.add(at_least(large, grid, smallest.square_metres))

        with work.stages.stage("objects", inference.tiling.rows.blocks, grid.area.size) as listener:
            for row, boxes in rows:
                keep(merger.add(boxes.where(boxes.scores >= least), row))
                listener.advance(0)
            keep(merger.finish())
        yield FoundRegions(store, store, ChosenThreshold(threshold))

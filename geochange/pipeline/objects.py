"""Boxes that a detector found, block by block → objects, in a store on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from pathlib import Path

from geochange.detectors.boxes import SCORE_STEPS, Boxes
from geochange.engine.inference import Inference
from geochange.engine.progress import Stages
from geochange.errors import BadOption
from geochange.pipeline.regions import FoundRegions, RegionOptions, at_least, parse_min_area
from geochange.pipeline.thresholds import ChosenThreshold, require_threshold
from geochange.products.objects import BoxMerger, regions_of
from geochange.products.region_store import RegionStore
from geochange.products.thresholds import Threshold, parse_threshold


def object_threshold(wanted: str | float | None, kept: Mapping[str, float]) -> Threshold:
    """The least score of an object: as given, or as the detector keeps it.

    Raises:
        BadOption: it is one that objects do not have, or that the detector does not keep.
    """
    parsed = parse_threshold("default" if wanted is None else str(wanted))
    if isinstance(parsed, Threshold):
        if parsed.low != parsed.high:
            raise BadOption(f"threshold {wanted!r}: objects have one score each, so give one number")
        return parsed
    require_threshold(parsed, kept)
    if parsed != "default" and parsed not in kept:
        raise BadOption(f"threshold {wanted!r} is for pixels; objects take a number, precision=0.9 or recall=0.9")
    found = kept.get(parsed, 0.5)
    return Threshold(found, found)


@contextmanager
def found_objects(
    rows: Iterable[tuple[int, Boxes]], work: Inference, options: RegionOptions, stages: Stages, scratch: Path
) -> Iterator[FoundRegions]:
    """Join boxes over the seams of tiles and blocks; the store in the scratch folder is gone at the end.

    Args:
        rows: for each row of blocks, the row of pixels behind it, and the boxes found in it.
        work: the detector and its scene.
        options: threshold and smallest area.
        stages: hear of the progress.
        scratch: an existing folder.

    Raises:
        BadOption: the smallest area is in square metres, and the scene has no CRS.
    """
    grid, minimum = work.scene.grid, parse_min_area(options.min_area)
    if minimum.square_metres > 0 and grid.crs is None:
        raise BadOption(f"min-area {options.min_area!r} needs a CRS, which the images lack; give pixels")
    threshold = object_threshold(options.threshold, work.fitted.thresholds)
    least = ceil(threshold.low * SCORE_STEPS - 1e-9)
    merger = BoxMerger(work.fitted.receptive_radius)
    with RegionStore(scratch) as store:

        def keep(boxes: Boxes) -> None:
            regions = regions_of(boxes)
            large = regions.where(regions.counts.area_px >= minimum.pixels)
            store.add(at_least(large, grid, minimum.square_metres))

        with stages.stage("objects", work.tiling.rows.blocks, grid.area.size) as listener:
            for row, boxes in rows:
                keep(merger.add(boxes.where(boxes.scores >= least), row))
                listener.advance(0)
            keep(merger.finish())
        yield FoundRegions(store, store, ChosenThreshold(threshold))

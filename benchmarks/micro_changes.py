"""Changes of a few pixels: how well objects are found, by networks of objects, a network of pixels, and change vectors.

    python benchmarks/micro_changes.py CHOOSE REPORT [REPORT ...] --network RCNN/best.pt --network ATTENTION/best.pt

CHOOSE and REPORT are folders that `geochange synthesize` made, with boxes in objects/. Maps of probability become
boxes around their regions, at the threshold that gives the best AP50 on CHOOSE; a region's score is its mean
probability. Recall is that at one false alarm on a million pixels (1,000 x 1,000), with half overlap as a find.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
import torch
from scipy import ndimage

import geochange
from geochange.arrays import IGNORE, Array, Floats
from geochange.datasets.collection import Collection, Sample, open_collection
from geochange.detectors.boxes import PIXEL_PARTS, SCORE_STEPS
from geochange.detectors.networks.checkpoint import load_checkpoint
from geochange.detectors.networks.contract import probability
from geochange.detectors.networks.object_network import boxes_in
from geochange.evaluation.average_precision import PrecisionOptions, average_precision
from geochange.learning.object_scoring import ItemObjects, find_boxes, pool_objects
from geochange.learning.scoring import score_sample

SIZES = {"4 to 6": (0.0, 6.0), "6 to 10": (6.0, 10.0), "below 10": (0.0, 10.0), "10 and more": (10.0, float("inf"))}
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Boxes = tuple[Floats, Floats]
"""(n, 4) left, top, right, bottom, and (n,) scores."""


def boxes_of_map(scores: Floats, threshold: float) -> Boxes:
    """Around each region of a (y, x) map; scored with its mean."""
    regions, count = ndimage.label(scores >= threshold)
    if not count:
        return np.zeros((0, 4)), np.zeros(0)
    means = ndimage.mean(scores, regions, np.arange(1, count + 1))
    corners = [(c.start, r.start, c.stop, r.stop) for r, c in ndimage.find_objects(regions)]
    return np.array(corners, float), np.asarray(means)


def item_of(sample: Sample, found: Boxes) -> ItemObjects:
    """What was found, but for boxes whose centre is not labelled."""
    known = sample.labels != IGNORE
    there, classes = boxes_in(sample.labels, sample.objects)
    col, row = ((found[0][:, :2] + found[0][:, 2:]) // 2).astype(int).T
    kept = known[row.clip(0, known.shape[0] - 1), col.clip(0, known.shape[1] - 1)]
    return ItemObjects(there, classes, found[0][kept], np.ones(int(kept.sum()), int), found[1][kept], int(known.sum()))


def maps_of_network(path: str, collection: Collection) -> Iterator[tuple[Sample, Floats]]:
    checkpoint = load_checkpoint(path)
    network = checkpoint.build()
    for index in range(len(collection)):
        sample = collection.read(index)
        logits = score_sample(network, sample, checkpoint.about.normalisation)
        yield sample, probability(logits)[0].amax(dim=0).numpy()


def maps_of_detector(name: str, collection: Collection) -> Iterator[tuple[Sample, Floats]]:
    for index in range(len(collection)):
        with TemporaryDirectory() as folder:
            dates = collection.items[index].pair.dates
            found = geochange.detect(*dates, Path(folder) / "out", detector=name, dtype="float32", formats=("gpkg",))
            with rasterio.open(found.probability) as dataset:
                yield collection.read(index), np.nan_to_num(dataset.read(1))


def items_by_boxes(path: str, collection: Collection) -> list[ItemObjects]:
    checkpoint = load_checkpoint(path)
    network, items = checkpoint.build(), []
    for index in range(len(collection)):
        sample = collection.read(index)
        boxes = find_boxes(network, sample, checkpoint.about.normalisation)
        items.append(item_of(sample, (boxes.corners / PIXEL_PARTS, boxes.scores / SCORE_STEPS)))
    return items


def measure(items: Sequence[ItemObjects]) -> dict[str, tuple[float, float, int]]:
    """Name of a size -> AP50, recall and count."""
    pixels = float(sum(item.pixels for item in items))
    found = average_precision(*pool_objects(items), PrecisionOptions(sizes=SIZES, pixels=pixels))
    parts = {"all": found.all, **found.sizes}
    return {name: (part.ap50 or 0.0, part.recall or 0.0, part.count) for name, part in parts.items()}


def show(name: str, where: str, items: Sequence[ItemObjects], note: str = "") -> None:
    figures = "  ".join(f"{size}: {ap:.3f} {recall:.3f} ({n})" for size, (ap, recall, n) in measure(items).items())
    print(f"{where:10} {name:24} {figures}  {note}", flush=True)


def compare_maps(name: str, maps: Sequence[tuple[Sample, Array]], others: Sequence[tuple[str, list]]) -> None:
    best = max(
        THRESHOLDS,
        key=lambda t: measure([item_of(sample, boxes_of_map(scores, t)) for sample, scores in maps])["all"][0],
    )
    for where, reported in others:
        show(name, where, [item_of(sample, boxes_of_map(scores, best)) for sample, scores in reported], f"at {best}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choose", type=Path)
    parser.add_argument("report", type=Path, nargs="+")
    parser.add_argument("--network", action="append", default=[], help="a checkpoint")
    parser.add_argument("--detector", action="append", default=[], help="a detector without training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    collections = [open_collection(path) for path in (options.choose, *options.report)]
    names = [path.name for path in options.report]
    print("AP50 and recall (how many) by size in pixels")
    for path in options.network:
        about = load_checkpoint(path).about
        name = f"{about.network} ({Path(path).parent.name})"
        if load_checkpoint(path).build().objects:
            for where, collection in zip(names, collections[1:], strict=True):
                show(name, where, items_by_boxes(path, collection))
        else:
            maps = [list(maps_of_network(path, each)) for each in collections]
            compare_maps(name, maps[0], list(zip(names, maps[1:], strict=True)))
    for name in options.detector:
        maps = [list(maps_of_detector(name, each)) for each in collections]
        compare_maps(name, maps[0], list(zip(names, maps[1:], strict=True)))


if __name__ == "__main__":
    main()

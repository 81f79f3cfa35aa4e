"""Labels that a network doubts which has not seen them: confident learning (Northcutt 2021), region by region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from scipy import ndimage
from shapely.geometry.base import BaseGeometry

from geochange.arrays import IGNORE, Bools, Floats, Ints
from geochange.datasets.collection import Collection, Item
from geochange.detectors.networks.checkpoint import About, Checkpoint
from geochange.detectors.networks.contract import Network, probability
from geochange.learning.scoring import score_sample

MISSED, FALSE = "found, but not labelled", "labelled, but not found"


@dataclass(frozen=True, slots=True)
class DoubtedRegion:
    """A region whose labels a network doubts."""

    item: Item
    shape: BaseGeometry
    """Polygon in pixels of the scene, x = column and y = row."""
    kind: str
    label: int
    """As it is stored: 0 unchanged, k for the k-th class."""
    doubt: float
    """Mean distance of the probability of change from the label, 0 to 1."""
    area_px: int

    @property
    def weight(self) -> float:
        """What doubts are ordered by: pixels that are wrong, if the network is right."""
        return self.doubt * self.area_px


def find_doubts(
    checkpoint: Checkpoint, collection: Collection, *, gsd: float | None, smallest: int
) -> Iterator[DoubtedRegion]:
    """Yield the regions in which the labels of a collection are doubted.

    A pixel that is labelled unchanged is doubted where change is as probable as it is on average where it is labelled;
    one that is labelled as changed where it is as improbable as on average elsewhere.

    Args:
        checkpoint: a network that was trained without these labels.
        collection: labelled items.
        gsd: metres a pixel that the network wants; None: as the images lie.
        smallest: pixels of a region, at least.
    """
    network = checkpoint.build()
    scored = [_score(network, checkpoint.about, collection, index, gsd) for index in range(len(collection))]
    high, low = mean_certainty(scored)
    for index, (scores, labels) in enumerate(scored):
        for kind, doubted in doubted_pixels(scores, labels, high, low).items():
            yield from _regions(collection, index, kind, doubted, scores, labels, smallest)


def _score(
    network: Network, about: About, collection: Collection, index: int, gsd: float | None
) -> tuple[Floats, Ints]:
    """(y, x) probability of change, and labels."""
    sample, zoom = collection.read(index), collection.zoom(gsd)
    logits = score_sample(network, sample, about.normalisation, augment=True, zoom=zoom).float()
    scores: Floats = probability(logits, about.temperature)[0].amax(dim=0).numpy()
    return scores, sample.labels


def mean_certainty(scored: Sequence[tuple[Floats, Ints]]) -> tuple[float, float]:
    """Return the mean probability of change where it is labelled, and where no change is; 1 and 0 where nothing is."""
    changed = [scores[(labels > 0) & (labels != IGNORE)] for scores, labels in scored]
    unchanged = [scores[labels == 0] for scores, labels in scored]
    high, low = (np.concatenate(each) if each else np.empty(0) for each in (changed, unchanged))
    return float(high.mean()) if high.size else 1.0, float(low.mean()) if low.size else 0.0


def doubted_pixels(scores: Floats, labels: Ints, high: float, low: float) -> dict[str, Bools]:
    """Return (y, x) which pixels are doubted, by why."""
    labelled = (labels > 0) & (labels != IGNORE)
    return {MISSED: (labels == 0) & (scores >= high), FALSE: labelled & (scores <= low)}


def _regions(  # noqa: PLR0917, what is drawn, and from what
    collection: Collection, index: int, kind: str, doubted: Bools, scores: Floats, labels: Ints, smallest: int
) -> Iterator[DoubtedRegion]:
    regions, _ = ndimage.label(doubted)
    item, tile = collection.items[index], collection.label_tile(collection.items[index])
    for shape, number in rasterio.features.shapes(regions.astype(np.int32), mask=regions > 0, connectivity=4):
        inside = regions == int(number)
        if (area := int(inside.sum())) < smallest:
            continue
        wanted = 0.0 if kind == MISSED else 1.0
        yield DoubtedRegion(
            item,
            shapely.affinity.translate(shapely.geometry.shape(shape), tile.col, tile.row),
            kind,
            int(np.bincount(labels[inside]).argmax()),
            float(np.abs(scores[inside] - wanted).mean()),
            area,
        )

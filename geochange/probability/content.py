"""What the numbers of a raster mean, by the numbers themselves: probabilities, a mask, or classes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from geochange.engine.work import Work, grid_blocks
from geochange.errors import BadOption, UnreadableInput
from geochange.probability.raster import ScoreRaster
from geochange.scenes.grid import Tile
from geochange.scenes.numbers import colours_refused, has_background_nodata, with_background

MOST_CLASSES = 64
DECLARE = "if these are probabilities, say how they are scaled, as with gdal_edit.py -scale 0.01 {name}"


@dataclass(frozen=True, slots=True)
class Numbers:
    """What valid pixels hold; two of them join to those of both sets."""

    whole: bool = True
    """Whether all are whole numbers."""
    found: frozenset[int] = frozenset()
    """Which they are; only a few more than `MOST_CLASSES`."""
    alike: bool = True
    """Whether all bands are equal."""

    def __or__(self, other: Numbers) -> Numbers:
        found = self.found if len(self.found) > MOST_CLASSES + 1 else self.found | other.found  # one is the background
        return Numbers(self.whole and other.whole, found, self.alike and other.alike)


def read_numbers(raster: ScoreRaster, tile: Tile) -> Numbers:
    """Look at the values of a tile.

    Raises:
        UnreadableInput: there are fractions, and some value is no probability.
    """
    stored, valid = raster.source.read(tile)
    values = stored[:, valid]
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        raster.encode(stored, valid)
        return Numbers(whole=False)
    found = frozenset(np.unique(values)[: MOST_CLASSES + 2].astype(np.int64).tolist())
    return Numbers(found=found, alike=bool((values == values[:1]).all()))


def understand(raster: ScoreRaster, work: Work, ignore: Collection[int] = ()) -> ScoreRaster:
    """Find out what a raster holds that does not say it itself.

    Fractions are probabilities. Whole numbers are classes, or a mask where there is but one beside 0, whatever their
    type; in several bands, 0 and 1 are masks of a class each.

    Args:
        raster: as opened.
        work: where it is read.
        ignore: stored values that stand for no class.

    Raises:
        UnreadableInput: the bands are a picture's, the numbers are too many for classes, or fractions beyond 0 to 1.
    """
    if raster.declared:
        return raster
    numbers = Numbers()
    for _, part in work.map("values", partial(read_numbers, raster), grid_blocks(raster.source.grid)):
        numbers |= part
        if not numbers.whole:
            return raster
    classes = tuple(sorted(numbers.found - {0}))
    if len(raster.source.bands) > 1:
        if classes in {(), (1,)} and not numbers.alike:
            return raster
        if not numbers.alike:
            raise UnreadableInput(colours_refused(raster.source.name, len(raster.source.bands)))
        raster = replace(raster, source=raster.source.with_bands(raster.source.bands[:1]))
    if len(classes) > MOST_CLASSES:
        name = raster.source.name
        raise UnreadableInput(
            f"{name} holds more than {MOST_CLASSES} whole numbers, {classes[0]}, {classes[1]}, ...: too many for "
            f"classes; {DECLARE.format(name=name)}"
        )
    return _with_labels(raster, classes or (1,), work, ignore)


def _with_labels(raster: ScoreRaster, classes: tuple[int, ...], work: Work, ignore: Collection[int]) -> ScoreRaster:
    source = raster.source
    if has_background_nodata(source, ignore):
        work.stages.notice(f"{source.name}: its nodata value 0 is read as unchanged")
        source = with_background(source)
    names = ("change",) if len(classes) == 1 else tuple(f"class {number}" for number in classes)
    return replace(raster, source=source, labels=classes, classes=names, step=1.0)


def require_no_threshold(raster: ScoreRaster, given: object) -> None:
    """Raise BadOption where a threshold is given for a raster of several classes."""
    if given is not None and raster.labels is not None and len(raster.labels) > 1:
        name, listed = raster.source.name, ", ".join(map(str, raster.labels))
        fix = f"leave out the threshold; or, {DECLARE.format(name=name)}"
        raise BadOption(f"{name} holds the classes {listed}, which no threshold can tell apart; {fix}")


def require_mask(raster: ScoreRaster) -> None:
    """Raise UnreadableInput where a raster of several classes stands for probabilities."""
    if raster.labels is not None and len(raster.labels) > 1:
        name, listed = raster.source.name, ", ".join(map(str, raster.labels))
        raise UnreadableInput(f"{name} holds the classes {listed}, not probabilities; {DECLARE.format(name=name)}")

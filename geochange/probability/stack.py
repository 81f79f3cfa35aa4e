"""Rasters of probabilities, of one scene and the same classes, read together on the first one's grid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from rasterio.enums import Resampling

from geochange.arrays import Bools, Floats
from geochange.engine.work import Work
from geochange.errors import BadOption, BandMismatch
from geochange.probability.content import require_mask, understand
from geochange.probability.raster import ScoreRaster, open_scores
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.source import DerivedSource, Source
from geochange.scenes.warped import on_grid


@dataclass(frozen=True)
class ProbabilitySource(DerivedSource):
    """A raster of probabilities, scaled or a mask, as float32 in 0..1: so can it be interpolated."""

    raster: ScoreRaster
    dtype: ClassVar[np.dtype[Any]] = np.dtype(np.float32)
    fill: ClassVar[float] = float("nan")
    shift: ClassVar[tuple[float, float]] = (0.0, 0.0)

    @property
    def grid(self) -> Grid:
        """The raster's own."""
        return self.source.grid

    def crop(self, tile: Tile) -> ProbabilitySource:
        """Return the part that a tile of this source's grid covers."""
        return replace(self, source=self.source.crop(tile))

    def whole(self) -> ProbabilitySource:
        """Return all of the raster that this is a part of."""
        return replace(self, source=self.source.whole())

    def read(self, tile: Tile) -> tuple[Floats, Bools]:
        """(class, y, x) probabilities, 0 where not valid, and (y, x) validity."""
        values, valid = self.source.read(tile)
        return self.raster.probabilities(values, valid), valid


@dataclass(frozen=True)
class SourceStack:
    """Sources on one grid."""

    names: tuple[str, ...]
    """As the user gave them."""

    classes: tuple[str, ...]
    grid: Grid
    thresholds: tuple[float, ...]
    """That each raster keeps as its default, else 0.5."""

    sources: tuple[Source, ...]

    def read(self, tile: Tile) -> tuple[Floats, Bools]:
        """Return (source, class, y, x) float32 probabilities, and (source, y, x) where each source holds data."""
        values, masks = zip(*(source.read(tile) for source in self.sources), strict=True)
        return np.stack(values), np.stack(masks)


def open_stack(rasters: Sequence[str | os.PathLike[str]], work: Work) -> SourceStack:
    """Open rasters of probabilities; those on another grid are brought to the first one's while they are read.

    Raises:
        BadOption: there are fewer than two.
        UnreadableInput: one is missing, or is not a raster.
        BandMismatch: one has other classes than the first.
        GridMismatch: one does not overlap the first.
    """
    names = tuple(os.fspath(raster) for raster in rasters)
    if len(names) < 2:
        raise BadOption(f"{', '.join(names) or 'no raster'} alone leaves nothing to fuse; give two rasters or more")
    first, *others = (understand(open_scores(name), work) for name in names)
    for raster in (first, *others):
        require_mask(raster)
    ordered = [first, *(_with_classes(other, first) for other in others)]
    grid, called = first.source.grid, first.source.name
    return SourceStack(
        names,
        first.classes,
        grid,
        tuple(float(raster.thresholds.get("default", 0.5)) for raster in ordered),
        tuple(
            on_grid(ProbabilitySource(raster.source, raster), grid, Resampling.bilinear, called) for raster in ordered
        ),
    )


def _with_classes(raster: ScoreRaster, first: ScoreRaster) -> ScoreRaster:
    """Put a raster's bands in the order of the first one's classes."""
    if sorted(raster.classes) != sorted(first.classes):
        raise BandMismatch(
            f"{first.source.name} has the classes {', '.join(first.classes)}, {raster.source.name} has "
            f"{', '.join(raster.classes)}; only rasters of the same classes can be fused"
        )
    bands = tuple(raster.source.bands[raster.classes.index(name)] for name in first.classes)
    return replace(raster, source=raster.source.with_bands(bands), classes=first.classes)

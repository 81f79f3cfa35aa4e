"""Rasters of probabilities, of one scene and the same classes, read together on the first one's grid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rasterio.enums import Resampling

from geochange.arrays import Bools, Floats
from geochange.errors import BadOption, BandMismatch, GridMismatch
from geochange.probability.raster import ScoreRaster, decode_probability, open_scores
from geochange.scenes.differences import CHOOSE_OTHERS, GIVE_CRS, GIVE_ONE_CRS, grid_differences, overlap_share
from geochange.scenes.grid import Grid, Tile, crs_name
from geochange.scenes.warped import WarpedSource


@dataclass(frozen=True)
class ProbabilitySource:
    """A raster of probabilities, scaled or a mask, as float32 in 0..1: so can it be interpolated."""

    raster: ScoreRaster

    @property
    def name(self) -> str:
        return self.raster.source.name

    @property
    def grid(self) -> Grid:
        return self.raster.source.grid

    @property
    def bands(self) -> tuple[int, ...]:
        return self.raster.source.bands

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def date(self) -> str | None:
        return self.raster.source.date

    @property
    def storage(self) -> tuple[int, int]:
        return self.raster.source.storage

    @property
    def fill(self) -> float:
        return float("nan")

    def read(self, tile: Tile) -> tuple[Floats, Bools]:
        """(class, y, x) probabilities, 0 where not valid, and (y, x) validity."""
        values, valid = self.raster.source.read(tile)
        return decode_probability(values, valid, self.raster.step), valid


@dataclass(frozen=True)
class SourceStack:
    """Sources on one grid."""

    names: tuple[str, ...]
    """As the user gave them."""

    classes: tuple[str, ...]
    grid: Grid
    thresholds: tuple[float, ...]
    """That each raster keeps as its default, else 0.5."""

    sources: tuple[ProbabilitySource | WarpedSource, ...]

    def read(self, tile: Tile) -> tuple[Floats, Bools]:
        """Return (source, class, y, x) float32 probabilities, and (source, y, x) where each source holds data."""
        values, masks = zip(*(source.read(tile) for source in self.sources), strict=True)
        return np.stack(values), np.stack(masks)


def open_stack(rasters: Sequence[str | os.PathLike[str]]) -> SourceStack:
    """Open rasters of probabilities; those on another grid are brought to the first one's while they are read.

    Raises:
        BadOption: there are fewer than two.
        UnreadableInput: one is missing or is no raster.
        BandMismatch: one has other classes than the first.
        GridMismatch: one does not overlap the first.
    """
    names = tuple(os.fspath(raster) for raster in rasters)
    if len(names) < 2:
        raise BadOption(f"{', '.join(names) or 'no raster'} alone leaves nothing to fuse; give two rasters or more")
    first, *others = (open_scores(name) for name in names)
    ordered = [first, *(_with_classes(other, first) for other in others)]
    for other in others:
        _require_overlap(first, other)
    grid = first.source.grid
    return SourceStack(
        names,
        first.classes,
        grid,
        tuple(float(raster.thresholds.get("default", 0.5)) for raster in ordered),
        tuple(_on_grid(ProbabilitySource(raster), grid) for raster in ordered),
    )


def _with_classes(raster: ScoreRaster, first: ScoreRaster) -> ScoreRaster:
    """Put a raster's bands in the order of the first one's classes."""
    if sorted(raster.classes) != sorted(first.classes):
        raise BandMismatch(
            f"{first.source.name} has the classes {', '.join(first.classes)}, {raster.source.name} has "
            f"{', '.join(raster.classes)}; only rasters of the same classes can be fused"
        )
    bands = tuple(raster.source.bands[raster.classes.index(name)] for name in first.classes)
    return replace(raster, source=replace(raster.source, bands=bands), classes=first.classes)


def _require_overlap(first: ScoreRaster, other: ScoreRaster) -> None:
    one, two = first.source, other.source
    share = overlap_share(one.grid, two.grid)
    if share is None:
        mend = GIVE_ONE_CRS if one.grid.crs and two.grid.crs else GIVE_CRS
        names = f"{one.name} has {crs_name(one.grid.crs)}, {two.name} has {crs_name(two.grid.crs)}"
        raise GridMismatch(f"{names}; {mend}")
    if share == 0:
        extents = " and ".join(", ".join(f"{edge:.10g}" for edge in side.grid.bounds) for side in (one, two))
        raise GridMismatch(f"{one.name} and {two.name} do not overlap: {extents}; {CHOOSE_OTHERS}")


def _on_grid(source: ProbabilitySource, grid: Grid) -> ProbabilitySource | WarpedSource:
    if not grid_differences(grid, source.grid):
        return source
    return WarpedSource(source, grid, Resampling.bilinear)

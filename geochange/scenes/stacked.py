"""Bands in files of their own, of one or of several resolutions, as the bands of one date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Self

import numpy as np
from rasterio.enums import Resampling

from geochange.arrays import Array, Bools
from geochange.scenes.band_names import Names, colours_among
from geochange.scenes.composite import CompositeSource
from geochange.scenes.differences import grid_differences
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.interpretation import usual_rule
from geochange.scenes.options import NodataRule
from geochange.scenes.repeated import repeat_on
from geochange.scenes.source import Source
from geochange.scenes.warped import on_grid


@dataclass(frozen=True, kw_only=True)
class StackedSource(CompositeSource):
    """Sources of one band each, on one grid, as bands that are numbered from 1 in their order."""

    band_names: tuple[Names, ...]
    """Of each of them."""
    warped: tuple[bool, ...]
    """Which ones are interpolated, since their pixels do not fit into those of the grid; they hold data nowhere but
    where their own pixels do."""
    chosen: tuple[int, ...] | None = None
    """Numbers of the bands that are read; None: all."""

    @property
    def choices(self) -> tuple[int, ...]:
        """Numbers of all bands that hold values: those there are to choose from."""
        return tuple(range(1, len(self.parts) + 1))

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers, from 1, of the bands that `read` returns."""
        return self.choices if self.chosen is None else self.chosen

    @cached_property
    def colours(self) -> tuple[int, int, int] | None:
        """Numbers of the red, green and blue bands, where they are known."""
        return colours_among(self.band_names)

    @property
    def masked(self) -> bool:
        """Whether there can be pixels that are not valid, NaN apart."""
        return any(part.masked for part in self.parts)

    @property
    def scaling(self) -> tuple[tuple[float, float], ...] | None:
        """(scale, offset) of each of `choices`, which `read` applies to what is stored; None where it applies none."""
        if all(part.scaling is None for part in self.parts):
            return None
        return tuple((1.0, 0.0) if part.scaling is None else part.scaling[0] for part in self.parts)

    def with_bands(self, bands: tuple[int, ...]) -> Self:
        """Return other bands of the same image."""
        return replace(self, chosen=bands)

    def read_image(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the image, as `Source.read`.

        As of a file with these bands, a pixel is valid where any band is, or with the rule "any" where all are; the
        bands that decide are all of them unless the rule is "any".
        """
        found = {number: self.parts[number - 1].read(tile) for number in self._read_numbers}
        values = np.empty((len(self.bands), *tile.shape), self.dtype)
        for number, out in zip(self.bands, values, strict=True):
            out[:] = found[number][0][0]
        return values, self._validity(found)

    @property
    def _read_numbers(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(self.bands)) if self.nodata == "any" or not self.masked else self.choices

    def _validity(self, found: dict[int, tuple[Array, Bools]]) -> Bools:
        loose = [found[number][1] for number in found if self.nodata != "any" and not self.warped[number - 1]]
        strict = [found[number][1] for number in found if self.nodata == "any" or self.warped[number - 1]]
        finite = [np.isfinite(found[number][0][0]) for number in self.bands if found[number][0].dtype.kind == "f"]
        some = [reduce(np.logical_or, loose)] if loose else []
        valid: Bools = reduce(np.logical_and, [*some, *strict, *finite])
        return valid


def stack(
    name: str, sources: Sequence[Source], names: Sequence[Names], date: str | None, nodata: NodataRule | None
) -> StackedSource:
    """Take sources of one band each as the bands of one date, on the grid of the finest of them.

    Bands on other grids are brought to it by the nearest pixel, so that none is read that was not measured.

    Args:
        name: what messages call the date.
        sources: whole images; the first of the finest ones gives the grid.
        names: of each band.
        date: of acquisition.
        nodata: what makes a pixel invalid; None as `usual_rule` has it.

    Raises:
        GridMismatch: they do not overlap, or have CRSs that cannot be brought to each other.
    """
    best = min(range(len(sources)), key=lambda k: _pixel_area(sources[k].grid))
    finest = sources[best]
    moved = [bool(grid_differences(finest.grid, each.grid)) for each in sources]
    repeated = [repeat_on(each, finest.grid) if apart else each for each, apart in zip(sources, moved, strict=True)]
    parts = [
        on_grid(each, finest.grid, Resampling.nearest, finest.name) if exact is None else exact
        for each, exact in zip(sources, repeated, strict=True)
    ]
    rule = usual_rule([each.fill for each in sources], np.result_type(*(each.dtype for each in sources)))
    rule = rule if nodata is None else nodata
    coarse = [each[0] for each, apart in zip(names, moved, strict=True) if apart]
    note = f"{', '.join(coarse)} brought to the pixels of {names[best][0]}, by the nearest pixel"
    return StackedSource(
        name=name,
        image=finest.grid,
        area=finest.grid.area,
        parts=tuple(each.with_nodata(rule) for each in parts),
        nodata=rule,
        date=date,
        notes=(note,) if coarse else (),
        band_names=tuple(names),
        warped=tuple(exact is None for exact in repeated),
    )


def _pixel_area(grid: Grid) -> float:
    x, y = grid.resolution
    metres = grid.pixel_metres
    return x * y if metres is None else metres[0] * metres[1]

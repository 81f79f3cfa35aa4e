"""A band of coarser pixels on a finer grid whose pixels divide them evenly: each value is repeated."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from geochange.arrays import Array, Bools
from geochange.scenes.differences import GRID_TOLERANCE
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.placement import same_crs
from geochange.scenes.source import DerivedSource, Source


@dataclass(frozen=True)
class RepeatedSource(DerivedSource):
    """A source whose pixels are read several times each, along rows and columns."""

    grid: Grid
    times: tuple[int, int]
    """How many rows and columns of the grid one pixel of the source makes."""
    origin: tuple[int, int]
    """(row, col) of the grid's first pixel, counted in pixels of the grid from the source's first corner."""

    @property
    def shift(self) -> tuple[float, float]:
        """(row, col) pixels by which the content lies off, and is moved back while it is read."""
        return self.source.shift[0] * self.times[0], self.source.shift[1] * self.times[1]

    @property
    def storage(self) -> tuple[int, int]:
        """(rows, cols) of the blocks in which the pixels are stored, in pixels of the grid."""
        rows, cols = self.source.storage
        return rows * self.times[0], cols * self.times[1]

    def crop(self, tile: Tile) -> RepeatedSource:
        """Return the part that a tile of this source's grid covers."""
        origin = self.origin[0] + tile.row, self.origin[1] + tile.col
        return replace(self, grid=self.grid.crop(tile), origin=origin)

    def whole(self) -> Source:
        """Return the source with its own pixels."""
        return self.source

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid, see `Source.read`."""
        rows, cols = (
            np.arange(first + start, first + start + length) // times
            for first, start, length, times in zip(
                self.origin, (tile.row, tile.col), tile.shape, self.times, strict=True
            )
        )
        needed = Tile(int(rows[0]), int(cols[0]), int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1)
        values, valid = self.source.read(needed)
        at = (rows - needed.row)[:, None], cols - needed.col
        return values[:, *at], valid[at]


def repeat_on(source: Source, grid: Grid) -> RepeatedSource | None:
    """Bring a source to a finer grid that it covers, and whose pixels divide its own evenly; None where none do.

    What is read is then what the nearest pixel gives, whatever the window.
    """
    own = source.grid
    relative = ~own.transform @ grid.transform
    if not same_crs(own.crs, grid.crs) or min(relative.a, relative.e) <= 0:
        return None
    times = max(round(1 / relative.e), 1), max(round(1 / relative.a), 1)
    at = relative.f * times[0], relative.c * times[1]
    origin = round(at[0]), round(at[1])
    reach = max(grid.shape)
    off = max(
        abs(relative.e * times[0] - 1) * reach,
        abs(relative.a * times[1] - 1) * reach,
        max(abs(relative.b), abs(relative.d)) * reach,
        *(abs(exact - whole) for exact, whole in zip(at, origin, strict=True)),
    )
    covers = all(
        first >= 0 and first + length <= many * size
        for first, length, many, size in zip(origin, grid.shape, times, own.shape, strict=True)
    )
    return RepeatedSource(source, grid, times, origin) if covers and off <= GRID_TOLERANCE * reach else None

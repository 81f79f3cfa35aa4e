"""One date made of several sources: what stacks of bands and mosaics of tiles have in common. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from geochange.arrays import Array, Bools
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.options import NodataRule
from geochange.scenes.shift_field import ShiftField
from geochange.scenes.source import Source


@dataclass(frozen=True, kw_only=True)
class CompositeSource(ABC):
    """A date that is made of several sources; see `Source`.

    A part of it keeps its sources whole, so that what is warped or put together is the same pixels in every part.
    """

    name: str
    image: Grid
    """Where all of its pixels lie."""
    area: Tile
    """The part of the image that this is, in the image's pixels."""
    parts: tuple[Source, ...]
    nodata: NodataRule
    date: str | None
    notes: tuple[str, ...] = ()
    path: ClassVar[str | None] = None
    shift: ClassVar[tuple[float, float]] = (0.0, 0.0)
    local_shift: ClassVar[ShiftField | None] = None

    @property
    @abstractmethod
    def bands(self) -> tuple[int, ...]:
        """Numbers, from 1, of the bands that `read` returns."""

    @abstractmethod
    def read_image(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the image, as `Source.read`."""

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid, see `Source.read`."""
        return self.read_image(Tile(tile.row + self.area.row, tile.col + self.area.col, *tile.shape))

    @cached_property
    def grid(self) -> Grid:
        """Where the pixels lie."""
        return self.image if self.area == self.image.area else self.image.crop(self.area)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that are read."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.files))

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """Of the values that `read` returns."""
        return np.result_type(*(part.dtype for part in self.parts))

    @property
    def fill(self) -> float | None:
        """The nodata value of the bands, where all parts have the same."""
        fills = {part.fill for part in self.parts}
        return fills.pop() if len(fills) == 1 else None

    @property
    def mark(self) -> str:
        """What tells this view of an image from others of it."""
        return " ".join(part.mark for part in self.parts)

    @property
    def storage(self) -> tuple[int, int]:
        """(rows, cols) of the blocks in which the pixels of the first part are stored."""
        return self.parts[0].storage

    def crop(self, tile: Tile) -> Self:
        """Return the part that a tile of this source's grid covers."""
        return self._changed(area=Tile(tile.row + self.area.row, tile.col + self.area.col, *tile.shape))

    def whole(self) -> Self:
        """Return all of the image that this is a part of."""
        return self._changed(area=self.image.area)

    def with_nodata(self, rule: NodataRule) -> Self:
        """Return the same image with another rule of what is nodata."""
        return self._changed(nodata=rule, parts=tuple(part.with_nodata(rule) for part in self.parts))

    def stored(self) -> Self:
        """Return the same image whose values are read as they are stored, without scale and offset."""
        return self.map_parts(lambda part: part.stored())

    def map_parts(self, change: Callable[[Source], Source]) -> Self:
        """Return the same date of parts that are changed."""
        return self._changed(parts=tuple(change(part) for part in self.parts))

    def _changed(self, **changes: Any) -> Self:
        return replace(self, **changes)


def one_date(dates: Sequence[str | None]) -> str | None:
    """Return the latest date of parts; None where one is not known."""
    known = [date for date in dates if date is not None]
    return max(known) if known and len(known) == len(dates) else None

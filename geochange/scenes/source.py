"""One date on a grid, whatever it comes from: the contract of sources, and of those made of another one. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from geochange.arrays import Array, Bools
from geochange.scenes.band_names import Names
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.options import NodataRule
from geochange.scenes.shift_field import ShiftField


class Source(Protocol):
    """One date on a grid: all that anything outside of `scenes` may ask of it."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def path(self) -> str | None:
        """The file that holds the bands; None where there is none."""

    @property
    def grid(self) -> Grid:
        """Where the pixels lie."""

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers, from 1, of the bands that `read` returns."""

    @property
    def choices(self) -> tuple[int, ...]:
        """Numbers of all bands that hold values: those there are to choose from."""

    @property
    def band_names(self) -> tuple[Names, ...]:
        """What each of `choices` is called, its own name first; empty where it has none."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that are read, as GDAL takes them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen for the user when the image was opened."""

    @property
    def colours(self) -> tuple[int, int, int] | None:
        """Numbers of the red, green and blue bands, where they are known."""

    @property
    def scaling(self) -> tuple[tuple[float, float], ...] | None:
        """(scale, offset) of each of `choices`, which `read` applies to what is stored; None where it applies none."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values that `read` returns."""

    @property
    def nodata(self) -> NodataRule:
        """What makes a pixel invalid."""

    @property
    def fill(self) -> float | None:
        """The nodata value of the bands."""

    @property
    def masked(self) -> bool:
        """Whether there can be pixels that are not valid, NaN apart."""

    @property
    def date(self) -> str | None:
        """Date or time of acquisition, where it is known."""

    @property
    def storage(self) -> tuple[int, int]:
        """(rows, cols) of the blocks in which the pixels are stored."""

    @property
    def shift(self) -> tuple[float, float]:
        """(row, col) pixels by which the content lies off, and is moved back while it is read."""

    @property
    def local_shift(self) -> ShiftField | None:
        """Pixels by which it lies off besides, place by place, and is moved back too."""

    @property
    def mark(self) -> str:
        """What tells this view of an image from others of it, but for what other properties tell."""

    def crop(self, tile: Tile) -> Source:
        """Return the part that a tile of this source's grid covers."""

    def whole(self) -> Source:
        """Return all of the image that this comes from, on the image's own grid."""

    def with_bands(self, bands: tuple[int, ...]) -> Source:
        """Return other bands of the same image."""

    def with_nodata(self, rule: NodataRule) -> Source:
        """Return the same image with another rule of what is nodata."""

    def stored(self) -> Source:
        """Return the same image whose values are read as they are stored, without scale and offset."""

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid: values (band, y, x) in the source's dtype, valid (y, x).

        Raises:
            UnreadableInput: the file breaks off, or cannot be read there.
        """


def read_beyond(read: Callable[[Tile], tuple[Array, Bools]], area: Tile, tile: Tile) -> tuple[Array, Bools]:
    """Read a tile that may reach beyond an area of pixels: there values are 0, and none is valid.

    Args:
        read: takes a tile inside the area, gives values (..., y, x) and valid (y, x); as `Source.read`.
        area: what can be read.
        tile: shares a pixel with the area.
    """
    inside = tile.intersect(area)
    values, valid = read(inside)
    around = (
        (inside.row - tile.row, tile.stop_row - inside.stop_row),
        (inside.col - tile.col, tile.stop_col - inside.stop_col),
    )
    return np.pad(values, ((0, 0),) * (values.ndim - 2) + around), np.pad(valid, around)


@dataclass(frozen=True)
class DerivedSource:
    """A source derived from another one, whose properties it has unless a class overrides them."""

    source: Source

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.source.name

    @property
    def path(self) -> str | None:
        """The file that holds the bands; None where there is none."""
        return self.source.path

    @property
    def bands(self) -> tuple[int, ...]:
        """Numbers, from 1, of the bands that `read` returns."""
        return self.source.bands

    @property
    def choices(self) -> tuple[int, ...]:
        """Numbers of all bands that hold values: those there are to choose from."""
        return self.source.choices

    @property
    def band_names(self) -> tuple[Names, ...]:
        """What each of `choices` is called, its own name first; empty where it has none."""
        return self.source.band_names

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that are read, as GDAL takes them."""
        return self.source.files

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen for the user when the image was opened."""
        return self.source.notes

    @property
    def scaling(self) -> tuple[tuple[float, float], ...] | None:
        """(scale, offset) of each of `choices`, which `read` applies to what is stored; None where it applies none."""
        return self.source.scaling

    @property
    def colours(self) -> tuple[int, int, int] | None:
        """Numbers of the red, green and blue bands, where they are known."""
        return self.source.colours

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values that `read` returns."""
        return self.source.dtype

    @property
    def nodata(self) -> NodataRule:
        """What makes a pixel invalid."""
        return self.source.nodata

    @property
    def fill(self) -> float | None:
        """The nodata value of the bands."""
        return self.source.fill

    @property
    def masked(self) -> bool:
        """Whether there can be pixels that are not valid, NaN apart."""
        return self.source.masked

    @property
    def date(self) -> str | None:
        """Date or time of acquisition, where it is known."""
        return self.source.date

    @property
    def storage(self) -> tuple[int, int]:
        """(rows, cols) of the blocks in which the pixels are stored."""
        return self.source.storage

    @property
    def local_shift(self) -> ShiftField | None:
        """Pixels by which it lies off besides, place by place, and is moved back too."""
        return self.source.local_shift

    @property
    def mark(self) -> str:
        """What tells this view of an image from others of it."""
        return self.source.mark

    def with_bands(self, bands: tuple[int, ...]) -> Self:
        """Return other bands of the same image."""
        return replace(self, source=self.source.with_bands(bands))

    def with_nodata(self, rule: NodataRule) -> Self:
        """Return the same image with another rule of what is nodata."""
        return replace(self, source=self.source.with_nodata(rule))

    def stored(self) -> Self:
        """Return the same image whose values are read as they are stored, without scale and offset."""
        return replace(self, source=self.source.stored())


@dataclass(frozen=True)
class SameGridSource(DerivedSource):
    """A source derived from another one, pixel by pixel."""

    @property
    def grid(self) -> Grid:
        """Where the pixels lie."""
        return self.source.grid

    @property
    def shift(self) -> tuple[float, float]:
        """(row, col) pixels by which the content lies off, and is moved back while it is read."""
        return self.source.shift

    def crop(self, tile: Tile) -> Self:
        """Return the part that a tile of this source's grid covers."""
        return replace(self, source=self.source.crop(tile))

    def whole(self) -> Self:
        """Return all of the image that this comes from, derived likewise."""
        return replace(self, source=self.source.whole())

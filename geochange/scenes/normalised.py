"""A source whose values are brought to those of another date, band by band, while it is read. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geochange.arrays import Array, Bools
from geochange.scenes.grid import Tile
from geochange.scenes.source import SameGridSource, Source


@dataclass(frozen=True)
class NormalisedSource(SameGridSource):
    """A source times a gain plus an offset in each band, as float32."""

    lines: tuple[tuple[int, float, float], ...]
    """(band, gain, offset) of the bands that there are lines of; others cannot be read."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values that `read` returns."""
        return np.dtype(np.float32)

    @property
    def fill(self) -> float:
        """The nodata value of the bands: none that a normalised one can have."""
        return np.nan

    @property
    def mark(self) -> str:
        """What tells this view of an image from others of it."""
        return f"{self.source.mark} {self.lines}"

    def read(self, tile: Tile) -> tuple[Array, Bools]:
        """Read a tile inside the grid, see `Source.read`."""
        values, valid = self.source.read(tile)
        lines = {band: (gain, offset) for band, gain, offset in self.lines}
        pairs = zip(values, (lines[band] for band in self.bands), strict=True)
        return np.stack([(band * gain + offset).astype(np.float32) for band, (gain, offset) in pairs]), valid


def normalised(source: Source, lines: tuple[tuple[float, float], ...]) -> NormalisedSource:
    """Bring a source's values to another date's.

    Args:
        source: what to bring.
        lines: (gain, offset) of each of the source's bands.
    """
    numbered = [(band, *line) for band, line in zip(source.bands, lines, strict=True)]
    return NormalisedSource(source, tuple(numbered))

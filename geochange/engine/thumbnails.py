"""Small pictures of the dates, gathered while blocks are read anyway. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.scenes.grid import Tile

SAMPLES = 2  # per side of a cell: enough to look like the mean


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """How a scene is shrunk: cells of `step` pixels, some bands."""

    shape: tuple[int, int]  # of the scene
    step: int
    bands: tuple[int, ...]  # positions among the bands read, one or three

    @property
    def size(self) -> tuple[int, int]:
        """(rows, cols) of cells."""
        return ceil(self.shape[0] / self.step), ceil(self.shape[1] / self.step)


def thumbnail_sums(dates: Sequence[Array], valid: Bools, area: Tile, spec: Thumbnail) -> Floats:
    """Sum an area's sampled pixels in each cell that it touches.

    Args:
        dates: for each date (band, y, x) over the area.
        valid: (time, y, x) over the area.
        area: its place in the scene.
        spec: cells and bands.

    Returns:
        (time, bands + 1, cell rows, cell cols); the last band counts the valid samples.
    """
    skip = max(spec.step // SAMPLES, 1)
    rows, cols = _samples(area.row, area.stop_row, skip), _samples(area.col, area.stop_col, skip)
    first = area.row // spec.step, area.col // spec.step
    shape = (area.stop_row - 1) // spec.step - first[0] + 1, (area.stop_col - 1) // spec.step - first[1] + 1
    sums = np.zeros((len(dates), len(spec.bands) + 1, *shape))
    if not (len(rows) and len(cols)):
        return sums
    at = slice(int(rows[0]) - area.row, None, skip), slice(int(cols[0]) - area.col, None, skip)
    cells = rows // spec.step - first[0], cols // spec.step - first[1]
    for date, mask, place in zip(dates, valid, sums, strict=True):
        seen = mask[at]
        whole = bool(seen.all())
        for band, target in zip(spec.bands, place, strict=False):
            sampled = date[(band, *at)]
            _add_to_cells(target, sampled if whole else np.where(seen, sampled, 0), cells)
        _add_to_cells(place[-1], seen, cells)
    return sums


def assemble(parts: Iterable[tuple[Tile, Floats]], dates: int, spec: Thumbnail) -> Floats:
    """Return (time, band, y, x) means of all parts; NaN where a cell holds no valid sample."""
    total = np.zeros((dates, len(spec.bands) + 1, *spec.size), np.float32)
    for area, sums in parts:
        row, col = area.row // spec.step, area.col // spec.step
        total[:, :, row : row + sums.shape[2], col : col + sums.shape[3]] += sums
    counts = total[:, -1:]
    return np.divide(total[:, :-1], counts, out=np.full_like(total[:, :-1], np.nan), where=counts > 0)


def _samples(start: int, stop: int, skip: int) -> Ints:
    """Return the multiples of `skip` in start..stop-1: anchored to the scene's origin, so the same for any cut."""
    return np.arange(ceil(start / skip) * skip, stop, skip)


def _add_to_cells(target: Floats, values: Array, cells: tuple[Ints, Ints]) -> None:
    rows, cols = (np.flatnonzero(np.diff(index, prepend=-1)) for index in cells)
    by_row = np.add.reduceat(values, rows, axis=0, dtype=np.float64)
    sums = np.add.reduceat(by_row, cols, axis=1)
    target[np.ix_(cells[0][rows], cells[1][cols])] += sums

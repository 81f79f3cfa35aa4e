"""Opening and closing of probabilities with a disc, which is to open and close every mask cut from them. Pure.

Flat grey morphology commutes with thresholds (Serra 1982): the mask of an opened raster is the opened mask, whatever
the threshold. Pixels that are not valid, and all beyond the array, belong to no neighbourhood; so an opening stays
below its argument, a closing above it, and doing either twice is doing it once, also along holes in the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, sqrt

import numpy as np
from scipy import ndimage

from geochange.arrays import Array, Bools, Ints
from geochange.probability.refinement import ScorePart

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Disc:
    """Pixels whose centres lie within a radius of the middle one; an ellipse where pixels are not square."""

    half_widths: tuple[int, ...]
    """Pixels to the left and right of the middle column, in each row from top to bottom; the middle row is the
    middle one of them."""

    @classmethod
    def of_radius(cls, rows: float, cols: float | None = None) -> Disc:
        """Return the disc of a radius in pixels, along rows and along columns."""
        cols, reach = rows if cols is None else cols, floor(rows + _ROUNDING)
        shares = (1 - (row / rows) ** 2 if row else 1.0 for row in range(-reach, reach + 1))
        return cls(tuple(floor(cols * sqrt(max(share, 0)) + _ROUNDING) for share in shares))

    @property
    def reach(self) -> int:
        """Pixels from the middle to the farthest row or column."""
        return max(len(self.half_widths) // 2, *self.half_widths)


def grey_dilation(values: Ints, valid: Bools, disc: Disc) -> Ints:
    """Return the largest valid value of (..., y, x) within a disc around each valid pixel; others keep theirs."""
    lowest, middle = np.iinfo(values.dtype).min, len(disc.half_widths) // 2
    filled = np.where(valid, values, lowest)
    result = filled.copy()
    for half in sorted(set(disc.half_widths)):
        wide = ndimage.maximum_filter1d(filled, 2 * half + 1, axis=-1, mode="constant", cval=lowest)
        for row in (place - middle for place, own in enumerate(disc.half_widths) if own == half):
            here, there = _rows(result, row), _rows(wide, -row)
            np.maximum(here, there, out=here)
    return np.where(valid, result, values)


def _rows(values: Array, step: int) -> Array:
    """Return a view of the rows that have one `step` rows further up; of those further down for a negative step."""
    return values[..., max(step, 0) : min(step, 0) or None, :]


def grey_erosion(values: Ints, valid: Bools, disc: Disc) -> Ints:
    """Return the smallest valid value of (..., y, x) within a disc around each valid pixel; others keep theirs."""
    return ~grey_dilation(~values, valid, disc)


@dataclass(frozen=True, slots=True)
class Open:
    """Change into which the disc does not fit goes: specks, and what hangs on by a thread."""

    disc: Disc

    needs_guide = False

    @property
    def reach(self) -> int:
        """Of an erosion and a dilation."""
        return 2 * self.disc.reach

    def apply(self, part: ScorePart) -> Ints:
        """Open each class."""
        return grey_dilation(grey_erosion(part.codes, part.valid, self.disc), part.valid, self.disc)


@dataclass(frozen=True, slots=True)
class Close:
    """No change into which the disc does not fit goes: pinholes, gaps and narrow bays."""

    disc: Disc

    needs_guide = False

    @property
    def reach(self) -> int:
        """Of a dilation and an erosion."""
        return 2 * self.disc.reach

    def apply(self, part: ScorePart) -> Ints:
        """Close each class."""
        return grey_erosion(grey_dilation(part.codes, part.valid, self.disc), part.valid, self.disc)

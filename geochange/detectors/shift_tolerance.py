"""Differences that a small shift explains are no change: the tolerance of robust change vectors (Thonfeld et al. 2016).

Registration leaves a pixel here and there, roofs and crowns lean, and light falls from another side. So each pixel of
one date is compared with all pixels of the other that lie up to some pixels away, and the least squared distance
counts. Both dates are taken in turn as the one to explain, and the larger of the two results counts: a path that is
there at one date only is then a change, although each pixel beside it has its like at the other date. Last, what is
left grows back, as far as the tolerance goes, into pixels around it that counted as much without: a geodesic dilation,
so that changes keep their outlines.

Whether a pair is to be taken with tolerance is seen by how much each further pixel explains. What lies a little
elsewhere, or is lit from another side, is explained by the first pixels, and the third adds next to nothing. Where each
pixel explains as much as the one before it, changes are just small, or textures alike by chance, as rivers at 30 m.

Where the third pixel still adds something, shadows and seams are wider than the tolerance, and leave strips. These go
by an opening: what is left must fill a square of three pixels. What it cuts off real changes grows back from further.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import isqrt
from operator import add
from typing import Any

import numpy as np
from scipy.ndimage import grey_opening, maximum_filter

from geochange.arrays import Bools, Floats, Ints
from geochange.scenes.grid import Tile

USUAL, FURTHER = 2, 3
"""Pixels of tolerance where a pair is to be taken with it, and those that are looked at."""

MOST = 5
"""Pixels of tolerance that may be asked for."""

NOTHING_NEAR = 1e18
"""A variate of what lies beyond the scene or holds no data: its square is a float32, and larger than any other."""

CHUNK = 1 << 14  # pixels at once: few enough for the cache
SAMPLE = 4_000_000  # pixels, at least, that are looked at where the scene has more
SQUARE = 64  # pixels per side of the parts that are looked at
MARGIN = FURTHER + 1  # pixels that a part needs on each side
FEWEST = 100  # changed pixels from which their share says anything
LEAST_SHARE = 0.02  # of the changed pixels that the first pixel explains
FADING = 0.5  # share of it that the third may explain of what is left
STILL = 0.035  # share of what is left that the third explains, from which strips are left
OPENING = 3  # pixels per side of the square that what is left has to fill then
FURTHER_BACK = 3  # times as far what is left grows after it: hedges and the like are whole again


@dataclass(frozen=True, slots=True)
class Fading:
    """Changed pixels of parts of a scene, which add up, without tolerance and with 1 to `FURTHER` pixels of it."""

    left: tuple[int, ...] = (0,) * (FURTHER + 1)

    def __add__(self, other: Fading) -> Fading:
        return Fading(tuple(map(add, self.left, other.left)))

    @property
    def shares(self) -> tuple[float, ...]:
        """What each pixel explains of what the one before it has left."""
        return tuple(1 - after / max(before, 1) for before, after in pairwise(self.left))

    @property
    def pixels(self) -> int:
        """The pixels of tolerance that this speaks for."""
        first, *_, last = self.shares
        return 0 if self.left[0] < FEWEST or first < LEAST_SHARE or last > FADING * first else USUAL

    @property
    def strips(self) -> bool:
        """Whether the tolerance that this speaks for leaves strips of what is wider."""
        return self.pixels > 0 and self.shares[-1] >= STILL


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a place may lie elsewhere at the other date."""

    pixels: int = 0
    quiet: float = 0.0
    """Statistics up to this are no change whatever is around them, and stay as they are."""
    explained: tuple[float, ...] | None = None
    """Share of the changed pixels that the first pixel explains, and each further one of what is left; None where it
    was not measured."""
    strips: bool = False
    """Whether strips that are narrower than `OPENING` pixels go too."""

    @property
    def growth(self) -> int:
        """Pixels by which what is left grows to its outline."""
        return self.pixels * (FURTHER_BACK if self.strips else 1)

    @property
    def reach(self) -> int:
        """Pixels on each side that a statistic depends on."""
        return self.pixels + self.growth + (OPENING - 1) * self.strips if self.pixels else 0

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, from which the same tolerance is made."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Tolerance:
        """Read what `to_json` returned."""
        explained = saved["explained"]
        return cls(saved["pixels"], saved["quiet"], None if explained is None else tuple(explained), saved["strips"])


NO_TOLERANCE = Tolerance()


def tolerant(halves: tuple[Floats, Floats], statistic: Floats, valid: Bools, tolerance: Tolerance) -> Floats:
    """Compare each pixel with its surroundings at the other date.

    Args:
        halves: (k, y, x) float32 both, what each date adds to the variates; their sum is the variate.
        statistic: (y, x) sum of the squared variates.
        valid: (2, y, x) where each date holds data; what lies beyond the arrays holds none.
        tolerance: how far the other date's pixel may lie away, along rows and along columns, and which statistics
            stay as they are.

    Returns:
        (y, x) float32, nowhere more than the statistic.
    """
    left = unexplained(halves, statistic, valid, tolerance.pixels, tolerance.quiet)
    if tolerance.strips:
        lowest = np.minimum(left, np.float32(tolerance.quiet))
        left = np.maximum(grey_opening(left, OPENING, mode="nearest"), lowest)
    return _grown(left, statistic, tolerance.growth)


def unexplained(halves: tuple[Floats, Floats], statistic: Floats, valid: Bools, radius: int, quiet: float) -> Floats:
    """(y, x) what neighbours up to so many pixels away leave of the statistic, each pixel by itself; see `tolerant`."""
    rows, cols = np.nonzero(statistic > quiet)
    width = statistic.shape[1] + 2 * radius
    before, after = (_framed(date, seen, radius) for date, seen in zip(halves, valid, strict=True))
    steps = [row * width + col for row in range(-radius, radius + 1) for col in range(-radius, radius + 1)]
    least = statistic.copy()
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        places = (rows[part] + radius) * width + cols[part] + radius
        with np.errstate(over="ignore", invalid="ignore"):  # of what no sensor measures
            first, second = _nearest(before, after, places, steps), _nearest(after, before, places, steps)
        np.maximum(first, second, out=first)
        least[rows[part], cols[part]] = np.maximum(first, np.float32(quiet), out=first)
    least[~valid.all(axis=0)] = 0  # so that they are not the largest around a pixel
    return least


def _grown(left: Floats, statistic: Floats, growth: int) -> Floats:
    """(y, x) what is left, dilated so many times by a pixel to all sides, each time under the statistic."""
    for _ in range(growth):
        left = np.minimum(maximum_filter(left, 3, mode="nearest"), statistic)
    return left


def _framed(parts: Floats, valid: Bools, margin: int) -> Floats:
    """(k, n) parts of a date's pixels with a margin, and nothing where it holds no data."""
    seen = np.where(valid, parts, np.float32(NOTHING_NEAR))
    framed = np.pad(seen, ((0, 0), (margin, margin), (margin, margin)), constant_values=NOTHING_NEAR)
    return framed.reshape(len(parts), -1)


def _nearest(explained: Floats, other: Floats, places: Ints, steps: list[int]) -> Floats:
    """(n,) least squared distance of pixels of one date, (k, all), to those of the other that lie some steps away."""
    own = explained[:, places]
    least = np.full(len(places), np.inf, np.float32)
    near, distance, moved = np.empty_like(least), np.empty_like(least), np.empty_like(places)
    for step in steps:
        np.add(places, step, out=moved)
        distance[...] = 0
        for plane, values in zip(other, own, strict=True):
            np.take(plane, moved, out=near, mode="clip")
            near += values
            near *= near
            distance += near
        np.fmin(least, distance, out=least)  # of what overflows nothing is known
    return least


def sample_squares(tile: Tile, every: int) -> Iterator[Tile]:
    """Yield the parts of a tile that lie in one of so many squares, along rows and columns, of the scene."""
    if every == 1:
        yield tile
        return
    step = SQUARE * every
    for row in range(tile.row // step * step, tile.stop_row, step):
        for col in range(tile.col // step * step, tile.stop_col, step):
            part = tile.intersect(Tile(row, col, SQUARE, SQUARE))
            if part.size:
                yield part


def squares_apart(pixels: int) -> int:
    """Return how many squares a sample is to lie apart, along rows and columns, in a scene of so many pixels."""
    return max(isqrt(pixels // SAMPLE), 1)


def explained_in(halves: tuple[Floats, Floats], statistic: Floats, valid: Bools, changes: float) -> Fading:
    """Count what tolerance explains in a part of a scene.

    Args:
        halves: (k, y, x) both, as in `tolerant`; all arrays reach `MARGIN` pixels beyond the part on each side.
        statistic: (y, x).
        valid: (2, y, x).
        changes: the statistic from which a pixel is changed.
    """
    unchanged, seen = float(np.nextafter(np.float32(changes), np.float32(0))), valid.all(axis=0)
    inner = (slice(MARGIN, -MARGIN),) * 2
    left = [unexplained(halves, statistic, valid, radius, unchanged) for radius in range(1, FURTHER + 1)]
    found = [statistic, *(_grown(each, statistic, 1) for each in left)]
    return Fading(tuple(int(((each >= changes) & seen)[inner].sum()) for each in found))

"""Differences that a small shift explains are no change: the tolerance of robust change vectors (Thonfeld et al. 2016).

Registration leaves a pixel here and there, roofs and crowns lean, and light falls from another side. So each pixel of
one date is compared with all pixels of the other that lie up to some pixels away, and the least squared distance
counts. Both dates are taken in turn as the one to explain, and the larger of the two results counts: a path that is
there at one date only is then a change, although each pixel beside it has its like at the other date. What is left
and too narrow to hold a square of three pixels is what shadows leave that fell elsewhere by more: it is compared with
pixels up to four times as far away. Last, what is left grows back into pixels around it that counted as much without: a
geodesic dilation, so that changes keep their outlines.

Whether a pair is to be taken with tolerance, and with how much, is seen by how much each further pixel explains. What
lies elsewhere, or is lit from another side, is explained by the first pixels, and those beyond add next to nothing.
Where each pixel explains about as much as the one before it, changes are just small, or textures alike by chance, as
rivers at 30 m.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from math import isqrt
from operator import add
from typing import Any, Self

import numpy as np

from geochange.arrays import Array, Bools, Floats, Ints

FEWEST, LARGEST, FURTHER = 2, 4, 5
"""Pixels of tolerance where a pair is to be taken with it, and those that are looked at."""

MOST = 5
"""Pixels of tolerance that may be asked for."""

NOTHING_NEAR = 1e18
"""A variate of what lies beyond the scene or holds no data: its square is a float32, and larger than any other."""

CHUNK = 1 << 14  # pixels at once: few enough for the cache
SAMPLE = 4_000_000  # pixels, at least, that are looked at where the scene has more
MARGIN = FURTHER + 1  # pixels that a part needs on each side
ENOUGH = 100  # changed pixels from which their share says anything
LEAST_SHARE = 0.02  # of the changed pixels that the first pixel explains
FADING = 0.4  # of the largest share, to which a later one falls where things lie elsewhere
STILL = 0.03  # share of what is left that one pixel more may explain by chance
WIDER = 0.07  # share of it from which shadows, or noise, are wider than the tolerance
NARROW_FURTHER = 4  # times as far as others are narrow changes compared
BACK = 2  # times as far as the tolerance what is left grows


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
        shares = self.shares
        if self.left[0] < ENOUGH or shares[0] < LEAST_SHARE or min(shares[FEWEST:]) > FADING * max(shares):
            return 0
        further = (k for k in range(FEWEST, LARGEST) if shares[k] <= STILL or shares[k] > shares[k - 1])
        return next(further, LARGEST)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a place may lie elsewhere at the other date."""

    pixels: int = 0
    quiet: float = 0.0
    """Statistics up to this are no change whatever is around them, and stay as they are."""
    explained: tuple[float, ...] | None = None
    """Share of the changed pixels that the first pixel explains, and each further one of what is left; None where it
    was not measured."""

    @property
    def narrow_goes(self) -> bool:
        """Whether one pixel more would still explain so much that nothing narrow can be told from it."""
        return self.explained is not None and self.pixels < FURTHER and self.explained[self.pixels] >= WIDER

    @property
    def furthest(self) -> int:
        """Pixels up to which what is narrow is compared."""
        return NARROW_FURTHER * self.pixels

    @property
    def growth(self) -> int:
        """Pixels by which what is left grows to its outline."""
        return BACK * self.pixels

    @property
    def reach(self) -> int:
        """Pixels on each side that a statistic depends on."""
        return self.furthest + self.growth

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, from which the same tolerance is made."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Tolerance:
        """Read what `to_json` returned."""
        explained = saved["explained"]
        return cls(saved["pixels"], saved["quiet"], None if explained is None else tuple(explained))


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
    quiet, near = np.float32(tolerance.quiet), Surroundings.framed(halves, valid, tolerance.furthest)
    (left,) = unexplained(near, statistic, [tolerance.pixels], tolerance.quiet)
    low = np.minimum(left, quiet)
    if tolerance.narrow_goes:  # by an opening with a square of three pixels
        left = np.maximum(_around(np.maximum, _around(np.minimum, left)), low)
    else:
        wide = _around(np.logical_or, _around(np.logical_and, left > quiet))
        (far,) = unexplained(near, np.where(wide, low, left), [tolerance.furthest], tolerance.quiet)
        left = np.where(wide, left, far)
    return _grown(left, statistic, tolerance.growth)


@dataclass(frozen=True)
class Surroundings:
    """Both dates' parts of the variates with a margin, and nothing where they hold no data."""

    dates: tuple[Floats, Floats]
    """(k, all pixels) of each date."""
    seen: Bools
    """(y, x), without the margin, where both dates hold data."""
    margin: int

    @classmethod
    def framed(cls, halves: tuple[Floats, Floats], valid: Bools, margin: int) -> Self:
        """Add a margin to (k, y, x) parts, given (2, y, x) validity."""
        inner, dates = slice(margin, -margin), []
        for parts, seen in zip(halves, valid, strict=True):
            rows, cols = (length + 2 * margin for length in seen.shape)
            framed = np.full((len(parts), rows, cols), NOTHING_NEAR, np.float32)
            np.copyto(framed[:, inner, inner], parts, where=seen)
            dates.append(framed.reshape(len(parts), -1))
        return cls((dates[0], dates[1]), valid[0] & valid[1], margin)


def unexplained(near: Surroundings, statistic: Floats, radii: Sequence[int], quiet: float) -> list[Floats]:
    """(y, x) what neighbours up to so many pixels away leave of the statistic, for each of several rising radii.

    Each pixel by itself; see `tolerant`.
    """
    rows, cols = np.nonzero(statistic > quiet)
    margin, width = near.margin, statistic.shape[1] + 2 * near.margin
    groups = [
        [_steps(radius, width) for radius in range(*ends)] for ends in pairwise([0, *(each + 1 for each in radii)])
    ]
    left, before, after = [statistic.copy() for _ in radii], *near.dates
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK], cols[start : start + CHUNK]
        places = (part[0] + margin) * width + part[1] + margin
        both = (_nearest(*dates, places, groups, quiet) for dates in ((before, after), (after, before)))
        for target, one, other in zip(left, *both, strict=True):
            explained = np.minimum(np.maximum(one, other), target[part])
            target[part] = np.maximum(explained, np.float32(quiet))
    for target in left:
        target[~near.seen] = 0  # so that they are not the largest around a pixel
    return left


def _steps(radius: int, width: int) -> list[int]:
    """Return the steps to pixels that lie so far away, along rows or columns, in a raster of so many columns."""
    return [row * width + col for row, col in ring(radius - 1, radius)]


def _nearest(
    explained: Floats, other: Floats, places: Ints, groups: list[list[list[int]]], quiet: float
) -> Iterator[Floats]:
    """(n,) least squared distances of pixels of one date, (k, all), to those of the other, after each group of rings.

    A pixel that is quiet by then is not looked at any more.
    """
    least, loud = np.full(len(places), np.inf, np.float32), np.arange(len(places))
    for rings in groups:
        for steps in rings:
            now = least[loud]
            with np.errstate(over="ignore", invalid="ignore"):  # of what no sensor measures
                _approach(now, explained, other, places[loud], steps)
            least[loud] = now
            loud = loud[now > quiet]
        yield least.copy()


def ring(inner: int, outer: int) -> Iterator[tuple[int, int]]:
    """Yield steps along rows and columns, of which the longer one has more than `inner` pixels, and `outer` at most."""
    for row, col in product(range(-outer, outer + 1), repeat=2):
        if max(abs(row), abs(col)) > inner:
            yield row, col


def _grown(left: Floats, statistic: Floats, growth: int) -> Floats:
    """(y, x) what is left, dilated so many times by a pixel to all sides, each time under the statistic."""
    for _ in range(growth):
        left = np.minimum(_around(np.maximum, left), statistic)
    return left


def _around(join: np.ufunc, values: Array) -> Array:
    """(y, x) what a function makes of each pixel and of those of its eight neighbours that there are."""
    for axis in (0, 1):
        joined = values.copy()
        here, there = joined.swapaxes(0, axis), values.swapaxes(0, axis)
        join(here[1:], there[:-1], out=here[1:])
        join(here[:-1], there[1:], out=here[:-1])
        values = joined
    return values


def _approach(least: Floats, explained: Floats, other: Floats, places: Ints, steps: list[int]) -> None:
    """Lower (n,) least squared distances of pixels of one date, (k, all), to those of the other some steps away."""
    own, together = explained[:, places], max(CHUNK // max(len(places), 1), 1)
    shape = min(together, len(steps)), len(places)
    moved, (near, distance) = np.empty(shape, places.dtype), np.empty((2, *shape), np.float32)
    for start in range(0, len(steps), together):
        batch = np.asarray(steps[start : start + together])[:, None]
        at, there, sums = moved[: len(batch)], near[: len(batch)], distance[: len(batch)]
        np.add(places, batch, out=at)
        sums[...] = 0
        for plane, values in zip(other, own, strict=True):
            np.take(plane, at, out=there, mode="clip")
            there += values
            there *= there
            sums += there
        for row in sums:
            np.fmin(least, row, out=least)  # of what overflows nothing is known


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
    left = unexplained(Surroundings.framed(halves, valid, FURTHER), statistic, range(1, FURTHER + 1), unchanged)
    changed = statistic >= changes
    found = [changed, *(changed & _around(np.logical_or, each >= changes) for each in left)]
    return Fading(tuple(int((each & seen)[inner].sum()) for each in found))

"""The skeleton of the landscape: roads and rivers along a jittered brick lattice, and the blocks of land between them.

Lines run through the landscape, `ROW` metres apart; each is a road or a river. Cross roads join neighbouring lines,
staggered like the joints of a brick wall, so that roads meet in T junctions; only at a river do they go straight on, as
bridges. Everything is in metres from the scene's upper left corner, x eastward and y southward.
"""

from __future__ import annotations

from functools import lru_cache
from math import cos, hypot, pi, sin

import numpy as np
from shapely import LineString, Polygon

from geochange.arrays import Floats
from scenery.spec import local_rng

ROW = 440.0  # metres between lines
COLUMN = 275.0  # metres between junctions along a line
ROAD_WIDTH = {"main": 7.5, "lane": 5.0, "track": 3.2}

_NODE, _LINE, _CROSS, _RIVER, _ANGLE, _VILLAGE, _BEND = range(7)


@lru_cache(maxsize=64)
def tilt(seed: int) -> float:
    """Angle (radians) between the lines and the image's rows."""
    rng = local_rng(seed, _ANGLE)
    return float(np.radians(rng.uniform(14, 32)) * rng.choice([-1, 1]))


def to_lattice(seed: int, x: float, y: float) -> tuple[float, float]:
    """(row, column) of a place in the undisturbed lattice."""
    angle = tilt(seed)
    return (-sin(angle) * x + cos(angle) * y) / ROW, (cos(angle) * x + sin(angle) * y) / COLUMN


@lru_cache(maxsize=1 << 14)
def node(seed: int, row: int, col: int) -> tuple[float, float]:
    """The junction at a lattice point."""
    shift = local_rng(seed, _NODE, row, col).uniform(-1, 1, 2)
    along, across = (col + 0.27 * shift[0]) * COLUMN, (row + 0.2 * shift[1]) * ROW
    angle = tilt(seed)
    return cos(angle) * along - sin(angle) * across, sin(angle) * along + cos(angle) * across


@lru_cache(maxsize=1 << 12)
def line_kind(seed: int, row: int) -> str:
    """What runs along a line: "river" for one line in three, never two side by side, else a "main" road or a "lane"."""
    if row == _river_row(seed, row // 3):
        return "river"
    return "main" if local_rng(seed, _LINE, row).random() < 0.6 else "lane"


def _river_row(seed: int, triple: int) -> int:
    return 3 * triple + int(local_rng(seed, _RIVER, triple).integers(2))


def roads_above(seed: int, row: int) -> int:
    """How many of the lines up to and with `row` are roads: the course of bricks, the same on both sides of a river."""
    triple = row // 3
    return 2 * triple + (row - 3 * triple + 1) - (_river_row(seed, triple) <= row)


def stagger(seed: int, row: int) -> int:
    """Cross roads between lines `row` and `row` + 1 lie at columns of this parity."""
    return roads_above(seed, row) % 2


def line_road(seed: int, row: int, col: int) -> tuple[str, Floats]:
    """(kind, curve) of the line from a column to the next."""
    return line_kind(seed, row), line_curve(seed, row, col)


def cross_road(seed: int, row: int, col: int) -> tuple[str, Floats]:
    """(kind, curve) of the cross road below a junction."""
    return cross_kind(seed, row, col), cross_curve(seed, row, col)


def cross_kind(seed: int, row: int, col: int) -> str:
    """What runs from line `row` to the next at a column: "lane", "track" or "none"; the same across a river."""
    draw = local_rng(seed, _CROSS, roads_above(seed, row), col).random()
    return "lane" if draw < 0.45 else "track" if draw < 0.8 else "none"


def is_village(seed: int, row: int, col: int) -> bool:
    """Whether houses stand around a junction."""
    return line_kind(seed, row) != "river" and local_rng(seed, _VILLAGE, row, col).random() < 0.34


@lru_cache(maxsize=1 << 13)
def line_curve(seed: int, row: int, col: int) -> Floats:
    """(33, 2) points from a junction to the next on the line; smooth where it goes on (Catmull and Rom 1974)."""
    p0, p1, p2, p3 = (np.array(node(seed, row, col + k)) for k in (-1, 0, 1, 2))
    t = np.linspace(0, 1, 33)[:, None]
    m1, m2 = (p2 - p0) / 2, (p3 - p1) / 2
    return (2 * t**3 - 3 * t**2 + 1) * p1 + (t**3 - 2 * t**2 + t) * m1 + (3 * t**2 - 2 * t**3) * p2 + (t**3 - t**2) * m2


@lru_cache(maxsize=1 << 13)
def cross_curve(seed: int, row: int, col: int) -> Floats:
    """(25, 2) points from a junction to the one below, in a gentle bow."""
    start, stop = np.array(node(seed, row, col)), np.array(node(seed, row + 1, col))
    t = np.linspace(0, 1, 25)[:, None]
    bow, sway = local_rng(seed, _BEND, row, col).uniform(-1, 1, 2)
    across = np.array([start[1] - stop[1], stop[0] - start[0]])
    return start + t * (stop - start) + across * (0.07 * bow * np.sin(pi * t) + 0.025 * sway * np.sin(2 * pi * t))


def _wave(seed: int, row: int, t: Floats) -> Floats:
    """Smooth noise in -1..1 along a line, with one value a column."""
    base = int(np.floor(t[0])) - 1
    knots = [local_rng(seed, _RIVER, row, base + k, 1).uniform(-1, 1) for k in range(int(np.ceil(t[-1])) - base + 3)]
    u = t - base
    k = np.floor(u).astype(int)
    f = u - k
    f = f * f * (3 - 2 * f)
    knots = np.array(knots)
    return knots[k] * (1 - f) + knots[k + 1] * f


@lru_cache(maxsize=1 << 11)
def river_curve(seed: int, row: int, col: int) -> Floats:
    """(97, 2) points of a river from a column to the next, in meanders (after Langbein and Leopold 1966)."""
    base = np.concatenate([line_curve(seed, row, col + k)[:-1] for k in (-1, 0, 1)])
    t = np.linspace(col, col + 1, 97)
    at = 32 + (t - col) * 32
    points = np.stack([np.interp(at, np.arange(96), base[:, axis]) for axis in (0, 1)], 1)
    ahead = np.stack([np.interp(at + 4, np.arange(96), base[:, axis]) for axis in (0, 1)], 1)
    behind = np.stack([np.interp(at - 4, np.arange(96), base[:, axis]) for axis in (0, 1)], 1)
    tangent = (ahead - behind) / np.linalg.norm(ahead - behind, axis=1)[:, None]
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    phase = 2 * pi * 1.25 * t + 1.4 * _wave(seed, row, t)
    reach = 32 + 18 * _wave(seed, row + 7919, t)
    return points + normal * (reach * np.sin(phase))[:, None] + tangent * (-0.40 * reach * np.sin(2 * phase))[:, None]


@lru_cache(maxsize=1 << 10)
def river_polygon(seed: int, row: int, col: int) -> Polygon:
    """A river's water from a column to the next, wider and narrower by turns."""
    points = river_curve(seed, row, col)
    t = np.linspace(col, col + 1, len(points))
    half = 7.5 + 2.2 * _wave(seed, row + 104729, 3 * t)
    step = np.gradient(points, axis=0)
    normal = np.stack([-step[:, 1], step[:, 0]], 1) / np.hypot(step[:, 0], step[:, 1])[:, None]
    left, right = points + normal * half[:, None], points - normal * half[:, None]
    return Polygon(np.concatenate([left, right[::-1]])).buffer(0.4)


def block_columns(seed: int, row: int, index: int) -> tuple[int, int]:
    """(first, last) column of a block's corners; a block is two columns wide."""
    first = 2 * index + stagger(seed, row)
    return first, first + 2


@lru_cache(maxsize=1 << 12)
def block_polygon(seed: int, row: int, index: int) -> Polygon:
    """The land between lines `row` and `row` + 1 and two cross roads. Blocks cover the plane, but for slivers of some
    metres where a cross road meets the bend of a line."""
    first, last = block_columns(seed, row, index)
    top = [line_curve(seed, row, col) for col in (first, first + 1)]
    bottom = [line_curve(seed, row + 1, col)[::-1] for col in (first + 1, first)]
    ring = [*top, cross_curve(seed, row, last), *bottom, cross_curve(seed, row, first)[::-1]]
    return Polygon(np.concatenate(ring)).buffer(0)


def blocks_near(seed: int, left: float, top: float, right: float, bottom: float) -> list[tuple[int, int]]:
    """(row, index) of each block that may have something inside a window, in metres."""
    window = left, top, right, bottom
    corners = [to_lattice(seed, x, y) for x in (left, right) for y in (top, bottom)]
    rows, cols = zip(*corners, strict=True)
    pad_row, pad_col = 0.45, 0.6
    found = []
    for row in range(int(np.floor(min(rows) - 1 - pad_row)), int(np.ceil(max(rows) + pad_row)) + 1):
        parity = stagger(seed, row)
        first = int(np.floor((min(cols) - pad_col - 2 - parity) / 2))
        last = int(np.ceil((max(cols) + pad_col - parity) / 2))
        found += [(row, index) for index in range(first, last + 1) if _meets(seed, row, index, window)]
    return found


def _meets(seed: int, row: int, index: int, window: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = block_polygon(seed, row, index).bounds
    reach = 75 if line_kind(seed, row) == "river" else 14  # meanders leave the block, verges and trees hardly
    return (
        left - reach < window[2]
        and right + reach > window[0]
        and top - reach < window[3]
        and bottom + reach > window[1]
    )


def frame_at(curve: Floats, distance: float) -> tuple[Floats, Floats]:
    """(point, unit tangent) at a distance along a curve."""
    steps = np.hypot(*np.diff(curve, axis=0).T)
    reached = np.concatenate([[0], np.cumsum(steps)])
    k = int(np.clip(np.searchsorted(reached, distance) - 1, 0, len(steps) - 1))
    tangent = (curve[k + 1] - curve[k]) / max(hypot(*(curve[k + 1] - curve[k])), 1e-9)
    return curve[k] + tangent * (distance - reached[k]), tangent


def curve_length(curve: Floats) -> float:
    """Length in metres."""
    return float(np.hypot(*np.diff(curve, axis=0).T).sum())


def ribbon(curve: Floats, width: float) -> Polygon:
    """The surface of a road of this width along a curve."""
    return LineString(curve).buffer(width / 2, quad_segs=3)

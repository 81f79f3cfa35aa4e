"""How far the content of one date is shifted against another's, place by place: a smooth field over windows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from math import ceil, prod, sqrt
from typing import Any

import numpy as np
from scipy.interpolate import RectBivariateSpline
from scipy.spatial import KDTree

from geochange.arrays import Bools, Floats
from geochange.scenes.grid import Tile
from geochange.scenes.registration import LEAST_WINDOW, MAD_TO_SD, Unmeasured, WindowShift

WINDOW = 96  # pixels per side; content up to a quarter of it away is found
MOST_WINDOWS = 2500
FEWEST = 6  # windows that agree, from which a field is fitted
NEIGHBOURS = 8  # windows that one is compared with
OUTLIER = 3.0  # median differences of the neighbours
MATCHING = 0.1  # px: how well windows match at their best, so that no smaller difference is an outlier
BANDWIDTHS = 0.7, 1.0, 1.5, 2.2, 3.3, 5.0, 7.5  # steps between windows
STIFFNESS = 0.005  # windows' weight with which slopes and bends are drawn to none
LEAST_NEARNESS = 1e-9  # so that also places far away from all windows have some to go by
ORDER = 3  # of the splines between nodes
DECIMALS = 3  # of pixels; splines swing on far away, by less
FADING = 1.0, 2.0  # windows' sides away from the next one measured, between which the field fades to none
STILL = 0.1  # px; a field that is nowhere longer is none

NODE_TYPE = np.dtype("<f4")


@dataclass(frozen=True)
class ShiftField:
    """Where AFTER's content lies relative to BEFORE's: after[r + row, c + col] ~ before[r, c], at any place."""

    nodes: bytes
    """(2, rows, cols) float32 pixels down and right, at nodes that stand regular over the scene from pixel centre to
    centre; as bytes, which are compared and travel with tasks."""
    counts: tuple[int, int]
    """(rows, cols) of nodes."""
    shape: tuple[int, int]
    """(rows, cols) of the scene."""
    origin: tuple[int, int] = (0, 0)
    """(row, col) of the first pixel of what is asked for, in the scene."""

    @classmethod
    def of(cls, nodes: Floats, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> ShiftField:
        """Return the field of (2, rows, cols) shifts at nodes."""
        rounded = np.round(nodes, DECIMALS).astype(NODE_TYPE)
        return cls(rounded.tobytes(), (nodes.shape[1], nodes.shape[2]), shape, origin)

    def crop(self, tile: Tile) -> ShiftField:
        """Return the field whose rows and columns count from a tile's first pixel."""
        return replace(self, origin=(self.origin[0] + tile.row, self.origin[1] + tile.col))

    def over(self, tile: Tile) -> Floats:
        """(2, y, x) float64 pixels down and right at the pixels of a tile; those of a place depend on no other."""
        rows = np.arange(tile.row, tile.stop_row) + self.origin[0]
        cols = np.arange(tile.col, tile.stop_col) + self.origin[1]
        return np.stack([spline(rows, cols) for spline in self._splines]).round(DECIMALS)

    @cached_property
    def _splines(self) -> tuple[RectBivariateSpline, ...]:
        rows, cols = _node_places(self.shape, self.counts)
        orders = {"kx": min(ORDER, len(rows) - 1), "ky": min(ORDER, len(cols) - 1)}
        return tuple(RectBivariateSpline(rows, cols, part, **orders) for part in self._at_nodes)

    @property
    def _at_nodes(self) -> Floats:
        at_nodes: Floats = np.frombuffer(self.nodes, NODE_TYPE).reshape(2, *self.counts).astype(np.float64)
        return at_nodes.round(DECIMALS)

    @property
    def longest(self) -> float:
        """Pixels of the longest shift at a node."""
        return float(np.hypot(*self._at_nodes).max())

    @property
    def mark(self) -> str:
        """What tells one field from another."""
        return blake2b(repr((self.nodes, self.counts, self.shape, self.origin)).encode(), digest_size=8).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers, from which the same field is made."""
        return {"nodes": self._at_nodes.tolist(), "shape": list(self.shape), "origin": list(self.origin)}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> ShiftField:
        """Read what `to_json` returned.

        Raises:
            ValueError: it is none.
        """
        nodes = np.array(saved["nodes"], float)
        shape, origin = (tuple(int(each) for each in saved[name]) for name in ("shape", "origin"))
        if nodes.ndim != 3 or len(nodes) != 2 or min(nodes.shape) < 2 or not np.isfinite(nodes).all():
            raise ValueError("nodes must be (2, rows, cols) numbers")
        return cls.of(nodes, (shape[0], shape[1]), (origin[0], origin[1]))


@dataclass(frozen=True)
class LocalShift:
    """A field, and the windows that it was fitted to."""

    field: ShiftField | None
    """None where nothing has to be moved."""
    places: Floats
    """(n, 2) row and column of the centres of the windows that were measured."""
    shifts: Floats
    """(n, 2) pixels down and right."""
    used: Bools
    """(n,) which windows are no outliers."""
    predicted: Floats
    """(n, 2) what the field has there that is fitted to the other windows."""
    windows_tried: int

    @property
    def residual(self) -> float:
        """Median distance in pixels of a window's shift from what the others predict: what a field leaves."""
        return float(np.median(np.hypot(*(self.shifts - self.predicted)[self.used].T)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON, all in pixels but for the windows."""
        return {
            "length": self.length,
            "residual": self.residual,
            "longest": 0.0 if self.field is None else self.field.longest,
            "windows_used": int(self.used.sum()),
            "windows_tried": self.windows_tried,
        }

    @property
    def length(self) -> float:
        """Median length in pixels of the shifts that were measured: what is left without a field."""
        return float(np.median(np.hypot(*self.shifts[self.used].T)))


def local_windows_for(shape: tuple[int, int]) -> list[Tile]:
    """Windows, regular over a scene of (rows, cols) from its first pixel to its last, to measure a field of shifts in.

    They overlap by half, less where there would be more than `MOST_WINDOWS`. Empty where the scene has fewer than 16
    rows or columns.
    """
    sides = [min(length, WINDOW) for length in shape]
    if min(sides) < LEAST_WINDOW:
        return []
    spans, step = [length - side for length, side in zip(shape, sides, strict=True)], WINDOW / 2
    while prod(1 + ceil(span / step) for span in spans) > MOST_WINDOWS:
        step *= 1.05
    starts = [np.linspace(0, span, 1 + ceil(span / step)).round().astype(int) for span in spans]
    return [Tile(int(row), int(col), sides[0], sides[1]) for row in starts[0] for col in starts[1]]


def fit_field(
    windows: Sequence[Tile], shifts: Sequence[WindowShift | Unmeasured], shape: tuple[int, int]
) -> LocalShift | Unmeasured:
    """Fit a smooth field of shifts to what windows over a scene show.

    Outliers are found among each window's neighbours (Westerweel and Scarano 2005). The field is a local linear
    regression (Cleveland and Devlin 1988) with the bandwidth that predicts each window best from the others; where no
    shift at all predicts them as well, there is no field. Away from what was measured it fades to none.

    Args:
        windows: as `local_windows_for` gives them.
        shifts: of each window.
        shape: (rows, cols) of the scene.

    Returns:
        The field with its windows; `Unmeasured` where fewer than six agree.
    """
    pairs = zip(windows, shifts, strict=True)
    measured = [(_centre(tile), shift) for tile, shift in pairs if isinstance(shift, WindowShift)]
    if len(measured) < FEWEST:
        return Unmeasured(f"{len(measured)} of {len(windows)} windows could be measured")
    step = sqrt(prod(length - WINDOW / 2 for length in shape) / len(windows))
    moved, quality = np.array([(s.row, s.col) for _, s in measured]), np.array([s.quality for _, s in measured])
    sample = _Sample(np.array([place for place, _ in measured]), moved, quality, step)
    used = sample.agreeing()
    if used.sum() < FEWEST:
        return Unmeasured("the windows contradict each other")
    bandwidth, used, predicted = sample.best_bandwidth(used)
    field = ShiftField.of(sample.part(used).at_nodes(bandwidth, shape), shape)
    moves = bandwidth > 0 and field.longest > STILL
    return LocalShift(field if moves else None, sample.places, moved, used, predicted, len(windows))


def _centre(tile: Tile) -> tuple[float, float]:
    return tile.row + (tile.height - 1) / 2, tile.col + (tile.width - 1) / 2


@dataclass(frozen=True, slots=True)
class _Sample:
    """Shifts that were measured, of which those of outliers have no weight."""

    places: Floats
    """(n, 2) rows and columns."""
    shifts: Floats
    """(n, 2) pixels down and right."""
    weights: Floats
    """(n,)."""
    step: float
    """Pixels between windows."""

    def part(self, used: Bools) -> _Sample:
        """Return some of the windows."""
        return _Sample(self.places[used], self.shifts[used], self.weights[used], self.step)

    def agreeing(self) -> Bools:
        """(n,) which are like their neighbours: the normalised median test of Westerweel and Scarano (2005)."""
        count = min(NEIGHBOURS + 1, len(self.places))
        near = KDTree(self.places).query(self.places, count)[1][:, 1:]
        centre = np.median(self.shifts[near], axis=1)
        usual = np.median(np.abs(self.shifts[near] - centre[:, None]), axis=1) + MATCHING
        return np.asarray((np.abs(self.shifts - centre) <= OUTLIER * usual).all(axis=1))

    def best_bandwidth(self, used: Bools) -> tuple[float, Bools, Floats]:
        """(bandwidth, 0 for no field; (n,) which windows are no outliers; (n, 2) what the others predict of each)."""
        others, predicted = replace(self, weights=self.weights * used), {0.0: np.zeros_like(self.shifts)}
        predicted |= {each: others.regressed(self.places, each) for each in self.step * np.array(BANDWIDTHS)}
        residuals = {each: np.hypot(*(found - self.shifts).T) for each, found in predicted.items()}
        best = min(residuals, key=lambda bandwidth: float(np.median(residuals[bandwidth][used])))
        usual = max(MAD_TO_SD * float(np.median(residuals[best][used])), MATCHING)
        agreeing = used & (residuals[best] <= OUTLIER * usual)
        return best, agreeing, predicted[best]

    def regressed(self, wanted: Floats, bandwidth: float) -> Floats:
        """(m, 2) local linear regression at (m, 2) places; a window at the place itself has no weight."""
        return np.concatenate([self._regressed(part, bandwidth) for part in np.split(wanted, self._cuts(wanted))])

    def _cuts(self, wanted: Floats) -> range:
        """Where places are to be cut so that what is computed at once stays small."""
        at_once = max(2**21 // len(self.places), 1)
        return range(at_once, len(wanted), at_once)

    def _regressed(self, wanted: Floats, bandwidth: float) -> Floats:
        away = (self.places[None] - wanted[:, None]) / self.step  # (m, n, 2)
        distance = np.square(away).sum(axis=-1)
        near = self.weights * (np.exp(-0.5 * distance * (self.step / bandwidth) ** 2) + LEAST_NEARNESS) * (distance > 0)
        down, right = np.moveaxis(away, -1, 0)
        design = np.stack([np.ones_like(down), down, right, down * down, down * right, right * right], axis=-1)
        weighted = design * near[..., None]
        normal = np.einsum("mni,mnj->mij", weighted, design)
        bends = np.arange(1, design.shape[-1])
        normal[:, bends, bends] += STIFFNESS * near.sum(axis=1)[:, None]
        found: Floats = np.linalg.solve(normal, np.einsum("mni,nk->mik", weighted, self.shifts))[:, 0]
        return found

    def at_nodes(self, bandwidth: float, shape: tuple[int, int]) -> Floats:
        """(2, rows, cols) of the field at nodes half a step apart, none where it fades away."""
        counts = [max(2, 1 + ceil(2 * (length - 1) / self.step)) for length in shape]
        if bandwidth == 0:
            return np.zeros((2, *counts))
        rows, cols = _node_places(shape, counts)
        wanted = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)
        away = KDTree(self.places).query(wanted)[0] / max(WINDOW, self.step * sqrt(2))
        share = np.clip((FADING[1] - away) / (FADING[1] - FADING[0]), 0, 1)
        eased = np.square(share) * (3 - 2 * share)
        known = np.clip(self.regressed(wanted, bandwidth), self.shifts.min(axis=0), self.shifts.max(axis=0))
        field: Floats = (known * eased[:, None]).T.reshape(2, *counts)
        return field


def _node_places(shape: tuple[int, int], counts: Sequence[int]) -> tuple[Floats, Floats]:
    """Rows and columns of nodes, from the centre of the first pixel to that of the last."""
    rows, cols = (np.linspace(0, length - 1, count) for length, count in zip(shape, counts, strict=True))
    return rows, cols

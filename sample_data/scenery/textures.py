"""Periodic tiles of noise and of tree crowns, of different periods, so that nothing repeats in sight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from geochange.arrays import Array, Floats, Ints
from scenery.spec import LARGEST_SHIFT, PATCH, halo_of, local_rng

_NOISE, _CROWNS = 201, 202
NOISES = {
    "grain": (661, 0.5),
    "regrain": (709, 0.5),
    "mottle": (743, 3.5),
    "coarse": (857, 13.0),
    "broad": (991, 34.0),
}
"""Period in pixels, and standard deviation of the smoothing in metres; the first two are smoothed in pixels."""


@dataclass(frozen=True, slots=True)
class Crowns:
    """A periodic canopy seen from above, at each pixel the crown on top."""

    height: Floats  # metres; 0 in the gaps
    tone: Floats  # the crown's own brightness, about -1..1
    row_shift: Ints  # pixels to the middle of the crown
    col_shift: Ints


def window(texture: Array, row: int, col: int, shape: tuple[int, int], period: int) -> Array:
    """A view of a periodic texture that was padded by `pad_periodic`."""
    row, col = row % period, col % period
    return texture[row : row + shape[0], col : col + shape[1]]


def pad_periodic(texture: Array, pixel: float) -> Array:
    """The texture with enough of its beginning repeated at its end for any window of one patch."""
    more = PATCH + 2 * halo_of(pixel, LARGEST_SHIFT)
    return np.ascontiguousarray(np.pad(texture, ((0, more), (0, more)), mode="wrap"))


@lru_cache(maxsize=8)
def noise_tiles(seed: int, pixel: float) -> dict[str, Floats]:
    """Smoothed white noise of standard deviation 1, by name."""
    tiles = {}
    for number, (name, (period, smoothing)) in enumerate(NOISES.items()):
        white = local_rng(seed, _NOISE, number).standard_normal((period, period), np.float32)
        sigma = smoothing if name.endswith("grain") else smoothing / pixel
        smooth = gaussian_filter(white, min(sigma, period / 8), mode="wrap")
        tiles[name] = pad_periodic(smooth / smooth.std(), pixel)
    return tiles


CANOPIES = {"wood": (521, 6.6, 9.0, 15.0), "scrub": (337, 3.9, 2.5, 6.0)}
"""Period in pixels; metres between crowns; lowest and highest crown in metres."""


@lru_cache(maxsize=8)
def crown_tiles(seed: int, pixel: float) -> dict[str, Crowns]:
    """The canopies by name."""
    return {name: _grow(seed, pixel, number, name) for number, name in enumerate(CANOPIES)}


def _grow(seed: int, pixel: float, number: int, name: str) -> Crowns:
    """A canopy of jittered crowns in a hexagonal lattice, the higher over the lower."""
    period, spacing, low, high = CANOPIES[name]
    rng = local_rng(seed, _CROWNS, number)
    count = 2 * round(period * pixel / max(spacing, 1.2 * pixel) / 2)
    rows, cols = np.mgrid[0:count, 0:count]
    places = np.stack([rows + 0.5 * (cols % 2), cols], -1).reshape(-1, 2) + rng.uniform(-0.38, 0.38, (count**2, 2))
    places = places * (period / count) % period
    radii = period / count * rng.uniform(0.42, 0.84, count**2)
    heights, tones = rng.uniform(low, high, count**2), rng.normal(0, 0.55, count**2)
    margin = int(np.ceil(radii.max())) + 2
    canvas = np.zeros((4, period + 2 * margin, period + 2 * margin), np.float32)
    shifts = np.array([(row, col) for row in (-period, 0, period) for col in (-period, 0, period)])
    copies = places[:, None] + shifts + margin
    inside = ((copies > 0) & (copies < period + 2 * margin)).all(axis=2)
    for k, copy in np.argwhere(inside):
        _stamp(canvas, copies[k, copy], radii[k], heights[k], tones[k])
    inner = canvas[:, margin:-margin, margin:-margin]
    height, tone, row_shift, col_shift = (pad_periodic(layer, pixel) for layer in inner)
    return Crowns(height, tone, row_shift.astype(np.int32), col_shift.astype(np.int32))


def _stamp(canvas: Floats, middle: Floats, radius: float, height: float, tone: float) -> None:
    """Add one crown wherever it rises above what is there: height, tone and the way to its middle."""
    row, col = middle
    top, left = max(int(row - radius), 0), max(int(col - radius), 0)
    view = canvas[:, top : int(row + radius) + 2, left : int(col + radius) + 2]
    rows = row - np.arange(top, top + view.shape[1])[:, None]
    cols = col - np.arange(left, left + view.shape[2])[None, :]
    dome = height * crown_profile((rows**2 + cols**2) / radius**2)
    crown = np.stack([dome, *np.broadcast_arrays(np.full_like(dome, tone), np.rint(rows), np.rint(cols))])
    np.copyto(view, crown, where=dome > view[0], casting="same_kind")


def crown_profile(squared: Floats) -> Floats:
    """Height of a crown, as a part of the tree's, over the squared distance from its middle in radii."""
    return np.where(squared < 1, 0.5 + 0.5 * np.sqrt(np.clip(1 - squared, 0, 1)), 0)

"""Whether what is bright at one date only looks like cloud. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.ndimage import binary_opening

from geochange.arrays import Array, Bools, Floats
from geochange.scenes.radiometry import Radiometry

CELL = 8  # pixels per side that are looked at as one
OPENING = np.ones((3, 3), bool)  # cells of the smallest patch
BRIGHTER, EACH = (
    3.0,
    1.5,
)  # residuals of unchanged pixels that a cloud lies above the ground, in the mean and in each band
BRIGHTEST = 0.9  # share of the other date's cells that it is brighter than, in each band


def cell_means(values: Array, valid: Bools) -> Floats:
    """(band, y / 8, x / 8) float32 means of (band, y, x) values over cells of 8 x 8 pixels; NaN where not all valid."""
    rows, cols = (length // CELL * CELL for length in valid.shape)
    shape = rows // CELL, CELL, cols // CELL, CELL
    means = values[:, :rows, :cols].reshape(len(values), *shape).mean(axis=(2, 4), dtype=np.float32)
    known = valid[:rows, :cols].reshape(shape).all(axis=(1, 3))
    return np.where(known, means, np.float32(np.nan))


def cloud_shares(cells: Iterable[tuple[Floats, Floats]], lines: Sequence[Radiometry]) -> tuple[float, float]:
    """Share of a scene that looks like cloud at the first date, and at the second.

    Patches of at least 24 x 24 pixels count that are far brighter than the other date is there and nearly anywhere, in
    all bands that follow their earlier selves. New roofs of that size look the same.

    Args:
        cells: `cell_means` of windows at both dates.
        lines: how the bands follow from each other where nothing has changed.
    """
    follows = np.array([bool(line.gain and line.gain > 0 and line.residual) for line in lines])
    windows = [(before[follows], after[follows]) for before, after in cells if before.size]
    if not windows or not follows.any():
        return 0.0, 0.0
    kept = [line for line, follow in zip(lines, follows, strict=True) if follow]
    gain, offset, residual = (
        np.array([getattr(line, name) for line in kept], np.float32)[:, None, None]
        for name in ("gain", "offset", "residual")
    )
    expected = [(before * gain + offset, after) for before, after in windows]
    most = [_brightest([pair[place] for pair in expected]) for place in range(2)]
    known = sum(int(np.isfinite(after - before).all(axis=0).sum()) for before, after in expected)
    clouded = [
        sum(int(_patches(pair[place], pair[1 - place], residual, most[1 - place]).sum()) for pair in expected)
        for place in range(2)
    ]
    return clouded[0] / max(known, 1), clouded[1] / max(known, 1)


def _brightest(windows: Sequence[Floats]) -> Floats:
    cells = np.concatenate([each.reshape(len(each), -1) for each in windows], axis=1)
    cells = cells[:, np.isfinite(cells).all(axis=0)]
    if not cells.size:
        return np.full((len(cells), 1, 1), np.inf, np.float32)
    most: Floats = np.quantile(cells, BRIGHTEST, axis=1)[:, None, None]
    return most


def _patches(values: Floats, other: Floats, residual: Floats, most: Floats) -> Bools:
    """(y, x) cells of patches that are far brighter than the (band, y, x) other date, and than nearly all of it."""
    above = (values - other) / residual
    bright = (above > EACH).all(axis=0) & (above.mean(axis=0) > BRIGHTER) & (values > most).all(axis=0)
    found: Bools = binary_opening(bright, OPENING)
    return found

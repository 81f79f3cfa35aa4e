"""Smoothing that keeps edges: total variation on the graph of a pixel's eight neighbours. Pure.

The result u of an image z minimises |u - z|² / 2 + the sum, over all pairs of neighbours, of their bound times
|difference of u| (Rudin, Osher and Fatemi 1992). Each pair has a flow between its two pixels, which its bound limits;
the flows are found by accelerated projected gradients (Beck and Teboulle 2009). A pixel far out gives its neighbours no
more than the bounds, so it moves none of them far.
"""

from __future__ import annotations

import numpy as np

from geochange.arrays import Bools, Floats

ITERATIONS = 20
"""Steps; each lets a pixel depend on neighbours one pixel further away. More change little."""

STEP = np.float32(1 / 16)  # the inverse of twice the number of neighbours
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


def _ends(shape: tuple[int, int], row: int, col: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return where the pixels of all pairs lie that are (row, col) apart."""
    height, width = shape
    here = slice(0, height - row), slice(max(-col, 0), width - max(col, 0))
    there = slice(row, height), slice(max(col, 0), width - max(-col, 0))
    return here, there


def smooth(image: Floats, valid: Bools, bound: float) -> Floats:
    """Return the (y, x) float32 image smoothed by total variation.

    Args:
        image: (y, x) float32.
        valid: (y, x); pixels that are not valid take no part, and keep their value.
        bound: largest flow between two pixels side by side, in units of the image; diagonal ones have its 0.7-fold.

    A pixel depends on those up to `ITERATIONS` pixels away.
    """
    pairs = [_ends(image.shape, *each) for each in NEIGHBOURS]
    bounds = [
        np.float32(bound / np.hypot(*each)) * (valid[here] & valid[there])
        for each, (here, there) in zip(NEIGHBOURS, pairs, strict=True)
    ]
    flows: list[Floats] = [np.zeros(each.shape, np.float32) for each in bounds]
    ahead, weight = [flow.copy() for flow in flows], 1.0
    for _ in range(ITERATIONS):
        smoothed = _moved(image, pairs, ahead)
        further = (1 + np.sqrt(1 + 4 * weight * weight)) / 2
        momentum = np.float32((weight - 1) / further)
        for k, ((here, there), limit) in enumerate(zip(pairs, bounds, strict=True)):
            update = smoothed[there] - smoothed[here]
            update *= STEP
            update += ahead[k]
            np.clip(update, -limit, limit, out=update)
            np.subtract(update, flows[k], out=ahead[k])
            ahead[k] *= momentum
            ahead[k] += update
            flows[k] = update
        weight = further
    return _moved(image, pairs, flows)


def _moved(image: Floats, pairs: list[tuple[tuple[slice, slice], tuple[slice, slice]]], flows: list[Floats]) -> Floats:
    """Return the image after the flows: what each pair's second pixel gives to its first."""
    moved = image.copy()
    for (here, there), flow in zip(pairs, flows, strict=True):
        moved[here] += flow
        moved[there] -= flow
    return moved

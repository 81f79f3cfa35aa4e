"""Bilinear resampling of arrays, as PyTorch's `interpolate` does it. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from scipy import sparse

from geochange.arrays import Floats


def resize(images: Floats, shape: tuple[int, int]) -> Floats:
    """Resample images to another number of rows and columns; where these are fewer, with a wider kernel.

    Args:
        images: (..., y, x) float32.
        shape: (rows, cols).

    Returns:
        (..., rows, cols) float32.
    """
    if images.shape[-2:] == shape:
        return images
    return _along_last(_along_last(images, shape[1]).swapaxes(-1, -2), shape[0]).swapaxes(-1, -2)


def _along_last(images: Floats, length: int) -> Floats:
    flat = images.reshape(-1, images.shape[-1])
    resized: Floats = (_weights(images.shape[-1], length) @ flat.T).T
    return resized.reshape(*images.shape[:-1], length)


@lru_cache(maxsize=16)
def _weights(before: int, after: int) -> Any:
    """(after, before) sparse weights: a triangle about each pixel's centre, as wide as the larger of both pixels."""
    ratio = before / after
    reach = max(ratio, 1.0)
    centres = (np.arange(after) + 0.5) * ratio - 0.5
    centres = centres if ratio > 1 else np.clip(centres, 0, before - 1)
    near = np.floor(centres)[:, None] + np.arange(-np.ceil(reach), np.ceil(reach) + 2)
    values = np.maximum(1 - np.abs(near - centres[:, None]) / reach, 0) * ((near >= 0) & (near < before))
    values /= values.sum(axis=1, keepdims=True)
    rows = np.broadcast_to(np.arange(after)[:, None], near.shape)
    kept = values > 0
    return sparse.csr_array((values[kept].astype(np.float32), (rows[kept], near[kept].astype(int))), (after, before))

"""Variation of labelled samples: where the crop is taken and how it is turned, and how each date looks. Seeded.

All geometry of a sample is one affine map, so pixels are interpolated once. Looks are varied on normalised values
(standard deviations of the training data), so that 8-bit and 16-bit imagery vary alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geochange.arrays import IGNORE, Array, Floats, Ints
from geochange.datasets.variation import GeometryOptions, LookOptions

WHOLE = 1e-9  # pixels by which a place may lie off a pixel's centre and count as on it


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the pixels of a crop come from: input (x, y) = matrix @ (column, row) of the crop + origin."""

    matrix: Floats  # (2, 2)
    origin: Floats  # (2,) x, y of the first pixel's centre, in pixels whose centres are whole numbers


def draw_placement(
    rng: np.random.Generator,
    labels: Array,
    size: int,
    zoom: float,
    options: GeometryOptions,
) -> Placement:
    """Choose a crop.

    Args:
        rng: the sample's own.
        labels: (y, x) of the image; values in 1..254 are change.
        size: rows and columns of the crop.
        zoom: pixels of the crop for one of the image, before variation.
        options: how far it may vary.
    """
    turn = np.eye(2)
    warped = rng.random() < options.resampled
    if warped:
        zoom = zoom * float(np.exp(rng.uniform(*np.log(options.scale))))
        angle, shear = np.deg2rad(rng.uniform(-1, 1, 2) * (options.rotation, options.shear))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ [
            [1, np.tan(shear)],
            [0, 1],
        ]
    if options.quarter_turns:
        turn = turn @ np.round([[0, -1], [1, 0]] if rng.random() < 0.5 else np.eye(2))
    if options.flip:
        turn = turn @ np.diag(rng.choice([-1.0, 1.0], 2))
    matrix = turn / zoom
    centre = _draw_centre(rng, labels, size / zoom, options.centred)
    origin = centre - matrix @ [(size - 1) / 2, (size - 1) / 2]
    if np.allclose(matrix, np.round(matrix)):
        origin = np.round(origin)  # nothing is interpolated where nothing has to be
    return Placement(matrix, origin)


def _draw_centre(rng: np.random.Generator, labels: Array, extent: float, centred: float) -> Floats:
    """Return (x, y) about which `extent` pixels are taken: inside the image where they fit, else its middle."""
    shape = np.array(labels.shape[::-1])
    low, high = np.minimum((extent - 1) / 2, (shape - 1) / 2), np.maximum(shape - 1 - (extent - 1) / 2, (shape - 1) / 2)
    wanted, place = rng.random() < centred, rng.random(2)
    centre: Floats = low + place * (high - low)
    if wanted:
        rows, cols = np.nonzero((labels > 0) & (labels != IGNORE))
        if rows.size:
            k = rng.integers(rows.size)
            jitter = rng.uniform(-0.4, 0.4, 2) * extent
            centre = np.clip(np.array([cols[k], rows[k]]) + jitter, low, high)
    return centre


def take_crop(image: Array, placement: Placement, size: int, *, nearest: bool = False) -> Tensor:
    """Take a crop.

    Args:
        image: (band, y, x); beyond its border it is reflected, the border pixel repeated, over and over.
        placement: where from.
        size: rows and columns of the crop.
        nearest: take the nearest pixel instead of interpolating between four.

    Returns:
        (band, size, size) float32; pixels that lie on pixels are those of the image to the last bit.
    """
    x, y = _coordinates(placement, size)
    rows, cols = _window(x, y, image.shape[-2:])
    if nearest or _whole(x, y):
        at = _reflect(np.round(y), image.shape[-2]), _reflect(np.round(x), image.shape[-1])
        return torch.from_numpy(np.asarray(image[:, *at], np.float32))
    part = torch.from_numpy(np.ascontiguousarray(image[:, rows, cols], dtype=np.float32))
    height, width = part.shape[-2:]
    x, y = (2 * (x - cols.start) + 1) / width - 1, (2 * (y - rows.start) + 1) / height - 1
    grid = torch.from_numpy(np.stack([x, y], axis=-1).astype(np.float32))
    sampled = functional.grid_sample(
        part[None], grid[None], mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return sampled[0]


def _coordinates(placement: Placement, size: int) -> tuple[Floats, Floats]:
    """Return (y, x) columns and rows of the image that the pixels of a crop come from."""
    steps, m = np.arange(size), placement.matrix
    x = m[0, 0] * steps[None, :] + m[0, 1] * steps[:, None] + placement.origin[0]
    y = m[1, 0] * steps[None, :] + m[1, 1] * steps[:, None] + placement.origin[1]
    return x, y


def _whole(x: Floats, y: Floats) -> bool:
    return all(np.abs(axis - np.round(axis)).max() < WHOLE for axis in (x, y))


def _reflect(index: Floats, length: int) -> Ints:
    """Return indices mirrored at the outer edges of the first and last pixel: ... 1 0 0 1 ... 8 9 9 8 ..."""
    inside = index.astype(np.intp) % (2 * length)
    return np.where(inside < length, inside, 2 * length - 1 - inside)


def _window(x: Floats, y: Floats, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return rows and columns that a crop touches, a pixel to spare; all where it reaches beyond the border."""
    slices = []
    for places, length in ((y, shape[0]), (x, shape[1])):
        low, high = floor(places.min()) - 1, ceil(places.max()) + 2
        inside = places.min() >= 0 and places.max() <= length - 1
        slices.append(slice(max(low, 0), min(high, length)) if inside else slice(0, length))
    return slices[0], slices[1]


def vary_look(dates: Tensor, rng: np.random.Generator, options: LookOptions) -> Tensor:
    """Change the look of each date on its own.

    Args:
        dates: (time, band, y, x) normalised.
        rng: the sample's own.
        options: how far.
    """
    varied = [_vary_date(date, rng, options) if rng.random() < options.share else date for date in dates]
    return torch.stack(varied)


def _vary_date(date: Tensor, rng: np.random.Generator, options: LookOptions) -> Tensor:
    bands = date.shape[0]
    gain = (1 + rng.uniform(-1, 1) * options.contrast) * (1 + rng.uniform(-1, 1, bands) * options.colour)
    offset = rng.uniform(-1, 1) * options.brightness + rng.uniform(-1, 1, bands) * options.colour
    date = date * _column(gain) + _column(offset)
    if rng.random() < options.hazy:
        share = float(rng.uniform(0, options.haze))
        date = date * (1 - share) + 2.0 * share  # white lies about two standard deviations up
    if rng.random() < options.blurred:
        date = gaussian_blur(date, float(rng.uniform(0.3, options.blur)))
    elif rng.random() < options.sharpened:
        date = date + float(rng.uniform(0, options.sharpening)) * (date - gaussian_blur(date, 1.0))
    if rng.random() < options.noisy:
        spread = float(rng.uniform(0, options.noise))
        date = date + spread * torch.from_numpy(rng.standard_normal(tuple(date.shape), dtype=np.float32))
    return date


def _column(values: Floats) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))[:, None, None]


def gaussian_blur(date: Tensor, sigma: float) -> Tensor:
    """Return (band, y, x) blurred; reflected at the border."""
    reach = max(1, ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.exp(-(steps**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    bands = date.shape[0]
    padded = functional.pad(date[None], (reach, reach, reach, reach), mode="reflect")
    rows = functional.conv2d(padded, kernel.view(1, 1, -1, 1).expand(bands, 1, -1, 1), groups=bands)
    both: Tensor = functional.conv2d(rows, kernel.view(1, 1, 1, -1).expand(bands, 1, 1, -1), groups=bands)
    return both[0]

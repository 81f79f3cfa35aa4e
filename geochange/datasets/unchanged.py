"""Differences of two images of one place though nothing changed: season, haze, view, sharpness, noise, JPEG.

All of it is a function of a seed and of the place in the scene, so that a scene in parts is the scene as a whole.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from geochange.arrays import Array, Floats
from geochange.datasets.options import EFFECTS, Effect
from geochange.scenes.grid import Tile

KNOTS = 6  # of the curve that a season bends a band with
PATCH = 96  # pixels between the nodes of what varies over a scene
EFFECT_HALO = 8  # pixels around a tile that its view and blur need
JPEG_CELL = 16  # pixels that JPEG packs together, colours at half the size


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """What the values of a scene are like."""

    mean: Floats
    spread: Floats
    """(band,) mean and standard deviation."""
    low: Floats
    high: Floats
    """(band,) what stands for black and white."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DateLook:
    """How one date of a synthetic pair looks."""

    seed: int
    curve: Floats
    """(band, knot) what the season adds from dark to bright, in standard deviations."""
    patchy: float = 0.0
    """How much that differs from place to place, 0..1."""
    haze: float = 0.0
    """Share of white at its densest."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Rows and columns by which the ground lies elsewhere."""
    wander: float = 0.0
    """Pixels by which that varies over the scene."""
    blur: float = 0.0
    """Standard deviation in pixels."""
    noise: float = 0.0
    """Standard deviation, in those of the bands."""
    quality: int | None = None
    """JPEG quality; None for no JPEG."""


def draw_look(
    rng: np.random.Generator, bands: int, effects: tuple[Effect, ...] = EFFECTS, strength: float = 1.0
) -> DateLook:
    """Draw how a date looks.

    Args:
        rng: the image's own.
        bands: of the image.
        effects: names of `EFFECTS` that may occur.
        strength: 1 for what images a year apart show; 0 for nothing.
    """
    common, own = rng.normal(0, 0.3, KNOTS), rng.normal(0, 0.2, (bands, KNOTS))
    drawn: dict[Effect, dict[str, Any]] = {
        "season": {"curve": strength * (common + own), "patchy": float(rng.uniform(0, 0.8))},
        "haze": {"haze": min(strength * rng.uniform(0, 0.3), 0.9) if rng.random() < 0.3 else 0.0},
        "view": {"shift": tuple(strength * rng.uniform(-1, 1, 2)), "wander": strength * float(rng.uniform(0, 0.7))},
        "blur": {"blur": min(strength * rng.uniform(0.3, 0.9), 2.0) if rng.random() < 0.4 else 0.0},
        "noise": {"noise": strength * float(rng.uniform(0, 0.08))},
        "jpeg": {"quality": int(100 - min(strength * rng.uniform(5, 35), 90)) if strength > 0 else None},
    }
    chosen = {name: value for effect in EFFECTS if effect in effects for name, value in drawn[effect].items()}
    return DateLook(seed=int(rng.integers(2**62)), **{"curve": np.zeros((bands, KNOTS)), **chosen})


def move_view(image: Floats, tile: Tile, look: DateLook) -> Floats:
    """Return the ground as this date's view shows it, (band, y, x); exact `EFFECT_HALO` pixels from the border."""
    if look.shift == (0.0, 0.0) and look.wander == 0:
        return image
    moves = [
        shift + look.wander * smooth_field(look.seed + axis, tile) for axis, shift in enumerate(look.shift, start=1)
    ]
    places = np.meshgrid(*(np.arange(length, dtype=float) for length in tile.shape), indexing="ij")
    at = np.stack([place + move for place, move in zip(places, moves, strict=True)])
    return np.stack([ndimage.map_coordinates(band, at, order=1, mode="nearest") for band in image])


def apply_light(image: Floats, tile: Tile, look: DateLook, tone: Tone) -> Floats:
    """Apply season and haze to (band, y, x) of a tile."""
    low, high = (each[:, None, None] for each in (tone.low, tone.high))
    bright = np.clip((image - low) / (high - low), 0, 1) * (KNOTS - 1)
    added = np.stack([np.interp(band, np.arange(KNOTS), curve) for band, curve in zip(bright, look.curve, strict=True)])
    share = 1 + look.patchy * smooth_field(look.seed + 3, tile)
    image = image + added * share * tone.spread[:, None, None]
    veil = look.haze * (0.5 + 0.5 * smooth_field(look.seed + 4, tile))
    return image * (1 - veil) + high * veil


def apply_sensor(image: Floats, tile: Tile, look: DateLook, tone: Tone) -> Floats:
    """Apply blur and noise to (band, y, x) of a tile; exact `EFFECT_HALO` pixels from its border."""
    if look.blur > 0:
        image = ndimage.gaussian_filter(image, (0, look.blur, look.blur), truncate=EFFECT_HALO / 2 / look.blur)
    if look.noise > 0:
        image = image + look.noise * tone.spread[:, None, None] * white_noise(look.seed + 5, tile, len(image))
    return image


def pack_jpeg(image: Floats, quality: int, tone: Tone) -> Floats:
    """Pack an image as JPEG and unpack it: three bands as colours, others one by one.

    Args:
        image: (band, y, x); its first pixel must lie on a multiple of `JPEG_CELL` in the scene.
        quality: 1..100.
        tone: what is black and white.
    """
    low, high = (each[:, None, None] for each in (tone.low, tone.high))
    bytes_ = np.clip((image - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)
    if len(image) == 3:
        packed = np.moveaxis(_through_jpeg(np.moveaxis(bytes_, 0, -1), quality), -1, 0)
    else:
        packed = np.stack([_through_jpeg(band, quality) for band in bytes_])
    return image + (packed.astype(float) - bytes_) / 255 * (high - low)


def _through_jpeg(pixels: Array, quality: int) -> Array:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def smooth_field(seed: int, tile: Tile, spacing: int = PATCH) -> Floats:
    """Return (y, x) in -1..1: random at nodes of a lattice, smooth between them (Perlin 1985, of values)."""
    (rows, down), (cols, right) = (
        _between(start, length, spacing) for start, length in ((tile.row, tile.height), (tile.col, tile.width))
    )
    nodes = 2 * hashed(seed, *np.ix_(np.arange(rows[0], rows[-1] + 2), np.arange(cols[0], cols[-1] + 2))) - 1
    rows, cols = rows - rows[0], cols - cols[0]
    above, below = (nodes[rows + step] for step in (0, 1))
    lines = above + (below - above) * down[:, None]
    field: Floats = lines[:, cols] + (lines[:, cols + 1] - lines[:, cols]) * right
    return field


def _between(start: int, length: int, spacing: int) -> tuple[Array, Floats]:
    """Return for each pixel of an axis the node before it, and how far it is on its way to the next, eased."""
    places = np.arange(start, start + length) / spacing
    nodes = np.floor(places).astype(np.int64)
    way = places - nodes
    return nodes, way * way * (3 - 2 * way)


def white_noise(seed: int, tile: Tile, bands: int) -> Floats:
    """Return (band, y, x) normal with deviation 1, each pixel by its place in the scene (Box & Muller 1958)."""
    at = np.ix_(np.arange(bands), np.arange(tile.row, tile.stop_row), np.arange(tile.col, tile.stop_col))
    radius, angle = hashed(seed, *at), hashed(seed + 1, *at)
    noise: Floats = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)
    return noise


def hashed(seed: int, *places: Array) -> Floats:
    """Return numbers in 0..1, below 1, by whole numbers of a place, which broadcast (splitmix64, Steele 2014)."""
    state: Array = np.array(seed % 2**64, np.uint64)
    with np.errstate(over="ignore"):
        for place in places:
            state = _mix(state + place.astype(np.int64).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    numbers: Floats = (state >> np.uint64(11)) / 2.0**53
    return numbers


def _mix(x: Array) -> Array:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = x ^ (x >> np.uint64(31))
    return mixed

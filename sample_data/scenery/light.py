"""From paint to what a camera records: texture, sun and shadow, haze, optics, noise, numbers."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from math import cos, radians, sin, tan
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from geochange.arrays import Array, Bools, Floats, Ints
from geochange.scenes.grid import Tile
from scenery.drawing import Drawing
from scenery.seasons import seasoned
from scenery.spec import PATCH, SceneSpec, halo_of, local_rng
from scenery.textures import NOISES, noise_tiles, window

TALLEST = 17.0  # metres, what may cast a shadow
STEEPEST = 1.7  # rise per metre beyond which a step is a wall, which a camera from above does not see
VIGOUR_SIGN = (-0.9, -0.45, -0.8, 0.55)
"""Plants in vigour absorb more visible light and reflect more infrared."""

WAVES_M = 260.0, 700.0
"""Shortest and longest wave of the field that displaces an image."""

_SENSOR, _FLIGHT, _BENT = 301, 302, 303


@dataclass(frozen=True, slots=True)
class Exposure:
    """One flight: its sun, its air and its camera."""

    azimuth: float  # degrees from north, clockwise
    elevation: float  # degrees
    skylight: tuple[float, float, float, float]  # part of the light that reaches a shadow, R G B NIR
    gain: tuple[float, float, float, float]
    haze: tuple[float, float, float, float]  # reflectance added by the air
    shift: tuple[float, float]  # (y, x) displacement of the image in pixels
    blur: float  # standard deviation of the optics' point spread, in pixels


BEFORE_EXPOSURE = Exposure(
    148.0, 47.0, (0.26, 0.30, 0.38, 0.20), (1.0, 1.0, 1.0, 1.0), (0.004, 0.006, 0.011, 0.002), (0.0, 0.0), 0.55
)
AFTER_EXPOSURE = Exposure(
    156.0, 51.0, (0.29, 0.33, 0.41, 0.22), (1.06, 1.03, 0.97, 0.94), (0.007, 0.009, 0.013, 0.003), (0.28, -0.36), 0.60
)
WHITE = (0.42, 0.42, 0.43, 0.62)
"""Reflectance that fills 8 bits; nearly grey in the visible bands."""

NOISE = {"uint8": 1.25, "uint16": 28.0}
"""Standard deviation of the sensor's noise, in recorded numbers."""


def record(spec: SceneSpec, drawing: Drawing) -> tuple[Array, Array]:
    """(before, after), each (4, PATCH, PATCH): the inner part of a drawing as two flights recorded it."""
    tone, vigour = texture(spec, drawing)
    images = []
    for date, exposure in enumerate(exposures(spec)):
        light = direct_light(drawing.heights[date], exposure, spec.pixel)
        bases = seasoned(spec, drawing.paints, date)
        image = np.empty((4, PATCH, PATCH), spec.dtype)
        for band in range(4):
            seen = bases[:, band][drawing.labels[date]]
            seen *= 1 + tone[date] + VIGOUR_SIGN[band] * vigour[date]
            sky = exposure.skylight[band]
            seen *= (light * (1 - sky) + sky) * exposure.gain[band]
            seen += exposure.haze[band]
            if date == 1 and spec.local_shift:
                seen = bent(spec, drawing.tile, seen)
            focused = focus(seen, exposure, spec.halo)
            image[band] = digitise(spec, focused, grain(spec, drawing, date, band), WHITE[band])
        images.append(image)
    return images[0], images[1]


def exposures(spec: SceneSpec) -> tuple[Exposure, Exposure]:
    """Both flights of a scene, the second under the sun that is asked for."""
    first, second = usual_exposures(spec)
    return first, second if spec.sun is None else replace(second, azimuth=spec.sun[0], elevation=spec.sun[1])


def usual_exposures(spec: SceneSpec) -> tuple[Exposure, Exposure]:
    """Both flights: the usual ones, and with seasons any that differ from them as far as asked."""
    if not spec.seasons:
        return BEFORE_EXPOSURE, AFTER_EXPOSURE
    drawn = [draw_exposure(local_rng(spec.seed, _FLIGHT, date)) for date in (0, 1)]
    first, second = (
        Exposure(*(mixed(usual, own, spec.seasons) for usual, own in zip(astuple(given), astuple(other), strict=True)))
        for given, other in zip((BEFORE_EXPOSURE, AFTER_EXPOSURE), drawn, strict=True)
    )
    return first, second


def mixed(usual: Any, own: Any, share: float) -> Any:
    """A number, or each of several, between two."""
    if isinstance(usual, tuple):
        return tuple(mixed(a, b, share) for a, b in zip(usual, own, strict=True))
    return usual + share * (own - usual)


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """A flight on any clear day; the sun stands high enough that no shadow is longer than light may reach."""
    sky, air, warmth = rng.uniform(0.16, 0.34), rng.uniform(0.001, 0.03), rng.uniform(-0.12, 0.12)
    hue = np.array([warmth, 0.0, -warmth, 0.0])
    gain = rng.uniform(0.65, 1.35) * np.exp(hue + rng.normal(0, 0.05, 4))
    return Exposure(
        azimuth=rng.uniform(100, 260),
        elevation=rng.uniform(37, 66),
        skylight=tuple(float(sky * factor) for factor in (0.9, 1.05, 1.3, 0.7)),
        gain=tuple(float(each) for each in gain),
        haze=tuple(float(air * factor) for factor in (0.6, 0.8, 1.3, 0.3)),
        shift=tuple(float(each) for each in rng.uniform(-0.9, 0.9, 2)),
        blur=float(rng.uniform(0.4, 0.95)),
    )


def texture(spec: SceneSpec, drawing: Drawing) -> tuple[list[Floats], list[Floats]]:
    """(tone, vigour) at each date: relative brightness of all bands, and the plants' vigour."""
    tile = drawing.tile
    noise = {
        name: window(layer, tile.row, tile.col, tile.shape, NOISES[name][0])
        for name, layer in noise_tiles(spec.seed, spec.pixel).items()
    }
    fields = np.array(
        [(p.grain, p.mottle, p.vigour, p.row_x, p.row_y, p.row_depth, p.tram, p.tram_ratio) for p in drawing.paints],
        np.float32,
    )
    x = np.broadcast_to((np.arange(tile.col, tile.stop_col, dtype=np.float32) * spec.pixel)[None, :], tile.shape)
    y = np.broadcast_to((np.arange(tile.row, tile.stop_row, dtype=np.float32) * spec.pixel)[:, None], tile.shape)
    return weave(drawing, fields, noise, x, y)


def weave(
    drawing: Drawing, fields: Floats, noise: dict[str, Floats], x: Floats, y: Floats
) -> tuple[list[Floats], list[Floats]]:
    """Texture of both dates: the second differs in its finest grain, and where the ground changed."""
    coarse = 0.7 * noise["coarse"] + 0.7 * noise["broad"]
    labels, later = drawing.labels
    base = stripes(labels, fields, x, y, noise["mottle"])
    vigour = fields[:, 2][labels] * coarse
    changed = labels != later
    base_later, vigour_later = base, vigour
    if changed.any():
        base_later, vigour_later = base.copy(), vigour.copy()
        base_later[changed] = stripes(later[changed], fields, x[changed], y[changed], noise["mottle"][changed])
        vigour_later[changed] = fields[:, 2][later[changed]] * coarse[changed]
    crown = 0.16 * drawing.tones
    regrain = 0.75 * noise["grain"] + 0.66 * noise["regrain"]
    tone = base + crown + fields[:, 0][labels] * noise["grain"]
    tone_later = base_later + np.where(drawing.heights[1] > 0, crown, 0) + fields[:, 0][later] * regrain
    return [tone, tone_later], [vigour, vigour_later + 0.015 * noise["broad"]]


def stripes(labels: Ints, fields: Floats, x: Floats, y: Floats, mottle: Floats) -> Floats:
    """Mottling, rows and tractor's tracks; elementwise, so that it may be asked for some pixels only."""
    phase = fields[:, 3][labels] * x + fields[:, 4][labels] * y + 0.25 * mottle
    tone = fields[:, 1][labels] * mottle + fields[:, 5][labels] * np.sin(phase)
    phase *= fields[:, 7][labels]
    tone -= fields[:, 6][labels] * np.clip(np.cos(phase) * 10 - 8.6, 0, 1)
    return tone


def direct_light(heights: Floats, exposure: Exposure, pixel: float) -> Floats:
    """Sunlight on each pixel relative to flat ground: the surface's tilt, and shadows cast over `TALLEST` metres."""
    azimuth, rise = radians(exposure.azimuth), tan(radians(exposure.elevation))
    to_sun = -cos(azimuth), sin(azimuth)  # (y, x) in pixels
    return tilt_light(heights, to_sun, rise, pixel) * (1 - shadow(heights, to_sun, rise, pixel))


def tilt_light(heights: Floats, to_sun: tuple[float, float], rise: float, pixel: float) -> Floats:
    """Light by Lambert's law, relative to flat ground."""
    dy, dx = np.zeros_like(heights), np.zeros_like(heights)
    np.subtract(heights[1:], heights[:-1], out=dy[1:])
    np.subtract(heights[:, 1:], heights[:, :-1], out=dx[:, 1:])
    dy[np.abs(dy) > STEEPEST * pixel] = 0
    dx[np.abs(dx) > STEEPEST * pixel] = 0
    dy, dx = dy / pixel, dx / pixel
    facing = 1 - (to_sun[0] * dy + to_sun[1] * dx) / rise
    return np.maximum(facing, 0.1) / np.sqrt(1 + dy * dy + dx * dx)


def shadow(heights: Floats, to_sun: tuple[float, float], rise: float, pixel: float) -> Floats:
    """0..1, how much of the sun is hidden by what stands towards it."""
    highest = float(heights.max())
    if highest <= 0:
        return np.zeros_like(heights)
    above = np.zeros_like(heights)
    steps = int(np.ceil(min(highest, TALLEST) / rise / pixel))
    for step in range(1, steps + 1):
        dy, dx = round(step * to_sun[0]), round(step * to_sun[1])
        there, here = shifted_views(heights, above, dy, dx)
        np.maximum(here, there - np.float32(step * pixel * rise), out=here)
    above -= heights
    return np.clip(above, 0, 1)


def shifted_views(source: Floats, target: Floats, dy: int, dx: int) -> tuple[Floats, Floats]:
    """Views in which source[y + dy, x + dx] lies on target[y, x]."""
    height, width = source.shape
    rows, cols = slice(max(-dy, 0), height - max(dy, 0)), slice(max(-dx, 0), width - max(dx, 0))
    moved = slice(rows.start + dy, rows.stop + dy), slice(cols.start + dx, cols.stop + dx)
    return source[moved], target[rows, cols]


def focus(seen: Floats, exposure: Exposure, halo: int) -> Floats:
    """The inner part of an image, blurred by the optics and displaced, in one separable kernel of five taps."""
    inner = seen[halo - 2 : seen.shape[0] - halo + 2, halo - 2 : seen.shape[1] - halo + 2]
    down = taps(exposure.blur, exposure.shift[0])
    across = taps(exposure.blur, exposure.shift[1])
    rows = sum(weight * inner[k : inner.shape[0] - 4 + k] for k, weight in enumerate(down))
    return sum(weight * rows[:, k : rows.shape[1] - 4 + k] for k, weight in enumerate(across))


def bent(spec: SceneSpec, tile: Tile, seen: Floats) -> Floats:
    """An image displaced by the scene's smooth field; what came from beyond the tile is as at its edge."""
    rows, cols = np.arange(tile.row, tile.stop_row), np.arange(tile.col, tile.stop_col)
    down, right = displacement(spec, rows, cols)
    at = np.indices(tile.shape, np.float32) - np.stack([down, right])
    return map_coordinates(seen, at, order=1, mode="nearest")


def displacement(spec: SceneSpec, rows: Ints, cols: Ints) -> Floats:
    """(2, y, x) pixels down and right by which the second image is displaced at some rows and columns of the scene.

    Two waves in each direction; nowhere longer than asked.
    """
    rng, field = local_rng(spec.seed, _BENT), np.empty((2, len(rows), len(cols)), np.float32)
    for part in field:
        waves = []
        for phase, angle, length in zip(*(rng.uniform(0, 2 * np.pi, (2, 2))), rng.uniform(*WAVES_M, 2), strict=True):
            turn = 2 * np.pi * spec.pixel / length
            waves.append(np.sin(turn * (np.sin(angle) * rows[:, None] + np.cos(angle) * cols[None, :]) + phase))
        part[...] = (waves[0] + waves[1]) / 2
    return field * np.float32(spec.local_shift / np.sqrt(2))


def taps(blur: float, shift: float) -> Floats:
    """(5,) weights of a Gaussian point spread whose image is displaced by `shift` pixels."""
    weights = np.exp(-((np.arange(-2, 3) + shift) ** 2) / (2 * blur**2))
    return (weights / weights.sum()).astype(np.float32)


def grain(spec: SceneSpec, drawing: Drawing, date: int, band: int) -> Floats:
    """(PATCH, PATCH) white noise of the sensor: a part of a noise tile that the patch, date and band choose."""
    period, _ = NOISES["grain"]
    more = spec.halo - halo_of(spec.pixel)  # the noise of a place is the same however far an image is bent
    place = drawing.tile.row + more, drawing.tile.col + more
    row, col = local_rng(spec.seed, _SENSOR, *place, date, band).integers(0, period, 2)
    return window(noise_tiles(spec.seed, spec.pixel)["grain"], int(row), int(col), (PATCH, PATCH), period)


def digitise(spec: SceneSpec, seen: Floats, noise: Floats, white: float) -> Array:
    """Recorded numbers, at least 1: reflectance times 10000, or 8 bits of its square root, as in photographs."""
    if spec.dtype == "uint16":
        numbers = seen * 10000
    else:
        numbers = np.sqrt(np.maximum(seen, 0)) * np.float32(255 / np.sqrt(white))
    numbers += NOISE[spec.dtype] * noise
    return np.clip(np.rint(numbers, out=numbers), 1, np.iinfo(spec.dtype).max).astype(spec.dtype)


def swath(spec: SceneSpec, tile: Tile, date: int) -> Bools:
    """(y, x) whether a date's swath covers a pixel: it ends at a tilted line near the left or the right border."""
    rows, cols = np.arange(tile.row, tile.stop_row)[:, None], np.arange(tile.col, tile.stop_col)[None, :]
    if date == 0:
        return cols > 0.04 * spec.width + 0.07 * (rows - spec.height / 2) * spec.width / spec.height
    return cols < 0.95 * spec.width + 0.05 * (rows - spec.height / 2) * spec.width / spec.height

"""What a user should know of a scene's validity before its pixels are compared, from tiles spread over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from geochange.scenes.grid import Tile
from geochange.scenes.pairing import Scene
from geochange.scenes.preflight import Doubt

SAMPLE_TILES, SAMPLE_SIDE = 8, 64  # along each axis, and pixels per side
LEAST_FRAME = 0.05  # of the pixels
LEAST_PARTIAL = 0.0005  # of the pixels


def find_doubts(scene: Scene) -> list[Doubt]:
    """Look for pixels with nodata in single bands, and for a frame of one value; shares are of the sampled pixels."""
    return [*_partly_nodata(scene), *_framed(scene)]


def _partly_nodata(scene: Scene) -> Iterator[Doubt]:
    """Yield a doubt where a nodata value in some bands does not make a pixel nodata."""
    if all(source.nodata != "all" or not source.masked or len(source.bands) == 1 for source in scene.sources):
        return
    strict = replace(scene, sources=tuple(source.with_nodata("any") for source in scene.sources))
    counted = np.zeros(2)
    for tile in sample_tiles(scene.shape):
        (_, loose), (_, tight) = scene.read(tile), strict.read(tile)
        counted += (loose.all(axis=0) & ~tight.all(axis=0)).sum(), tile.size
    share = counted[0] / counted[1]
    if share >= LEAST_PARTIAL:
        text = f"{_percent(share)} of the pixels hold nodata in some band only, and count as data"
        yield Doubt(text, "--nodata any leaves them out")


def _framed(scene: Scene) -> Iterator[Doubt]:
    """Yield a doubt where many pixels have one and the same value, the least or the largest, everywhere."""
    alike, pixels, extremes = [], 0, []
    for tile in sample_tiles(scene.shape):
        dates, valid = scene.read(tile)
        values = np.concatenate(dates)[:, valid.all(axis=0)]
        pixels += tile.size
        if values.size:
            extremes += [values.min(), values.max()]
            alike.append(values[0, (values == values[0]).all(axis=0)])
    values, counts = np.unique(np.concatenate(alike), return_counts=True) if alike else (np.zeros(0), np.zeros(0))
    if not len(values) or min(extremes) == max(extremes):
        return
    value, share = values[np.argmax(counts)], counts.max() / pixels
    if share >= LEAST_FRAME and value in (min(extremes), max(extremes)):
        text = f"{_percent(share)} of the pixels are {value:g} in every band at every date, and not declared nodata"
        yield Doubt(text, f"if they hold no data, add --nodata {value:g}")


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else f"{share:.2%}"


def sample_tiles(shape: tuple[int, int]) -> Iterator[Tile]:
    """Yield small tiles spread evenly over a scene, which do not overlap; all of it where it is small."""
    rows, cols = (_spread(length) for length in shape)
    for row, height in rows:
        for col, width in cols:
            yield Tile(row, col, height, width)


def _spread(length: int) -> list[tuple[int, int]]:
    """Return the first pixel and the size of parts of an axis."""
    if length <= SAMPLE_TILES * SAMPLE_SIDE:
        return [(start, min(SAMPLE_SIDE, length - start)) for start in range(0, length, SAMPLE_SIDE)]
    starts = np.linspace(0, length - SAMPLE_SIDE, SAMPLE_TILES).astype(int).tolist()
    return [(start, SAMPLE_SIDE) for start in starts]

"""Tiles of a Cloud Optimized GeoTIFF and of its overviews, compressed chunk by chunk on the workers."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from geochange.arrays import Array, Ints
from geochange.engine.cog import RasterSpec, build_vrt, encode_block
from geochange.engine.cog_assembly import TILE, TRAILER, Level, level_shapes, tile_profile, tiles_in
from geochange.engine.work import Work
from geochange.files import write_whole
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition

CHUNK_BYTES = 1 << 24  # of the pixels of a chunk


@dataclass(frozen=True, slots=True)
class _Chunks:
    """All that a worker needs for the chunks of one level, and of the overviews that they hold whole."""

    source: Path
    """The pixels of the level."""
    spec: RasterSpec
    folder: Path
    level: int
    levels: int
    """How many of them a chunk makes."""
    more: bool
    """Whether there are overviews beyond, which need the pixels of the next one."""

    def tiles(self, level: int, chunk: Tile) -> Path:
        return self.folder / f"{level}-{chunk.row}-{chunk.col}.tiles"

    def pixels(self, chunk: Tile) -> Path:
        return self.folder / f"{self.level + self.levels}-{chunk.row}-{chunk.col}.tif"


def chunk_side(bytes_per_pixel: int) -> int:
    """Return the pixels per side of a chunk: it follows from what a pixel takes, so that bytes depend on nothing else.

    It is a tile, doubled as often as fits.
    """
    side = TILE
    while (2 * side) ** 2 * bytes_per_pixel <= CHUNK_BYTES:
        side *= 2
    return side


def compress_tiles(source: Path, spec: RasterSpec, folder: Path, work: Work) -> list[Level]:
    """Compress the tiles of a raster and of its overviews, which are means of the pixels with data.

    Args:
        source: the raster.
        spec: what it says of itself.
        folder: an empty one for the tiles, on a disk that all workers see.
        work: where it is done, in its current stage.
    """
    shapes, side = level_shapes(spec.grid.shape), chunk_side(spec.bytes_per_pixel)
    at_once = side.bit_length() - TILE.bit_length() + 1
    levels: list[Level] = []
    while len(levels) < len(shapes):
        count = min(at_once, len(shapes) - len(levels))
        chunks = _Chunks(source, spec, folder, len(levels), count, len(levels) + count < len(shapes))
        places = list(partition(shapes[len(levels)], (side, side)))
        sizes = list(work.crew.map_ordered(partial(compress_chunk, chunks), places, lambda _: "a part of the raster"))
        levels += [
            _level(chunks, k, shapes[chunks.level + k], places, [each[k] for each in sizes]) for k in range(count)
        ]
        if chunks.more:
            source = _next_source(chunks, places, shapes[len(levels)])
    return levels


def _level(chunks: _Chunks, k: int, shape: tuple[int, int], places: Sequence[Tile], found: Sequence[Ints]) -> Level:
    """Put together what the chunks hold of their k-th level."""
    columns = len({place.col for place in places})
    files = [chunks.tiles(chunks.level + k, place) for place in places]
    rows = [np.concatenate(found[start : start + columns], axis=1) for start in range(0, len(found), columns)]
    return Level(
        shape,
        (chunk_side(chunks.spec.bytes_per_pixel) >> k) // TILE,
        [files[start : start + columns] for start in range(0, len(files), columns)],
        np.concatenate(rows),
    )


def compress_chunk(chunks: _Chunks, place: Tile) -> list[Ints]:
    """Leave the tiles of a chunk on the disk; return (rows, columns) their sizes, level by level."""
    with rasterio.open(chunks.source) as dataset:
        values = dataset.read(window=place.window)
    sizes: list[Ints] = []
    for k in range(chunks.levels):
        tiles, shape = encode_tiles(values)
        sizes.append(np.array([len(tile) for tile in tiles], np.uint32).reshape(shape))
        content = b"".join(struct.pack("<I", len(tile)) + tile + tile[-TRAILER:] for tile in tiles)
        write_whole(chunks.tiles(chunks.level + k, place), content)
        if chunks.more or k + 1 < chunks.levels:
            values = halve(values, chunks.spec.nodata)
    if chunks.more and values.size:
        write_whole(chunks.pixels(place), encode_block(values, chunks.spec.nodata))
    return sizes


def encode_tiles(values: Array) -> tuple[list[bytes], tuple[int, int]]:
    """Compress (band, y, x) values; return the tiles in raster order, and (rows, columns) how many there are."""
    shape = ceil(values.shape[1] / TILE), ceil(values.shape[2] / TILE)
    if not values.size:
        return [], shape
    profile = tile_profile(values.dtype) | dict(zip(("count", "height", "width"), values.shape, strict=True))
    with MemoryFile() as memory:
        with (
            warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
            memory.open(**profile, dtype=values.dtype, BIGTIFF="YES") as dataset,
        ):
            dataset.write(values)
        content = memory.getbuffer()
        return [bytes(content[start : start + size]) for start, size in tiles_in(content)], shape


def halve(values: Array, nodata: float) -> Array:
    """(band, y, x) -> (band, y // 2, x // 2) means of two by two pixels, of those that hold data."""
    even = values[:, : values.shape[1] // 2 * 2, : values.shape[2] // 2 * 2]
    known = ~np.isnan(even) if np.isnan(nodata) else even != np.array(nodata).astype(values.dtype)
    whole = values.dtype.kind == "u"
    counts = _of_four(known, np.dtype(np.uint8))
    sums = _of_four(np.where(known, even, 0), np.dtype(np.uint32 if whole else np.float64))
    none, divisor = counts == 0, np.maximum(counts, 1)
    means: Array = ((sums + divisor // 2) // divisor if whole else sums / divisor).astype(values.dtype)
    means[none] = nodata
    return means


def _of_four(values: Array, dtype: np.dtype[Any]) -> Array:
    """(band, y, x) -> (band, y / 2, x / 2) sums of two by two."""
    rows = np.add(values[:, ::2], values[:, 1::2], dtype=dtype)
    sums: Array = rows[:, :, ::2] + rows[:, :, 1::2]
    return sums


def _next_source(chunks: _Chunks, places: Sequence[Tile], shape: tuple[int, int]) -> Path:
    """Write a VRT of the pixels that the chunks have left of the next level."""
    times = 2**chunks.levels
    smaller = [Tile(*(each // times for each in (place.row, place.col, place.height, place.width))) for place in places]
    parts = [(chunks.pixels(place), tile) for place, tile in zip(places, smaller, strict=True) if tile.size]
    path = chunks.folder / f"{chunks.level + chunks.levels}.vrt"
    build_vrt(parts, replace(chunks.spec, grid=replace(chunks.spec.grid, shape=shape)), path)
    return path

"""A Cloud Optimized GeoTIFF of tiles that workers have compressed: its directories, then their bytes one after another.

The layout is GDAL's: directories before data, overviews from the coarsest to the finest before the image, tiles in
raster order with their sizes around them (https://gdal.org/en/stable/drivers/raster/cog.html). What a directory says
of the grid comes from an empty GeoTIFF that GDAL writes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from rasterio.io import MemoryFile

from geochange.arrays import Ints
from geochange.engine.cog import RasterSpec
from geochange.scenes.scene import rasterio_crs

TILE = 512  # pixels per side
LEADER = TRAILER = 4  # bytes before and behind a tile: its size, and its last bytes again

_STRUCTURE = (
    "LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    "BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
_GHOST = f"GDAL_STRUCTURAL_METADATA_SIZE={len(_STRUCTURE):06d} bytes\n{_STRUCTURE}".encode()

_NEW_SUBFILE_TYPE, _WIDTH, _HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 254, 256, 257, 324, 325
_OF_THE_IMAGE_ALONE = {33550, 33922, 34264, 34735, 34736, 34737, 42112}  # the grid's place, and metadata
_LONG, _LONG8 = 4, 16
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
LARGEST_CLASSIC = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Level:
    """The tiles of the image, or of an overview, as workers have left them: a file for each chunk."""

    shape: tuple[int, int]
    chunk: int
    """Tiles on each side of a chunk."""
    files: Sequence[Sequence[Path]]
    """(chunk rows, chunk columns), each the chunk's tiles in raster order, with leader and trailer."""
    sizes: Ints
    """(tile rows, tile columns) bytes of each tile."""

    @property
    def length(self) -> int:
        """Bytes of all tiles."""
        return int((self.sizes.astype(np.int64) + LEADER + TRAILER).sum())


@dataclass(frozen=True, slots=True)
class _Tag:
    kind: int
    count: int
    content: bytes


def tile_profile(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return how tiles are stored."""
    return {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "interleave": "pixel",
        "compress": "DEFLATE",
        "zlevel": 6,
        "predictor": 1 if dtype == np.uint8 else 3,
    }


def level_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the shapes of the image and its overviews, each half as large, down to one tile: those that GDAL takes."""
    shapes = [shape]
    while max(shapes[-1]) > TILE and min(shapes[-1]) > 1:
        shapes.append((shapes[-1][0] // 2, shapes[-1][1] // 2))
    return shapes


def assemble_cog(spec: RasterSpec, levels: Sequence[Level], path: Path) -> None:
    """Write the file; those of the chunks are removed on the way.

    Args:
        spec: what the raster says of itself.
        levels: the image, then its overviews.
        path: the file.
    """
    tags = _template(spec)
    length = sum(level.length for level in levels)
    big = len(_GHOST) + length + sum(24 * level.sizes.size + 65536 for level in levels) > LARGEST_CLASSIC
    head = _directories(tags, levels, big=big)
    with path.open("wb") as file:
        file.write(head)
        for level in reversed(levels):
            _copy_tiles(level, file)


def _copy_tiles(level: Level, file: IO[bytes]) -> None:
    for row, files in enumerate(level.files):
        of_rows = level.sizes[row * level.chunk : (row + 1) * level.chunk]
        opened = [path.open("rb") for path in files]
        try:
            for sizes in of_rows:
                for number, chunk in enumerate(opened):
                    own = sizes[number * level.chunk : (number + 1) * level.chunk]
                    file.write(chunk.read(int((own.astype(np.int64) + LEADER + TRAILER).sum())))
        finally:
            for chunk in opened:
                chunk.close()
        for path in files:
            path.unlink()


def _directories(tags: Mapping[int, _Tag], levels: Sequence[Level], *, big: bool) -> bytes:
    """Return the header, GDAL's structural metadata and the directories; tiles follow at once."""
    start = 16 if big else 8
    lengths = [
        _directory_length(_tags_of(tags, level, number, level.sizes, big=big), big=big)
        for number, level in enumerate(levels)
    ]
    first = start + len(_GHOST) + len(_GHOST) % 2
    data = first + sum(lengths)
    places: dict[int, Ints] = {}
    for number in reversed(range(len(levels))):
        spans = levels[number].sizes.astype(np.int64).ravel() + LEADER + TRAILER
        places[number] = data + LEADER + np.concatenate([[0], np.cumsum(spans)[:-1]])
        data += int(spans.sum())
    header = struct.pack("<2sHHHQ", b"II", 43, 8, 0, first) if big else struct.pack("<2sHI", b"II", 42, first)
    parts = [header, _GHOST, b"\0" * (len(_GHOST) % 2)]
    at = first
    for number, level in enumerate(levels):
        following = at + lengths[number] if number + 1 < len(levels) else 0
        parts.append(_directory(_tags_of(tags, level, number, places[number], big=big), at, following, big=big))
        at += lengths[number]
    return b"".join(parts)


def _tags_of(tags: Mapping[int, _Tag], level: Level, number: int, offsets: Ints, *, big: bool) -> dict[int, _Tag]:
    """Return the tags of a level, in their order."""
    kind, dtype = (_LONG8, "<u8") if big else (_LONG, "<u4")
    count = level.sizes.size
    own = {
        _WIDTH: _Tag(_LONG, 1, struct.pack("<I", level.shape[1])),
        _HEIGHT: _Tag(_LONG, 1, struct.pack("<I", level.shape[0])),
        _TILE_OFFSETS: _Tag(kind, count, offsets.ravel().astype(dtype).tobytes()),
        _TILE_BYTES: _Tag(_LONG, count, level.sizes.ravel().astype("<u4").tobytes()),
    }
    if number:
        own[_NEW_SUBFILE_TYPE] = _Tag(_LONG, 1, struct.pack("<I", 1))
        tags = {code: tag for code, tag in tags.items() if code not in _OF_THE_IMAGE_ALONE}
    return dict(sorted((dict(tags) | own).items()))


def _directory_length(tags: Mapping[int, _Tag], *, big: bool) -> int:
    inline = 8 if big else 4
    entries = 8 + 20 * len(tags) + 8 if big else 2 + 12 * len(tags) + 4
    return entries + sum(_even(len(tag.content)) for tag in tags.values() if len(tag.content) > inline)


def _directory(tags: Mapping[int, _Tag], at: int, following: int, *, big: bool) -> bytes:
    inline, number = (8, "<Q") if big else (4, "<I")
    entries, behind = [struct.pack("<Q" if big else "<H", len(tags))], []
    place = at + (8 + 20 * len(tags) + 8 if big else 2 + 12 * len(tags) + 4)
    for code, tag in tags.items():
        value = tag.content.ljust(inline, b"\0")
        if len(tag.content) > inline:
            value = struct.pack(number, place)
            behind.append(tag.content.ljust(_even(len(tag.content)), b"\0"))
            place += len(behind[-1])
        entries.append(struct.pack("<HHQ" if big else "<HHI", code, tag.kind, tag.count) + value)
    return b"".join([*entries, struct.pack(number, following), *behind])


def _even(length: int) -> int:
    return length + length % 2


def _template(spec: RasterSpec) -> dict[int, _Tag]:
    """Return the tags that GDAL writes for the raster, without those of its tiles."""
    height, width = spec.grid.shape
    profile = tile_profile(spec.dtype) | {
        "count": len(spec.band_names),
        "height": height,
        "width": width,
        "dtype": spec.dtype,
        "nodata": spec.nodata,
        "crs": rasterio_crs(spec.grid.crs),
        "transform": spec.grid.transform,
    }
    with MemoryFile() as memory:
        with memory.open(**profile, SPARSE_OK="TRUE", BIGTIFF="YES") as dataset:
            dataset.update_tags(**spec.tags)
            dataset.descriptions = spec.band_names
            if spec.scale is not None:
                dataset.scales = [spec.scale] * len(spec.band_names)
        tags = dict(_read_tags(memory.getbuffer()))
    return {code: tag for code, tag in tags.items() if code not in {_TILE_OFFSETS, _TILE_BYTES}}


def tiles_in(content: memoryview) -> Iterator[tuple[int, int]]:
    """Yield (offset, size) of the tiles of a BigTIFF that GDAL wrote, in raster order."""
    tags = dict(_read_tags(content))
    kinds = {3: "<u2", _LONG: "<u4", _LONG8: "<u8"}
    offsets, sizes = (
        np.frombuffer(tags[code].content, kinds[tags[code].kind]) for code in (_TILE_OFFSETS, _TILE_BYTES)
    )
    yield from zip(offsets.tolist(), sizes.tolist(), strict=True)


def _read_tags(content: memoryview) -> Iterator[tuple[int, _Tag]]:
    """Yield the tags of the first directory of a BigTIFF in the byte order of PCs."""
    (at,) = struct.unpack_from("<Q", content, 8)
    (count,) = struct.unpack_from("<Q", content, at)
    for number in range(count):
        entry = at + 8 + 20 * number
        code, kind, values = struct.unpack_from("<HHQ", content, entry)
        length = _BYTES[kind] * values
        place = entry + 12 if length <= 8 else struct.unpack_from("<Q", content, entry + 12)[0]
        yield code, _Tag(kind, values, bytes(content[place : place + length]))

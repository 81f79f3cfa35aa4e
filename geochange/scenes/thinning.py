"""Sources in fewer pixels, for pictures, and copies of them that are read fast at every zoom.

Copies are overviews of files that have none, and dates on the scene's grid that are not; they can be removed. The
user's own files are only read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import Resampling

from geochange import system
from geochange.arrays import Array, Bools
from geochange.files import appearing, files_digest, scratch_beside
from geochange.scenes.grid import Grid, Tile
from geochange.scenes.scene import FileSource, open_file, rasterio_crs, readable
from geochange.scenes.source import Source
from geochange.scenes.tiling import partition

FIRST_FACTOR = 8  # reads that thin by less are fast without overviews
SMALLEST = 256  # px, of the last overview
BLOCK = 1024


def reads_thinned(source: Source) -> bool:
    """Return whether a source reads no more than the pixels that are asked for, however much it is thinned."""
    return isinstance(source, FileSource)


def read_thinned(source: Source, tile: Tile, shape: tuple[int, int]) -> tuple[Array, Bools]:
    """Read a tile of a source in fewer pixels, each of them one of the source's: (band, y, x) values, (y, x) valid."""
    if isinstance(source, FileSource):
        return source.read_thinned(tile, shape)
    values, valid = source.read(tile)
    rows, cols = (np.arange(count) * length // count for length, count in zip(tile.shape, shape, strict=True))
    return values[:, rows[:, None], cols], valid[rows[:, None], cols]


def display_source(source: Source, grid: Grid, folder: Path) -> Source:
    """Return a source that shows the same as another one, and is read fast at every zoom; it may take minutes.

    Args:
        source: a date of the scene.
        grid: the scene's.
        folder: for copies; made where there are any.
    """
    factors = list(_factors(grid.shape))
    if isinstance(source, FileSource):
        if not factors or _has_overviews(source):
            return source
        folder.mkdir(exist_ok=True)
        return _with_overviews(source, factors, folder)
    folder.mkdir(exist_ok=True)
    return _copied(source, grid, factors, folder)


def _factors(shape: tuple[int, int]) -> Iterator[int]:
    factor = FIRST_FACTOR
    while max(shape) / factor >= SMALLEST:
        yield factor
        factor *= 2


def _has_overviews(source: FileSource) -> bool:
    with readable(source.path), rasterio.open(source.path) as dataset:
        return bool(dataset.overviews(1)) and max(dataset.overviews(1)) >= FIRST_FACTOR


def _with_overviews(source: FileSource, factors: list[int], folder: Path) -> Source:
    """Return a source of a virtual copy, beside which the overviews lie."""
    path = folder / f"{_mark(source)}.vrt"
    overviews = path.with_suffix(".vrt.ovr")
    if not overviews.exists():
        with readable(source.path), scratch_beside(path) as scratch:
            rasterio.shutil.copy(source.path, path, driver="VRT")
            copy = scratch / path.name
            rasterio.shutil.copy(source.path, copy, driver="VRT")
            with rasterio.Env(COMPRESS_OVERVIEW="ZSTD", GDAL_NUM_THREADS="1"), rasterio.open(copy, "r+") as dataset:
                dataset.build_overviews(factors, Resampling.nearest)
            system.replace(copy.with_suffix(".vrt.ovr"), overviews)  # whole, or not there
    opened = open_file(str(path), bands=source.bands, nodata=source.nodata)
    part = Tile(*source.origin, *source.grid.shape)
    return replace(opened.crop(part), scaling=source.scaling)


def _copied(source: Source, grid: Grid, factors: list[int], folder: Path) -> Source:
    """Return a source of a copy on the scene's grid."""
    path = folder / f"{_mark(source)}.tif"
    height, width = grid.shape
    if not path.exists():
        profile = {
            "driver": "GTiff",
            "count": len(source.bands),
            "height": height,
            "width": width,
            "dtype": source.dtype,
            "crs": rasterio_crs(grid.crs),
            "transform": grid.transform,
            "tiled": True,
            "compress": "ZSTD",
            "bigtiff": "IF_SAFER",
        }
        with appearing(path) as temporary, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with rasterio.open(temporary, "w", **profile) as dataset:
                for tile in partition(grid.shape, (BLOCK, BLOCK)):
                    values, valid = source.read(tile)
                    dataset.write(values, window=tile.window)
                    dataset.write_mask(_as_mask(valid), window=tile.window)
            with rasterio.open(temporary, "r+") as dataset:
                dataset.build_overviews(factors, Resampling.nearest)
    return replace(open_file(str(path)), scaling=None)


def _as_mask(valid: Array) -> Array:
    return np.where(valid, np.uint8(255), np.uint8(0))


def _mark(source: Source) -> str:
    """Name a copy by what it shows."""
    made_of = source.files, files_digest(source.files), source.band_names
    read = (source.name, source.mark, *made_of, source.grid, source.bands, source.nodata, source.scaling, source.shift)
    return blake2b(" ".join(map(str, read)).encode(errors="surrogateescape"), digest_size=8).hexdigest()

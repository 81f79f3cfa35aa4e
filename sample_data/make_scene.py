"""Make a landscape at two dates, with exact true changes, at any size.

    python sample_data/make_scene.py OUT --size 1024 --seed 1

writes OUT/before.tif and OUT/after.tif (red, green, blue, near infrared) and OUT/truth.gpkg. Every pixel follows from
the seed and its place alone: neither the block size, nor the number of workers, nor the scene's size changes it.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.features import shapes
from rasterio.io import DatasetWriter
from shapely.geometry import shape

sys.path.insert(0, str(Path(__file__).parent))

from scenery.covers import KINDS
from scenery.drawing import draw
from scenery.light import record, swath
from scenery.spec import CHANGES, PATCH, SceneSpec
from scenery.textures import crown_tiles, noise_tiles

from geochange.arrays import Array, Ints
from geochange.scenes.grid import Tile

CRS = "EPSG:32633"
ORIGIN = 512000.0, 5347000.0  # easting and northing of the upper left corner, metres
BANDS = ("red", "green", "blue", "nir")
DATES = ("2021:06:14 10:20:00", "2024:07:02 10:45:00")
NAMES = ("before", "after")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """How a pair is written."""

    block: int = 1024  # pixels per side that are made and written at a time
    workers: int = 1  # processes that make blocks
    compression: int = 6  # DEFLATE level
    truth_vector: bool = True
    truth_raster: bool = False

    def __post_init__(self) -> None:
        if self.block < 16 or self.block % 16:
            raise ValueError(f"block {self.block} must be a multiple of 16")
        if self.workers < 1:
            raise ValueError(f"workers {self.workers} must be at least 1")


@lru_cache(maxsize=4)
def make_patch(spec: SceneSpec, row: int, col: int) -> tuple[Array, Array, Ints]:
    """(before, after, kinds) of one square of the fixed lattice; see `make_block`."""
    tile = Tile(row * PATCH, col * PATCH, PATCH, PATCH)
    drawing = draw(spec, tile.grow(spec.halo))
    inner = slice(spec.halo, -spec.halo)
    return *record(spec, drawing), drawing.kinds[inner, inner]


def make_block(spec: SceneSpec, tile: Tile) -> tuple[Array, Array, Ints]:
    """Both dates and the true changes in a part of the scene.

    Args:
        spec: the scene.
        tile: any rectangle of pixels within the scene.

    Returns:
        before: (4, y, x) red, green, blue, near infrared, in the scene's dtype; 0 outside the swath, never inside.
        after: as `before`.
        kinds: (y, x) uint8, 1 + index in `KINDS` of the true change, 0 where none is or where a date holds no data.

    Law: the block of a part is the part of the block.
    """
    before, after = np.empty((2, 4, *tile.shape), spec.dtype)
    kinds = np.empty(tile.shape, np.uint8)
    for row in range(tile.row // PATCH, -(-tile.stop_row // PATCH)):
        for col in range(tile.col // PATCH, -(-tile.stop_col // PATCH)):
            part = tile.intersect(Tile(row * PATCH, col * PATCH, PATCH, PATCH))
            here, there = part.slices((tile.row, tile.col)), part.slices((row * PATCH, col * PATCH))
            for target, source in zip((before, after, kinds), make_patch(spec, row, col), strict=True):
                target[..., *here] = source[..., *there]
    if spec.nodata_border:
        seen = [swath(spec, tile, date) for date in (0, 1)]
        before *= seen[0]
        after *= seen[1]
        kinds *= seen[0] & seen[1]
    return before, after, kinds


def blocks_of(spec: SceneSpec, block: int) -> list[Tile]:
    """The scene cut into blocks, in raster order."""
    return [
        Tile(row, col, min(block, spec.height - row), min(block, spec.width - col))
        for row in range(0, spec.height, block)
        for col in range(0, spec.width, block)
    ]


def warm_up(spec: SceneSpec) -> None:
    """Make the textures that all blocks need."""
    noise_tiles(spec.seed, spec.pixel)
    crown_tiles(spec.seed, spec.pixel)


def made_blocks(spec: SceneSpec, options: OutputOptions) -> Iterator[tuple[Tile, tuple[Array, Array, Ints]]]:
    """Each block with its content; at most two per worker are made ahead.

    Each worker keeps to its own columns of blocks: neighbours share what stands on the land between them.
    """
    tiles = blocks_of(spec, options.block)
    if options.workers == 1:
        yield from ((tile, make_block(spec, tile)) for tile in tiles)
        return
    warm_up(spec)  # forked workers share the textures instead of making their own
    reach = options.block * ceil(spec.width / options.block / options.workers)
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1)) for _ in range(options.workers)]
        ahead = deque()
        for tile in sorted(tiles, key=lambda tile: (tile.row, tile.col % reach)):
            ahead.append((tile, pools[tile.col // reach].submit(make_block, spec, tile)))
            if len(ahead) > 2 * options.workers:
                done, future = ahead.popleft()
                yield done, future.result()
        for tile, future in ahead:
            yield tile, future.result()


def scene_transform(spec: SceneSpec) -> Affine:
    """Pixels to metres in `CRS`, north up."""
    return Affine(spec.pixel, 0, ORIGIN[0], 0, -spec.pixel, ORIGIN[1])


def open_image(path: Path, spec: SceneSpec, options: OutputOptions, date: str) -> DatasetWriter:
    """A tiled, compressed GeoTIFF that is ready for its blocks."""
    image = rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=spec.width,
        height=spec.height,
        count=len(BANDS),
        dtype=spec.dtype,
        crs=CRS,
        transform=scene_transform(spec),
        nodata=0 if spec.nodata_border else None,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        zlevel=options.compression,
        predictor=2,
        interleave="band",
        bigtiff="if_safer",
    )
    image.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.undefined]
    image.descriptions = BANDS
    image.update_tags(TIFFTAG_DATETIME=date)
    return image


def open_kinds(path: Path, spec: SceneSpec) -> DatasetWriter:
    """A one-band raster of codes."""
    return rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=spec.width,
        height=spec.height,
        count=1,
        dtype="uint8",
        crs=CRS,
        transform=scene_transform(spec),
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        bigtiff="if_safer",
    )


def write_pair(spec: SceneSpec, folder: Path, options: OutputOptions | None = None) -> None:
    """Write before.tif, after.tif and the truth into a folder, block by block.

    Args:
        spec: the scene.
        folder: where to; made if missing. Files of an earlier run are replaced.
        options: how; memory grows with the block and the workers, not with the scene.
    """
    options = options or OutputOptions()
    folder.mkdir(parents=True, exist_ok=True)
    kinds_path = folder / "kinds.tif"
    with ExitStack() as stack:
        images = [
            stack.enter_context(open_image(folder / f"{name}.tif", spec, options, date))
            for name, date in zip(NAMES, DATES, strict=True)
        ]
        kinds_raster = stack.enter_context(open_kinds(kinds_path, spec))
        truth = stack.enter_context(open_kinds(folder / "truth.tif", spec)) if options.truth_raster else None
        for tile, (before, after, kinds) in made_blocks(spec, options):
            images[0].write(before, window=tile.window)
            images[1].write(after, window=tile.window)
            kinds_raster.write(kinds, 1, window=tile.window)
            if truth is not None:
                truth.write((kinds > 0).astype(np.uint8), 1, window=tile.window)
    if options.truth_vector:
        write_truth(kinds_path, folder / "truth.gpkg")
    kinds_path.unlink()


def write_truth(kinds_path: Path, path: Path) -> None:
    """Polygons of the true changes, along the pixels' edges, 4-connected, with their kind and area."""
    with rasterio.open(kinds_path) as kinds:
        band = rasterio.band(kinds, 1)
        found = [(shape(outline), int(code)) for outline, code in shapes(band, mask=band, connectivity=4)]
        crs, area = kinds.crs, abs(kinds.transform.a * kinds.transform.e)
    outlines = [outline for outline, _ in found]
    columns = {
        "kind": [KINDS[code - 1] for _, code in found],
        "area_px": [round(outline.area / area) for outline in outlines],
    }
    truth = geopandas.GeoDataFrame(columns, geometry=outlines, crs=crs)
    path.unlink(missing_ok=True)
    truth.to_file(path, layer="truth", driver="GPKG", engine="pyogrio", VERSION="1.3", geometry_type="Polygon")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command's arguments."""
    parser = argparse.ArgumentParser(description="Make a landscape at two dates with exact true changes.")
    parser.add_argument("out", type=Path, help="folder for before.tif, after.tif and truth.gpkg")
    parser.add_argument("--size", type=int, default=1024, help="pixels per side (default 1024)")
    parser.add_argument("--width", type=int, help="columns, where they differ from --size")
    parser.add_argument("--height", type=int, help="rows, where they differ from --size")
    parser.add_argument("--seed", type=int, default=1, help="another number, another place")
    parser.add_argument("--pixel", type=float, default=1.0, help="metres per side of a pixel (default 1)")
    parser.add_argument("--changes", type=float, default=CHANGES, help="about how many true changes a km²")
    parser.add_argument("--dtype", choices=("uint8", "uint16"), default="uint8")
    parser.add_argument("--nodata-border", action="store_true", help="both dates end at a tilted swath edge")
    parser.add_argument("--estates", type=float, default=0.0, help="0..1, share of fields that are built up")
    parser.add_argument("--seasons", type=float, default=0.0, help="0..1, how unlike the dates look without change")
    parser.add_argument("--sun", help="AZIMUTH,ELEVATION of the sun at the second date, in degrees")
    parser.add_argument("--local-shift", type=float, default=0.0, help="pixels, most that the second image is bent by")
    parser.add_argument("--block", type=int, default=1024, help="pixels per side made at a time; changes no pixel")
    parser.add_argument("--workers", type=int, default=1, help="processes; changes no pixel")
    parser.add_argument("--compression", type=int, default=6, help="DEFLATE level 1..9 (default 6)")
    parser.add_argument("--truth-raster", action="store_true", help="write truth.tif (0 and 1) too")
    parser.add_argument("--no-truth-vector", action="store_true", help="leave truth.gpkg out")
    return parser.parse_args(arguments)


def sun_of(text: str) -> tuple[float, float]:
    """AZIMUTH,ELEVATION as numbers."""
    try:
        azimuth, elevation = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"sun {text!r} must be AZIMUTH,ELEVATION, as in 230,40") from None
    return azimuth, elevation


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    given = parse_arguments(arguments)
    try:
        spec = SceneSpec(
            width=given.width or given.size,
            height=given.height or given.size,
            seed=given.seed,
            pixel=given.pixel,
            changes=given.changes,
            dtype=given.dtype,
            nodata_border=given.nodata_border,
            estates=given.estates,
            seasons=given.seasons,
            sun=None if given.sun is None else sun_of(given.sun),
            local_shift=given.local_shift,
        )
        options = OutputOptions(
            block=given.block,
            workers=given.workers,
            compression=given.compression,
            truth_vector=not given.no_truth_vector,
            truth_raster=given.truth_raster,
        )
    except ValueError as error:
        raise SystemExit(f"make_scene: {error}") from None
    write_pair(spec, given.out, options)


if __name__ == "__main__":
    main()

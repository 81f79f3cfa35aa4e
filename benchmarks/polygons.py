"""Polygons of a large raster: block by block and merged, against rasterio on the whole raster.

    python benchmarks/polygons.py --size 10000 --workers 2

Makes a raster of blobs, the same on every run, traces it both ways in turn, checks that the polygons are the
same sets of pixels, and prints JSON: the median seconds of both ways, up to shapely polygons, and their
ratio.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import shapely
from rasterio import features
from scipy import ndimage
from shapely.geometry import shape

from geochange.arrays import Array, Floats, Ints
from geochange.polygons.regions import BlockRegions, Regions, concatenate, trace_block
from geochange.polygons.seams import SeamMerger
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition

STRIP = 1000  # rows at a time
SIGMA = 6.0  # pixels: the size of blobs
LEVEL = 1.28  # standard deviations: a tenth of the pixels lie above


def make_mask(size: int) -> Ints:
    """(size, size) uint8, 1 in smooth blobs of about 200 pixels, 50,000 of them at a size of 10,000."""
    mask = np.empty((size, size), np.uint8)
    for strip in range(-(-size // STRIP)):
        noise = np.concatenate([_noise(strip + near, size) for near in (-1, 0, 1)])
        field = ndimage.gaussian_filter(noise, SIGMA)[STRIP : 2 * STRIP]
        rows = mask[strip * STRIP : (strip + 1) * STRIP]
        rows[:] = field[: len(rows)] > LEVEL / (2 * np.sqrt(np.pi) * SIGMA)
    return mask


def _noise(strip: int, size: int) -> Floats:
    return np.random.default_rng(strip + 1).standard_normal((STRIP, size), np.float32)


def trace_file(path: Path, block: Tile) -> BlockRegions:
    """One block of a mask saved as .npy; the mask itself is the score."""
    mask = np.load(path, mmap_mode="r")
    scene = Tile(0, 0, *mask.shape)
    around = block.grow(1)
    inside = around.intersect(scene)
    padding = (
        (inside.row - around.row, around.stop_row - inside.stop_row),
        (inside.col - around.col, around.stop_col - inside.stop_col),
    )
    classes = np.pad(mask[inside.slices()], padding)
    valid = np.pad(np.ones(inside.shape, bool), padding)
    return trace_block(classes, classes, valid, block, scene)


def trace_by_block(path: Path, blocks: list[Tile], pool: Executor) -> Regions:
    """All regions, merged over the seams."""
    merger = SeamMerger(blocks)
    done = [merger.add(traced) for traced in pool.map(partial(trace_file, path), blocks)]
    return concatenate([*done, merger.finish()])


def trace_by_rasterio(path: Path) -> Array:
    """(n,) shapely polygons of the whole mask."""
    mask = np.load(path)
    return np.array([shape(outline) for outline, _ in features.shapes(mask, mask=mask > 0)], object)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work returns, and how many seconds it took."""
    begin = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begin


def compare(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both ways in turn, `repeats` times, and whether they agree."""
    blocks = list(partition((options.size, options.size), (options.block, options.block)))
    pool_type = ThreadPoolExecutor if options.threads else ProcessPoolExecutor
    seconds = []
    with pool_type(options.workers) as pool:
        list(pool.map(len, ["start"] * options.workers))
        for _ in range(options.repeats):
            ours, our_seconds = timed(partial(trace_by_block, path, blocks, pool))
            theirs, their_seconds = timed(partial(trace_by_rasterio, path))
            seconds.append((our_seconds, their_seconds))
    ours_median, theirs_median = np.median(seconds, axis=0)
    return {
        "size": options.size,
        "block": options.block,
        "workers": options.workers,
        "pool": pool_type.__name__,
        "regions": len(ours),
        "crossing_seams": int(crosses_seam(ours.polygons, options.block).sum()),
        "same": same_polygons(ours.polygons, theirs),
        "seconds": round(float(ours_median), 2),
        "rasterio_seconds": round(float(theirs_median), 2),
        "ratio": round(float(ours_median / theirs_median), 3),
    }


def crosses_seam(polygons: Array, block: int) -> Array:
    """(n,) whether a polygon lies in more than one block."""
    left, top, right, bottom = shapely.bounds(polygons).T
    return (left // block != (right - 1) // block) | (top // block != (bottom - 1) // block)


def same_polygons(ours: Array, theirs: Array) -> bool:
    """Whether two sets of polygons cover the same sets of pixels: outlines of pixels are equal once they are
    normalised.
    """
    normal = (shapely.to_wkb(shapely.normalize(polygons)) for polygons in (ours, theirs))
    first, second = (sorted(wkb) for wkb in normal)
    return first == second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=10_000, help="pixels per side")
    parser.add_argument("--block", type=int, default=2048, help="pixels per side of a block")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", action="store_true", help="threads in place of processes")
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "mask.npy"
        np.save(path, make_mask(options.size))
        print(json.dumps(compare(path, options)))


if __name__ == "__main__":
    main()

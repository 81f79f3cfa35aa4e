"""What it costs to evaluate a layer of many polygons, against the raster that it was traced from.

    python benchmarks/evaluate_layers.py --side 174

Makes two rasters of rectangles, 30,000 each, traces one of them, compares it with the other as a raster and as a layer
in turn, checks that the scores are the same, and prints JSON: the median seconds of both, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from affine import Affine

import geochange
from geochange.arrays import Ints

CELL = 12  # pixels: each holds one rectangle


def rectangles(side: int, seed: int) -> Ints:
    """(y, x) uint8, 1 in a rectangle of 3 to 8 pixels a side in each of side x side cells."""
    rng, mask = np.random.default_rng(seed), np.zeros((side * CELL, side * CELL), np.uint8)
    for row, col in np.ndindex(side, side):
        height, width, down, right = *rng.integers(3, 9, 2), *rng.integers(0, 4, 2)
        top, left = row * CELL + down, col * CELL + right
        mask[top : top + height, left : left + width] = 1
    return mask


def write_mask(path: Path, mask: Ints) -> Path:
    """Write a mask as a GeoTIFF."""
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_300_000)}
    height, width = mask.shape
    with rasterio.open(path, "w", driver="GTiff", count=1, height=height, width=width, dtype="uint8", **place) as file:
        file.write(mask, 1)
    return path


def compare(folder: Path, side: int, repeats: int) -> dict[str, Any]:
    """Both ways in turn, `repeats` times, and whether they agree."""
    raster, reference = (write_mask(folder / f"{seed}.tif", rectangles(side, seed)) for seed in (0, 1))
    layer = geochange.vectorize(raster, folder / "layer.gpkg", min_area=0)
    seconds, scores = [], []
    for _ in range(repeats):
        for predicted in (raster, layer.path):
            begin = time.perf_counter()
            found = geochange.evaluate(predicted, reference)
            seconds.append(time.perf_counter() - begin)
            scores.append(found.pixels.confusion.tolist())
    by_raster, by_layer = np.median(np.reshape(seconds, (repeats, 2)), axis=0)
    return {
        "polygons": layer.totals.count,
        "same": all(each == scores[0] for each in scores),
        "raster_seconds": round(float(by_raster), 2),
        "layer_seconds": round(float(by_layer), 2),
        "ratio": round(float(by_layer / by_raster), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=174, help="cells per side, each with a polygon")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        print(json.dumps(compare(Path(folder), options.side, options.repeats)))


if __name__ == "__main__":
    main()

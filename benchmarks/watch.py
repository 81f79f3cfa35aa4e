"""How long a new image waits in `geochange watch` for its changes to be in the layer. Prints JSON.

    python benchmarks/watch.py OUT [--frames 200] [--side 1024] [--detector landscape] [--pause 3] [--check 10]

Another process writes a frame every PAUSE seconds, in one place: a synthetic scene in the light of the day, in which
squares appear and go. `seconds` is the time from when a frame was taken up until its changes are on the disk, `delay`
from when it was written; medians, and the 95th percentile. Every CHECK-th pair is then compared by `geochange detect`,
whose polygons and attributes must be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import geopandas
import numpy as np
import rasterio

import geochange
from geochange.arrays import Array

ROOT = Path(__file__).parents[1]
COMPARED = ("label", "score_mean", "score_max", "area_px")


def frame(scene: Array, number: int) -> Array:
    """(band, y, x) uint8: a frame of its own light and noise, with squares that stay for ten frames."""
    rng = np.random.default_rng([7, number])
    image = scene * rng.uniform(0.9, 1.1) + rng.normal(0, 2, scene.shape)
    for birth in range(max(number - 9, 0), number + 1):
        where = np.random.default_rng([8, birth])
        for _ in range(3):
            row, col = where.integers(0, np.array(scene.shape[1:]) - 40)
            side = int(where.integers(8, 40))
            image[:, row : row + side, col : col + side] = where.uniform(30, 230, (len(scene), 1, 1))
    clipped: Array = np.clip(image, 0, 255).astype(np.uint8)
    return clipped


def write_frames(folder: Path, chosen: argparse.Namespace) -> None:
    """Write the frames one after another; each appears under its name when it is whole."""
    with rasterio.open(ROOT / "sample_data" / "before.tif") as source:
        scene, profile = source.read([1, 2, 3]), source.profile
    scene = np.pad(scene, ((0, 0), *((0, max(chosen.side - each, 0)) for each in scene.shape[1:])), mode="reflect")
    scene = scene[:, : chosen.side, : chosen.side].astype(float)
    profile |= {"count": 3, "height": chosen.side, "width": chosen.side}
    for number in range(chosen.frames):
        began = time.monotonic()
        path = folder / f"{number:04d}.tif"
        with rasterio.open(path.with_suffix(".part"), "w", **{**profile, "driver": "GTiff"}) as out:
            out.write(frame(scene, number))
        os.utime(path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
        time.sleep(max(chosen.pause - (time.monotonic() - began), 0))


def same_as_detect(folder: Path, out: Path, numbers: range, chosen: argparse.Namespace) -> tuple[int, int]:
    """Compared pairs, and those whose polygons or attributes differ."""
    layer, different = geopandas.read_file(out / "watched" / "changes.gpkg"), 0
    for number in numbers:
        pair = [folder / f"{each:04d}.tif" for each in (number - 1, number)]
        found = geochange.detect(*pair, out / "run", detector=chosen.detector, overwrite=True).changes()
        watched = layer[layer.image == pair[1].name]
        same = len(found) == len(watched) and all(
            list(found[name]) == list(watched[name]) for name in (*COMPARED, "geometry")
        )
        different += not same
    return len(numbers), different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--detector", default="landscape")
    parser.add_argument("--pause", type=float, default=3.0)
    parser.add_argument("--check", type=int, default=10)
    parser.add_argument("--only-write", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only_write:
        return write_frames(chosen.only_write, chosen)
    folder = chosen.out / "frames"
    folder.mkdir(parents=True)
    writer = subprocess.Popen([sys.executable, *sys.argv, "--only-write", str(folder)])
    watched = geochange.watch(
        folder, chosen.out / "watched", detector=chosen.detector, until_idle=max(10.0, 3 * chosen.pause)
    )
    writer.wait()
    rows = np.genfromtxt(
        chosen.out / "watched" / "frames.csv", delimiter=",", names=True, usecols=("seconds", "delay"), skip_header=0
    )[2:]  # the first has nothing to be compared with, the second loads the network
    times = {
        name: {"median": round(float(np.median(rows[name])), 3), "95 %": round(float(np.quantile(rows[name], 0.95)), 3)}
        for name in ("seconds", "delay")
    }
    compared, different = same_as_detect(folder, chosen.out, range(1, chosen.frames, chosen.check), chosen)
    counts = {"frames": watched.record["images"], "changes": watched.record["changes"]["count"]}
    print(json.dumps({"detector": chosen.detector, **counts, **times, "compared": compared, "different": different}))
    return None


if __name__ == "__main__":
    main()

"""Known fields of shifts on real images: how well `--remove-local-shift` recovers them, and what it does to changes.

    python benchmarks/local_shift.py OUT [--data DIR] [--arosics PYTHON]

AFTER of a NAIP and of a Landsat pair is bent by smooth waves of up to 1 and 3 pixels. Printed for each: the median
distance between the field that is found, less what is found without bending, and the known one; the share of pixels
that `change-vector` predicts as change, without tolerance, in the pair as it was, bent, and with the shift removed.
With the interpreter of an environment that has arosics, its local co-registration runs on the same files: the same
distance at its tie points, and the time of both in seconds, each with reading.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from scipy.ndimage import map_coordinates

import geochange
from geochange.arrays import Array, Floats
from geochange.engine.cluster import ClusterOptions
from geochange.engine.work import open_work
from geochange.engine.workers import Needs
from geochange.pipeline.local_shift import measure_local_shift
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import open_scene
from geochange.scenes.shift_field import LocalShift

PAIRS = {
    "NAIP 2017, 2020": ("naip_wetlands/naip_20170827.tif", "naip_wetlands/naip_20200831.tif"),
    "Landsat 1985, 1990": ("landsat_pucallpa/1985.tif", "landsat_pucallpa/1990.tif"),
}
FIELDS = ((1.0, 400.0), (3.0, 400.0), (3.0, 800.0))  # longest shift, and length of the waves, in pixels
AROSICS = """
import json, sys, time
from arosics import COREG_LOCAL
start = time.time()
found = COREG_LOCAL(sys.argv[1], sys.argv[2], grid_res=48, window_size=(96, 96), max_shift=8, CPUs=1, q=True,
                    r_b4match=1, s_b4match=1, nodata=(0, 0))
table = found.CoRegPoints_table
table = table[(table.OUTLIER == False) & (table.ABS_SHIFT > -9999)]
points = [[int(r.Y_IM), int(r.X_IM), float(r.Y_SHIFT_PX), float(r.X_SHIFT_PX)] for r in table.itertuples()]
json.dump({"points": points, "seconds": time.time() - start}, open(sys.argv[3], "w"))
"""


def known_field(shape: tuple[int, int], longest: float, length: float) -> Floats:
    """(2, y, x) smooth shifts down and right."""
    rng, (rows, cols) = np.random.default_rng(7), np.mgrid[: shape[0], : shape[1]]
    field = []
    for _ in range(2):
        angle, *phases = rng.uniform(0, 2 * np.pi, 3)
        along, across = rows * np.cos(angle) + cols * np.sin(angle), rows * np.sin(angle) - cols * np.cos(angle)
        first, second = (
            np.sin(2 * np.pi * way / length + phase) for way, phase in ((along, phases[0]), (across, phases[1]))
        )
        field.append(first + second / 2)
    return np.array(field) * longest / np.hypot(*field).max()


def bend(image: Array, field: Floats) -> Array:
    """An image whose content at r lies at r + field(r)."""
    rows, cols = np.mgrid[: image.shape[1], : image.shape[2]]
    back = field
    for _ in range(6):
        back = np.array([map_coordinates(part, (rows - back[0], cols - back[1]), order=1) for part in field])
    places = rows - back[0], cols - back[1]
    bent = [map_coordinates(band.astype(float), places, order=3, mode="reflect") for band in image]
    return np.clip(np.rint(bent), 0, 255).astype(np.uint8)


def write(path: Path, values: Array) -> None:
    """Write an image in metres, which arosics asks for."""
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000), "nodata": 0}
    count, height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype="uint8", **place
    ) as dataset:
        dataset.write(values)


def found_field(before: Path, after: Path) -> tuple[Floats | float, float]:
    """The field that geochange finds, and the seconds that it took."""
    start, scene = time.time(), open_scene([before, after], SceneOptions())
    with open_work(ClusterOptions(), None, Needs(inputs=[before, after])) as work:
        found = measure_local_shift(scene, work)
    if not isinstance(found, LocalShift):
        raise SystemExit(found.reason)
    return (0.0 if found.field is None else found.field.over(scene.grid.area)), time.time() - start


def by_arosics(python: str, before: Path, after: Path) -> tuple[Array, float]:
    """(n, 4) row, column and shifts down and right of its tie points, and the seconds that it took."""
    answer = before.parent / "arosics.json"
    subprocess.run(
        [python, "-c", AROSICS, str(before), str(after), str(answer)], check=True, capture_output=True, text=True
    )
    found = json.loads(answer.read_text())
    return np.array(found["points"]), found["seconds"]


def share(before: Path, after: Path, out: Path, *, removed: bool) -> float:
    """Share of pixels that are predicted as change."""
    run = geochange.detect(
        before, after, out, detector="change-vector", shift_tolerance=0, min_confidence=0.0, formats=("gpkg",),
        remove_local_shift=removed, overwrite=True,
    )  # fmt: skip
    return run.record["changes"]["area_px"] / run.record["scene"]["pixels"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--arosics", metavar="PYTHON")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    before, after, straight = (given.out / f"{name}.tif" for name in ("before", "after", "straight"))
    print("| pair | bent by | error | changed as it was | bent | removed | seconds | arosics | its seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for pair, names in PAIRS.items():
        paths = [str(given.data / name) for name in names]
        scene = open_scene(paths, SceneOptions(align=True))
        (first, second), valid = scene.read(scene.grid.area)
        first, second = (np.where(valid.all(axis=0), date, 0) for date in (first, second))
        write(before, first)
        write(straight, second)
        own, _ = found_field(before, straight)
        for longest, length in FIELDS:
            known = known_field(scene.shape, longest, length)
            write(after, bend(second, known))
            field, seconds = found_field(before, after)
            error = np.median(np.hypot(*(field - own - known)))
            shares = [
                share(before, straight, given.out / "run", removed=False),
                *(share(before, after, given.out / "run", removed=removed) for removed in (False, True)),
            ]
            row = [pair, f"{longest:g} px, waves of {length:g} px", f"{error:.2f}", *(f"{each:.3f}" for each in shares)]
            row.append(f"{seconds:.1f}")
            if given.arosics:
                try:
                    points, its = by_arosics(given.arosics, before, after)
                except subprocess.CalledProcessError as error:
                    print("|", " | ".join([*row, f"failed: {error.stderr.splitlines()[-1][:60]}"]), "| |", flush=True)
                    continue
                rows, cols = points[:, :2].astype(int).T
                there = known + own
                left = points[:, 2:].T + there[:, rows, cols]  # its shifts bring AFTER back
                row += [f"{np.median(np.hypot(*left)):.2f} at {len(points)} points", f"{its:.1f}"]
            print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()

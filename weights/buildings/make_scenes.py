"""Make the synthetic scenes that `buildings` is trained on beside real ones.

    python weights/buildings/make_scenes.py DATA

writes DATA/made.csv. Of all that changes, only buildings that appear or vanish are labelled.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import geopandas

MAKE = Path(__file__).parents[2] / "sample_data" / "make_scene.py"
KINDS = ("building_new", "building_gone")
PIXEL, CHANGES, SIDE, FIRST_SEED = 0.5, 3000, 1024, 5000  # metres, a km², pixels


def make(folder: Path, seed: int) -> Path:
    """One scene; returns the labels of its buildings."""
    labels = folder / "buildings.gpkg"
    if not labels.exists():
        options = {"--size": SIDE, "--seed": seed, "--pixel": PIXEL, "--changes": CHANGES, "--compression": 1}
        more = [str(part) for pair in options.items() for part in pair]
        subprocess.run([sys.executable, str(MAKE), str(folder), *more], check=True, stdout=subprocess.DEVNULL)
        truth = geopandas.read_file(folder / "truth.gpkg")
        truth[truth["kind"].isin(KINDS)].to_file(labels)
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + chosen.scenes)
    folders = [chosen.data / str(seed) for seed in seeds]
    with ThreadPoolExecutor(chosen.workers) as crew:
        labels = list(crew.map(make, folders, seeds))
    with (chosen.data / "made.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("before", "after", "labels"))
        for folder, each in zip(folders, labels, strict=True):
            files = [folder / "before.tif", folder / "after.tif", each]
            writer.writerow([path.relative_to(chosen.data).as_posix() for path in files])


if __name__ == "__main__":
    main()

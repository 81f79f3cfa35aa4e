"""Make the pairs that the weights `landscape` were taught with: places that do not exist, at two pixel sizes.

    python weights/landscape/make_scenes.py DATA
    geochange train DATA/half.csv DATA/one.csv -o RUN --bands 1,2,3 --steps 2500 --seed 0

Each scene is another place (another seed of sample_data/make_scene.py); a sixth of them is for validation.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MAKE = Path(__file__).parents[2] / "sample_data" / "make_scene.py"
SIZES = {"half": (0.5, 1000), "one": (1.0, 2000)}  # name -> metres a pixel, first seed
SIDE = 1024
CHANGES = 400  # a square kilometre; five times as many as in the sample


def make(folder: Path, pixel: float, seed: int) -> None:
    """One scene, unless it is there."""
    if (folder / "truth.tif").exists():
        return
    options = {"--size": SIDE, "--seed": seed, "--pixel": pixel, "--changes": CHANGES, "--compression": 1}
    more = [str(part) for pair in options.items() for part in pair]
    subprocess.run(
        [sys.executable, str(MAKE), str(folder), *more, "--truth-raster", "--no-truth-vector"],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scenes", type=int, default=24, help="of each pixel size")
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    with ThreadPoolExecutor(chosen.workers) as crew:
        for name, (pixel, first) in SIZES.items():
            seeds = range(first, first + chosen.scenes)
            folders = [chosen.data / f"{name}-{seed}" for seed in seeds]
            list(crew.map(make, folders, [pixel] * len(folders), seeds))
            with (chosen.data / f"{name}.csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(("before", "after", "labels", "split"))
                for number, folder in enumerate(folders):
                    files = [f"{folder.name}/{part}.tif" for part in ("before", "after", "truth")]
                    writer.writerow((*files, "val" if number % 6 == 5 else "train"))


if __name__ == "__main__":
    main()

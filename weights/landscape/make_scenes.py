"""Make the synthetic scenes that the detector `landscape` is trained on: places that do not exist.

    python weights/landscape/make_scenes.py DATA [--scenes 96] [--workers 2]

writes DATA/half.csv and DATA/one.csv, tables of scenes of 1024² at 0.5 m and at 1 m a pixel, in which 40 to 1,200
changes a square kilometre are true. A seventh of each is held out.
"""

from __future__ import annotations

import argparse
import csv
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "sample_data"))

from make_scene import OutputOptions, write_pair
from scenery.spec import SceneSpec

SIDE, FIRST_SEED = 1024, 7000
PIXELS = {"half": 0.5, "one": 1.0}  # metres
CHANGES = (40.0, 120.0, 400.0, 1200.0)  # a square kilometre, scene by scene in turn
HELD_OUT = 7  # every so many scenes one


def make(folder: Path, seed: int, pixel: float) -> None:
    """One scene, where it is not there yet."""
    if not (folder / "done").exists():
        spec = SceneSpec(width=SIDE, height=SIDE, seed=seed, pixel=pixel, changes=CHANGES[seed % len(CHANGES)])
        write_pair(spec, folder, OutputOptions(compression=1, truth_vector=False, truth_raster=True))
        (folder / "done").touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--scenes", type=int, default=96)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + chosen.scenes)
    names = {seed: tuple(PIXELS)[2 * (seed - FIRST_SEED) // chosen.scenes] for seed in seeds}
    with ProcessPoolExecutor(chosen.workers) as crew:
        made = [crew.submit(make, chosen.data / str(seed), seed, PIXELS[name]) for seed, name in names.items()]
        for each in made:
            each.result()
    for table in PIXELS:
        with (chosen.data / f"{table}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("before", "after", "labels", "split"))
            for seed in (seed for seed, name in names.items() if name == table):
                split = "val" if seed % HELD_OUT == 0 else "train"
                writer.writerow([*(f"{seed}/{name}.tif" for name in ("before", "after", "truth")), split])


if __name__ == "__main__":
    main()

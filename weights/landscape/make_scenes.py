"""Make the synthetic scenes that the detector `landscape` is trained on: places that do not exist.

    python weights/landscape/make_scenes.py DATA [--workers 2]

writes scenes of 640² at 0.5, 1, 2, 4 and 10 m a pixel: at each size 40 whose dates lie in the same summer, and 18 whose
dates lie in any season, under any sun and camera, with estates in the place of fields. DATA/summer-1.csv and so on list
them; each ninth is held out. What is there is not made again.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "sample_data"))

from make_scene import OutputOptions, write_pair
from scenery.spec import SceneSpec

SIDE, FIRST_SEED = 640, {"summer": 9000, "seasons": 10000}
COUNTS = {"summer": 40, "seasons": 18}
CHANGES = {  # a square kilometre, by the pixel size in metres, scene by scene in turn
    0.5: (120.0, 400.0, 1200.0), 1.0: (40.0, 120.0, 400.0), 2.0: (20.0, 60.0, 200.0), 4.0: (8.0, 20.0, 60.0),
    10.0: (1.5, 4.0, 12.0),
}  # fmt: skip
SEASONS, ESTATES = (1.0, 1.0, 0.6, 1.0), (0.1, 0.35, 0.6, 0.2, 0.0)
HELD_OUT = 9  # every so many scenes one


def scenes(look: str) -> Iterator[tuple[str, int, SceneSpec]]:
    """The name, number and specification of each scene of a look."""
    for k, (pixel, densities) in enumerate(CHANGES.items()):
        for n in range(COUNTS[look]):
            varied = {"seasons": SEASONS[n % 4], "estates": ESTATES[n % 5]} if look == "seasons" else {}
            seed, changes = FIRST_SEED[look] + 100 * k + n, densities[n % 3]
            yield (
                f"{look}-{pixel:g}",
                n,
                SceneSpec(width=SIDE, height=SIDE, seed=seed, pixel=pixel, changes=changes, **varied),
            )


def make(folder: Path, spec: SceneSpec) -> None:
    """One scene, where it is not there yet."""
    if not (folder / "done").exists():
        write_pair(spec, folder, OutputOptions(compression=1, truth_vector=False, truth_raster=True))
        (folder / "done").touch()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    chosen = parser.parse_args()
    tables: dict[str, list[list[str]]] = {}
    with ProcessPoolExecutor(chosen.workers) as crew:
        made = []
        for table, number, spec in (each for look in COUNTS for each in scenes(look)):
            folder = f"{table}_{number:02d}"
            made.append(crew.submit(make, chosen.data / folder, spec))
            split = "val" if number % HELD_OUT == HELD_OUT - 1 else "train"
            tables.setdefault(table, []).append([*(f"{folder}/{n}.tif" for n in ("before", "after", "truth")), split])
        for each in made:
            each.result()
    for name, rows in tables.items():
        with (chosen.data / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("before", "after", "labels", "split"), *rows])


if __name__ == "__main__":
    main()

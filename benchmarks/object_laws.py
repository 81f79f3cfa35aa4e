"""Whether the objects of a scene are the same for any tile size, block size and number of workers.

    python benchmarks/object_laws.py BEFORE AFTER [--detector micro-changes] [--checkpoint FILE] [--bands 1,2,3]

Prints, for each way to cut the scene, how many objects there are, how many of them are the same to the last bit as
those of one tile over all of it, and how far the corners and scores of the others lie off.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyogrio

import geochange
from geochange.arrays import Floats

CUTS = (
    {"tile_size": 4096},
    {"tile_size": 512},
    {"tile_size": 768},
    {"tile_size": 1024},
    {"tile_size": 768, "block_size": 500},
    {"tile_size": 768, "block_size": 5000, "threads": 1},
)


def objects_of(path: Path) -> Floats:
    """(n, 5) bounds and score."""
    frame = pyogrio.read_dataframe(path, layer="changes")
    return np.column_stack([frame.bounds.to_numpy(), frame["score_mean"].to_numpy()])


def compare(found: Floats, expected: Floats) -> str:
    """How many are there bit by bit; and of the nearest to each of the others, how far off they are."""
    same = {tuple(row) for row in expected.tolist()}
    others = np.array([row for row in found.tolist() if tuple(row) not in same]).reshape(-1, 5)
    text = f"{len(found):6d} objects, {len(found) - len(others):6d} the same"
    if len(others):
        distance = np.abs(others[:, None, :4] - expected[None, :, :4]).max(axis=2)
        nearest = distance.argmin(axis=1)
        score = np.abs(others[:, 4] - expected[nearest, 4])
        text += f"; others off by up to {distance.min(axis=1).max():.4f} map units and {score.max():.4f} in score"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--detector", default="micro-changes")
    parser.add_argument("--checkpoint")
    parser.add_argument("--bands", default="1,2,3")
    parser.add_argument("--threshold", default="0.3")
    options = parser.parse_args()
    detector = "network" if options.checkpoint else options.detector
    chosen = {"checkpoint": options.checkpoint} if options.checkpoint else {}
    bands = tuple(int(band) for band in options.bands.split(","))
    expected = None
    with TemporaryDirectory() as folder:
        for number, cut in enumerate(CUTS):
            found = geochange.detect(
                options.before,
                options.after,
                Path(folder) / str(number),
                detector=detector,
                detector_options=chosen,
                bands=bands,
                align=True,
                threshold=options.threshold,
                formats=("gpkg",),
                **cut,
            )
            objects = objects_of(found.layer)
            expected = objects if expected is None else expected
            print(f"{cut!s:55} {compare(objects, expected)}", flush=True)


if __name__ == "__main__":
    main()

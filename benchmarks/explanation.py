"""Whether what `explain` marks matters: deleted, it must lower the score more than as much elsewhere.

    python benchmarks/explanation.py [--detector landscape] [--changes 20] [--size 160]

On changes that the detector finds in the synthetic sample, evenly by size. A line of JSON a change, then a summary: the
mean probability of its pixels, without the twentieth of both images that is marked most, and without as much elsewhere.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import geochange

SAMPLE = Path(__file__).parents[1] / "sample_data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="landscape")
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--size", type=int, default=160)
    chosen = parser.parse_args()
    pair, found = (SAMPLE / "before.tif", SAMPLE / "after.tif"), []
    with TemporaryDirectory() as folder:
        network = {"detector": chosen.detector, "bands": (1, 2, 3)}
        run = geochange.detect(*pair, Path(folder) / "run", **network)
        layer = run.changes().sort_values("area_px")
        for place in np.linspace(0, len(layer) - 1, chosen.changes).round().astype(int):
            change = layer.iloc[place]
            where = {"changes": str(run.layer), "id": int(change.id), "size": chosen.size}
            explained = geochange.explain(*pair, Path(folder) / f"{change.id}.tif", **network, **where)
            deletion = explained.deletion
            found.append((deletion.whole, deletion.without_marked, deletion.without_others))
            print(json.dumps({"id": int(change.id), "pixels": int(change.area_px), **explained.to_dict()["deletion"]}))
    whole, marked, others = np.mean(found, axis=0).round(3)
    holds = int(sum(each[1] < each[2] for each in found))
    summary = {"mean": float(whole), "without_marked": float(marked), "without_others": float(others)}
    print(json.dumps({"changes": len(found), **summary, "marked matters more": holds}))


if __name__ == "__main__":
    main()

"""Sizes and places that a network estimates of each change, beside those of its outlines. Prints JSON.

    geochange synthesize IMAGES -o MADE --sizes 4:16 --density 500
    geochange train MADE -o RUN --network attention-net --network-option size=true --network-option place=true
    python benchmarks/estimates.py RUN/best.pt OTHER

OTHER is a folder of pairs that `geochange synthesize` made, with labels. Of changes whose outline overlaps the true one
by `--iou`, the mean error of the area is a share of the true one, and that of the place a distance in pixels.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import geochange

KINDS = {"size": ("estimated", "outlined"), "place": ("estimated", "outlined")}


def errors_of(checkpoint: Path, pairs: Path, name: str, iou: float) -> dict[str, dict[str, float]]:
    """The errors in one pair."""
    dates = (pairs / part / f"{name}.tif" for part in "AB")
    with TemporaryDirectory() as folder:
        found = geochange.detect(
            *dates,
            Path(folder) / "out",
            detector="network",
            detector_options={"checkpoint": str(checkpoint)},
            layers=("size", "place"),
            formats=("gpkg",),
        )
        truth = pairs / "label" / f"{name}.tif"
        told = geochange.evaluate(found.folder / "changes.gpkg", truth, iou=iou).to_dict()["estimates"]
    return {kind: told[kind] for kind in KINDS if told and told[kind] and told[kind]["count"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--iou", type=float, default=0.1)
    chosen = parser.parse_args()
    names = sorted(path.stem for path in (chosen.pairs / "label").glob("*.tif"))
    told = [errors_of(chosen.checkpoint, chosen.pairs, name, chosen.iou) for name in names]
    answer = {}
    for kind, figures in KINDS.items():
        own = [each[kind] for each in told if kind in each]
        count = sum(each["count"] for each in own)
        means = {name: round(sum(each["count"] * each[name] for each in own) / max(count, 1), 3) for name in figures}
        answer[kind] = {"changes": count, **means}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()

"""Many small pairs: `detect-many` on threads, one worker and two, and how busy the workers are.

    python benchmarks/archive.py OUT [--pairs 30] [--side 300] [--repeats 3]

Pairs are parts of the sample. `seconds` is all of the command; `pairs` its time from the first pair to the last, by
which `busy` is the share that workers spend on pairs. Runs in turn; medians. Prints a table, and whether the layers are
the same bytes.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import rasterio
from rasterio.windows import Window

SAMPLE = Path(__file__).parents[1] / "sample_data"
WAYS = {"threads": [], "one worker": ["--workers", "1"], "two workers": ["--workers", "2"]}


def write_pairs(folder: Path, count: int, side: int) -> Path:
    """Write parts of the sample, and the table that lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("before", "after"):
        with rasterio.open(SAMPLE / f"{name}.tif") as source:
            for k in range(count):
                row, col = (k * 97) % (source.height - side), (k * 53) % (source.width - side)
                window = Window(col, row, side, side)
                profile = {key: source.profile[key] for key in ("driver", "count", "dtype", "crs", "compress")}
                place = {"width": side, "height": side, "transform": source.window_transform(window)}
                with rasterio.open(folder / f"{name}{k}.tif", "w", **profile, **place) as target:
                    target.write(source.read(window=window))
    table = folder / "pairs.csv"
    table.write_text("before,after\n" + "".join(f"before{k}.tif,after{k}.tif\n" for k in range(count)))
    return table


def run(table: Path, out: Path, more: list[str]) -> dict[str, float]:
    shutil.rmtree(out, ignore_errors=True)
    begun = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "geochange",
        "detect-many",
        str(table),
        "-o",
        str(out),
        "-d",
        "change-vector",
        "-q",
    ]
    subprocess.run([*command, *more], check=True)
    seconds = time.perf_counter() - begun
    with (out / "pairs.csv").open(newline="") as file:
        spent = sum(float(line["seconds"]) for line in csv.DictReader(file))
    stage = json.loads((out / "run.json").read_text())["seconds"]["pairs"]
    return {"seconds": seconds, "pairs": stage, "busy": spent / stage / (int(more[1]) if more else 1)}


def same(ours: Path, theirs: Path) -> bool:
    """Whether two archives hold the same changes."""
    names = sorted(path.relative_to(ours) for path in ours.glob("*/changes.geojson"))
    return bool(names) and all((ours / name).read_bytes() == (theirs / name).read_bytes() for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--side", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    table = write_pairs(chosen.out / "pairs", chosen.pairs, chosen.side)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
    for _ in range(chosen.repeats):
        for name, more in WAYS.items():
            found[name].append(run(table, chosen.out / name, more))
    print("| | seconds | pairs, seconds | busy | same changes |\n|---|---|---|---|---|")
    for name, runs in found.items():
        seconds, stage, busy = (median(each[key] for each in runs) for key in ("seconds", "pairs", "busy"))
        alike = "yes" if same(chosen.out / "threads", chosen.out / name) else "NO"
        print(f"| {name} | {seconds:.1f} | {stage:.1f} | {busy:.0%} | {alike} |")


if __name__ == "__main__":
    main()

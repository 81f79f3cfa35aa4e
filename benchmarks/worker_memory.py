"""How much memory a worker of a cluster needs, by detector: the peak of its resident set over a whole `detect`.

    python benchmarks/worker_memory.py OUT [--size 4096] [--detectors change-vector landscape]

A worker without a nanny, as a program of its own; the system counts its peak. Prints a table: a synthetic pair of four
8-bit bands, and the same pair as twelve 16-bit bands; networks use three of them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import rasterio
from large_scene import ROOT, made_scene

sys.path.insert(0, str(ROOT))

from tests.clusters import address_of, scheduler

DETECTORS = "change-vector", "ir-mad", "landscape", "buildings"
NETWORKS = "landscape", "buildings"  # of three bands


def peak_mb(pair: tuple[str, str], detector: str, out: Path) -> float | None:
    """Peak of the worker; None where the detector does not take the pair."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    with scheduler(out) as (_, told):
        command = "-m", "distributed.cli.dask_worker", "--scheduler-file", told, "--nthreads", "1", "--no-nanny"
        worker = subprocess.Popen([sys.executable, *command, "--no-dashboard"], stderr=subprocess.DEVNULL)
        try:
            where = ["-o", str(out / "out"), "-d", detector, "-q", "--scheduler", address_of(told)]
            where += ["--bands", "1,2,3"] if detector in NETWORKS else []
            done = subprocess.run([sys.executable, "-m", "geochange", "detect", *pair, *where], check=False)
        finally:
            worker.send_signal(signal.SIGTERM)
            _, _, usage = os.wait4(worker.pid, 0)
    return None if done.returncode else usage.ru_maxrss / 1024


def as_many_bands(pair: tuple[str, str], folder: Path) -> tuple[str, str]:
    """The pair with each band three times, as 16-bit numbers."""
    found = []
    for path in pair:
        new = folder / Path(path).name
        found.append(str(new))
        if not new.exists():
            with rasterio.open(path) as source:
                profile = source.profile | {"count": 3 * source.count, "dtype": "uint16", "photometric": "MINISBLACK"}
                with rasterio.open(new, "w", **profile) as target:
                    for band in range(1, source.count + 1):
                        values = source.read(band).astype("uint16")
                        for copy in range(3):
                            target.write(values * 16 + 7 * copy + values % (copy + 2), 3 * (band - 1) + copy + 1)
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--detectors", nargs="+", default=DETECTORS)
    chosen = parser.parse_args()
    (chosen.out / "bands").mkdir(parents=True, exist_ok=True)
    (ROOT / "benchmarks" / "out").mkdir(exist_ok=True)
    few = made_scene(chosen.size)
    many = as_many_bands(few, chosen.out / "bands")
    print("| detector | four 8-bit bands | twelve 16-bit bands |\n|---|---|---|")
    for name in chosen.detectors:
        peaks = [peak_mb(pair, name, chosen.out / "run") for pair in (few, many)]
        print(f"| `{name}` | {' | '.join('–' if each is None else f'{each:,.0f} MB' for each in peaks)} |", flush=True)


if __name__ == "__main__":
    main()

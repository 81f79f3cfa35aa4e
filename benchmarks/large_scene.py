"""What a large scene costs: memory and time of `geochange detect` at two sizes, and what is not fitting or scoring.

    python benchmarks/large_scene.py --sizes 10000 20000 --repeats 3

Prints JSON. Scenes are drawn once, by sample_data/make_scene.py, under benchmarks/out.

- `peak_mb`: the largest resident set of any process of a run, as the system counted it;
- `seconds`: medians of runs in turn (small, large, small, large, ...), `time_ratio`: large over small;
- `overhead`: all of `detect` over its own fit and score passes with their reads, nothing written, at the small size;
  each is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from geochange.detectors.catalogue import detector
from geochange.engine.cluster import Crew
from geochange.engine.inference import BlockPixels, Inference, score_tiles
from geochange.engine.lattice import SceneBlocks
from geochange.engine.work import open_work
from geochange.pipeline.detect import tiling_of
from geochange.pipeline.options import DetectOptions
from geochange.scenes.pairing import open_scene
from geochange.scenes.tiling import Block

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks" / "out"


def made_scene(size: int) -> tuple[str, str]:
    """Return the paths of a synthetic pair, which is drawn if it is missing."""
    folder = OUT / f"scene-{size}"
    if not (folder / "after.tif").exists():
        make = [sys.executable, ROOT / "sample_data" / "make_scene.py", folder, "--size", size]
        more = ["--workers", os.cpu_count() or 1, "--compression", 1, "--no-truth-vector"]
        subprocess.run([str(part) for part in [*make, *more]], check=True, stdout=sys.stderr)
    return str(folder / "before.tif"), str(folder / "after.tif")


def run_detect(pair: tuple[str, str], arguments: list[str]) -> dict[str, float]:
    """One run in a process of its own: seconds, and the peak of its resident set in MB."""
    out = OUT / "run"
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "geochange", "detect", *pair, "-o", str(out), "-q", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"detect failed with status {status}")
    record = json.loads((out / "run.json").read_text())
    return {
        "seconds": seconds,
        "peak_mb": usage.ru_maxrss / 1024,
        "changes": record["changes"]["count"],
        "stages": record["seconds"],
    }


def run_passes(pair: tuple[str, str], name: str) -> float:
    """Seconds of `passes_only` in a process of its own, as `detect` has one."""
    start = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--passes-only", *pair, "--detector", name], check=True)
    return time.perf_counter() - start


def passes_only(pair: tuple[str, str], name: str) -> None:
    """The same fit and score passes with their reads, without writing anything."""
    options = DetectOptions(detector=name)
    scene = open_scene(pair, options)
    with open_work(None, None) as work:
        fitted = detector(name).fit(scene, SceneBlocks(scene, work))
        score_all(Inference(scene, fitted, tiling_of(scene, fitted, options)), work.crew)


def score_all(inference: Inference, crew: Crew) -> None:
    """Score every tile, and forget the scores."""

    def score(block: Block) -> None:
        for _ in score_tiles(inference, block, BlockPixels(*inference.scene.read(block.context))):
            pass

    for _ in crew.map_ordered(score, inference.tiling.blocks()):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=2, default=(10_000, 20_000))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--detector", default="change-vector")
    parser.add_argument("--passes-only", nargs=2, metavar=("BEFORE", "AFTER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.passes_only:
        passes_only(tuple(chosen.passes_only), chosen.detector)
        return
    OUT.mkdir(exist_ok=True)
    pairs = [made_scene(size) for size in chosen.sizes]
    runs: list[list[dict[str, float]]] = [[], []]
    alone = []
    for _ in range(chosen.repeats):
        for pair, done in zip(pairs, runs, strict=True):
            done.append(run_detect(pair, ["--detector", chosen.detector]))
        alone.append(run_passes(pairs[0], chosen.detector))
    seconds = [median(run["seconds"] for run in done) for done in runs]
    peaks = [max(run["peak_mb"] for run in done) for done in runs]
    answer = {
        "sizes": list(chosen.sizes),
        "detector": chosen.detector,
        "cores": os.cpu_count(),
        "peak_mb": [round(peak, 1) for peak in peaks],
        "peak_ratio": round(peaks[1] / peaks[0], 3),
        "seconds": [round(each, 2) for each in seconds],
        "time_ratio": round(seconds[1] / seconds[0], 3),
        "passes_only_seconds": round(median(alone), 2),
        "overhead": round(seconds[0] / median(alone), 3),
        "changes": [done[-1]["changes"] for done in runs],
        "stages": [done[-1]["stages"] for done in runs],
    }
    print(json.dumps(answer, indent=2))


if __name__ == "__main__":
    main()

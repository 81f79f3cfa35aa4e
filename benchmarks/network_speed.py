"""What running a network costs, as ratios within one run; medians of runs in turn. Prints JSON.

    python benchmarks/network_speed.py [--checkpoint FILE] [--size 4096] [--repeats 3]

- `detect_to_forward`: all of `geochange detect` (tile 1024, overlap 64), over the forward pass of the same network by
  the same engine on the same pixels, in memory, in tiles of 1024 without overlap, with as many threads;
- `not_the_network`: share of `detect`'s time, on one thread, that is not spent inside the network;
- `eager_to_default`: plain eager torch (contiguous, nothing folded, the allocator as it comes) over the default engine;
- `one_worker_to_two`: seconds of `--workers 1` over those of `--workers 2`, and the same without what either takes to
  start (`scoring`).

Each figure is measured in processes of their own. The pair is synthetic: smooth noise, three bands of 8 bits, no CRS.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from geochange.detectors.catalogue import find_checkpoint

OUT = Path(__file__).parent / "out" / "network-speed"
TILE, OVERLAP = 1024, 64


def made_pair(size: int) -> tuple[str, str]:
    """Return the paths of a synthetic pair, which is made if it is missing."""
    import rasterio
    from scipy import ndimage

    paths = OUT / f"before-{size}.tif", OUT / f"after-{size}.tif"
    rng = np.random.default_rng(0)
    for path in paths:
        if path.exists():
            continue
        coarse = ndimage.zoom(rng.normal(size=(3, size // 16, size // 16)), (1, 16, 16), order=1)
        values = np.clip(128 + 50 * coarse + rng.normal(0, 8, coarse.shape), 1, 255).astype(np.uint8)
        profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8"}
        with rasterio.open(path, "w", **profile, tiled=True, blockxsize=512, blockysize=512) as dataset:
            dataset.write(values)
    return str(paths[0]), str(paths[1])


def detect(pair: tuple[str, str], checkpoint: str, *arguments: str) -> dict[str, float]:
    """One run of the command: seconds of all of it, and of scoring."""
    out = OUT / "run"
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "geochange", "detect", *pair, "-o", str(out), "--checkpoint", checkpoint, "-q"]
    tiles = ["--tile-size", str(TILE), "--overlap", str(OVERLAP)]
    began = time.perf_counter()
    subprocess.run([*command, *tiles, *arguments], check=True)
    whole = time.perf_counter() - began
    return {"whole": whole, "scoring": json.loads((out / "run.json").read_text())["seconds"]["score"]}


def in_process(name: str, pair: tuple[str, str], checkpoint: str) -> float:
    """The figure that one of the functions below prints, in a process of its own."""
    command = [sys.executable, __file__, "--only", name, *pair, "--checkpoint", checkpoint]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def tiles_of(pair: tuple[str, str]) -> list[np.ndarray]:
    """(1, 2, band, y, x) float32 tiles of the pair without overlap."""
    import rasterio

    dates = []
    for path in pair:
        with rasterio.open(path) as dataset:
            dates.append(dataset.read())
    stacked = np.stack(dates).astype(np.float32)
    rows, cols = (range(0, length, TILE) for length in stacked.shape[-2:])
    return [stacked[None, :, :, r : r + TILE, c : c + TILE] for r in rows for c in cols]


def forward(pair: tuple[str, str], checkpoint: str, threads: int) -> float:
    """Seconds of the default engine alone."""
    from geochange.detectors.network import Recipe, scorer_of
    from geochange.detectors.networks.checkpoint import load_checkpoint

    values = load_checkpoint(checkpoint).about.normalisation
    mean, spread = np.array(values.mean), np.array(values.spread)
    gain, offset = (tuple((1 / spread).tolist()),), (tuple((-mean / spread).tolist()),)
    scorer = scorer_of(Recipe(checkpoint=checkpoint, digest="", gain=gain, offset=offset))
    return timed(lambda tile: scorer(tile, np.ones((1, 2, *tile.shape[-2:]), bool)), tiles_of(pair), threads)


def eager(pair: tuple[str, str], checkpoint: str) -> float:
    """Seconds of torch as it comes, on one thread."""
    import torch

    from geochange.detectors.networks.checkpoint import load_checkpoint

    torch.set_num_threads(1)
    loaded = load_checkpoint(checkpoint)
    network, values = loaded.build(), loaded.about.normalisation
    network = network.to(memory_format=torch.contiguous_format)
    network.encoder.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(),))
    mean, spread = (torch.tensor(each)[:, None, None] for each in (values.mean, values.spread))

    def score(tile: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            scored: np.ndarray = torch.sigmoid(network((torch.from_numpy(tile) - mean) / spread)).numpy()
        return scored

    return timed(score, tiles_of(pair), 1)


def timed(score: Callable[[np.ndarray], np.ndarray], tiles: list[np.ndarray], threads: int) -> float:
    """Seconds for all tiles but a first one, which warms up."""
    score(tiles[0])
    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as crew:
        for _ in crew.map(score, tiles):
            pass
    return time.perf_counter() - began


def outside(pair: tuple[str, str], checkpoint: str) -> float:
    """Share of all of `detect`, on one thread, that is not spent inside the network."""
    import geochange
    from geochange.detectors.networks import scorer

    spent, call = [0.0], scorer.Scorer.__call__

    def measured(self: scorer.Scorer, *arguments: np.ndarray, **more: bool) -> np.ndarray:
        began = time.perf_counter()
        scored: np.ndarray = call(self, *arguments, **more)
        spent[0] += time.perf_counter() - began
        return scored

    scorer.Scorer.__call__ = measured  # type: ignore[method-assign]
    out = OUT / "run-outside"
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    options = {"detector": "network", "detector_options": {"checkpoint": checkpoint}, "threads": 1}
    geochange.detect(*pair, out, tile_size=TILE, overlap=OVERLAP, **options)
    whole = time.perf_counter() - began
    return 1 - spent[0] / whole


ONLY: dict[str, Callable[[tuple[str, str], str], float]] = {
    "forward": lambda pair, checkpoint: forward(pair, checkpoint, os.cpu_count() or 1),
    "forward-1": lambda pair, checkpoint: forward(pair, checkpoint, 1),
    "eager": eager,
    "outside": outside,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="buildings", help="a file, or a detector that has one")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs=3, metavar=("NAME", "BEFORE", "AFTER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    checkpoint = find_checkpoint(chosen.checkpoint)
    if chosen.only:
        name, before, after = chosen.only
        print(ONLY[name]((before, after), checkpoint))
        return
    OUT.mkdir(parents=True, exist_ok=True)
    pair = made_pair(chosen.size)
    turns: dict[str, list[float]] = {}
    for _ in range(chosen.repeats):
        for name in ONLY:
            turns.setdefault(name, []).append(in_process(name, pair, checkpoint))
        for workers in ("1", "2"):
            for part, seconds in detect(pair, checkpoint, "--workers", workers).items():
                turns.setdefault(f"{part} of {workers}", []).append(seconds)
        turns.setdefault("detect", []).append(detect(pair, checkpoint)["whole"])
        print({name: round(values[-1], 3) for name, values in turns.items()}, file=sys.stderr, flush=True)
    middle = {name: median(values) for name, values in turns.items()}
    answer = {
        "size": chosen.size,
        "cores": os.cpu_count(),
        "detect_to_forward": middle["detect"] / middle["forward"],
        "not_the_network": middle["outside"],
        "eager_to_default": middle["eager"] / middle["forward-1"],
        "one_worker_to_two": middle["whole of 1"] / middle["whole of 2"],
        "one_worker_to_two_scoring": middle["scoring of 1"] / middle["scoring of 2"],
        "seconds": middle,
    }
    print(json.dumps(answer, indent=1, default=lambda value: round(value, 3)))


if __name__ == "__main__":
    main()

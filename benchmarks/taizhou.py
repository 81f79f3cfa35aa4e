"""Scores every detector without training on Landsat of Taizhou, with its automatic threshold; prints JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import rasterio

sys.path.insert(0, str(Path(__file__).parents[1]))
from geochange.arrays import Bools, Floats, Ints
from geochange.detectors.catalogue import detector
from tests.memory_blocks import change, fit, pair

DATA = Path(__file__).parents[2] / "shared" / "data" / "landsat_taizhou"
LEVELS = 254  # of a stored byte
RUNS = {
    "change-vector": ("change-vector", {}),
    "mad": ("ir-mad", {"iterations": "1"}),
    "ir-mad": ("ir-mad", {}),
    "slow-features": ("slow-features", {}),
    "pca-kmeans": ("pca-kmeans", {}),
}


def agreement(changed: Bools, labels: Ints) -> dict[str, float]:
    """F1 and Cohen's kappa of change where labels are 0 or 1."""
    hit = np.sum(changed & (labels == 1))
    false = np.sum(changed & (labels == 0))
    missed = np.sum(~changed & (labels == 1))
    still = np.sum(~changed & (labels == 0))
    total = hit + false + missed + still
    chance = ((hit + false) * (hit + missed) + (missed + still) * (false + still)) / total**2
    right = (hit + still) / total
    kappa = (right - chance) / (1 - chance)
    return {"f1": round(float(2 * hit / (2 * hit + false + missed)), 4), "kappa": round(float(kappa), 4)}


def best_f1(probability: Floats, labels: Ints) -> float:
    """F1 at the best of the thresholds that a byte can tell."""
    return max(agreement(probability >= level / LEVELS, labels)["f1"] for level in range(1, LEVELS + 1))


def main() -> None:
    images = [rasterio.open(DATA / name).read() for name in ("T1.tif", "T2.tif", "label.tif")]
    scene, labels = pair(images[0], images[1], block=256), images[2][0]
    report = {}
    for run, (name, options) in RUNS.items():
        fitted = fit(detector(name, options), scene)
        probability = np.rint(change(fitted, scene) * LEVELS) / LEVELS
        scores = {key: agreement(probability >= value, labels) for key, value in fitted.thresholds.items()}
        report[run] = {**scores.pop("default"), "best_f1": best_f1(probability, labels), "other_thresholds": scores}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

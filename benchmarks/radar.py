"""Scores of `log-ratio` beside `change-vector` on labelled radar pairs, both at their defaults; prints JSON.

    python benchmarks/radar.py

With --variants, the options of `log-ratio` one by one, and speckle filters in place of its smoothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from imagery import parser_with_data

import geochange

PAIRS = ("yellow_A", "yellow_B", "yellow_C", "yellow_D", "bern")
CHANGED = 127  # labels above this are change; others than 0 and 255 are blurred edges of the picture
VARIANTS: Mapping[str, Mapping[str, str]] = {
    "default": {},
    "smoothing 0.4": {"smoothing": "0.4"},
    "smoothing 0.6": {"smoothing": "0.6"},
    "smoothing 1.0": {"smoothing": "1.0"},
    "smoothing 1.5": {"smoothing": "1.5"},
    "no smoothing": {"smoothing": "0"},
    "no smoothing, boxcar 5": {"smoothing": "0", "filter": "boxcar", "window": "5"},
    "no smoothing, refined-lee 7": {"smoothing": "0", "filter": "refined-lee", "window": "7"},
    "no smoothing, frost 7": {"smoothing": "0", "filter": "frost", "window": "7"},
    "boxcar 3": {"filter": "boxcar", "window": "3"},
    "refined-lee 5": {"filter": "refined-lee", "window": "5"},
    "frost 5": {"filter": "frost", "window": "5"},
    "multitemporal 7": {"filter": "multitemporal", "window": "7"},
}


def scores_of(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return F1, the share of pixels that are right in percent (PCC), and kappa."""
    both, either = int((found & truth).sum()), int(found.sum()) + int(truth.sum())
    right = float((found == truth).mean())
    chance = found.mean() * truth.mean() + (1 - found.mean()) * (1 - truth.mean())
    kappa = (right - chance) / (1 - chance)
    return {"f1": round(2 * both / max(either, 1), 3), "pcc": round(100 * right, 2), "kappa": round(kappa, 3)}


def detect_pair(data: Path, pair: str, detector: str, options: Mapping[str, str]) -> dict[str, float]:
    """Score a pair at the detector's own threshold."""
    with TemporaryDirectory() as folder, rasterio.open(data / "radar" / f"{pair}_gt.bmp") as labels:
        images = (data / "radar" / f"{pair}_{date}.bmp" for date in (1, 2))
        found = geochange.detect(
            *images, Path(folder) / "out", detector=detector, detector_options=options, dtype="float32"
        )
        with rasterio.open(found.probability) as probability:
            return scores_of(probability.read(1) >= 0.5, labels.read(1) > CHANGED)


def with_mean(scores: Mapping[str, dict[str, float]]) -> dict[str, Any]:
    """Return the scores, and the mean of their F1."""
    return {**scores, "mean f1": round(float(np.mean([each["f1"] for each in scores.values()])), 3)}


def leave_one_out(report: Mapping[str, Mapping[str, Any]]) -> float:
    """Return the mean F1 of pairs, each with the strength of smoothing that is best on the others."""
    runs = [report[name] for name, options in VARIANTS.items() if "filter" not in options]

    def of_others(run: Mapping[str, Any], pair: str) -> float:
        return float(np.mean([run[other]["f1"] for other in PAIRS if other != pair]))

    chosen = [max(runs, key=partial(of_others, pair=pair))[pair]["f1"] for pair in PAIRS]
    return round(float(np.mean(chosen)), 3)


def main() -> None:
    """Print what the options ask for."""
    parser = parser_with_data(__doc__)
    parser.add_argument("--variants", action="store_true", help="options of log-ratio one by one")
    arguments = parser.parse_args()
    runs = VARIANTS if arguments.variants else {"log-ratio": {}, "change-vector": {}}
    report: dict[str, dict[str, Any]] = {}
    for name, options in runs.items():
        detector = "log-ratio" if arguments.variants else name
        report[name] = with_mean({pair: detect_pair(arguments.data, pair, detector, options) for pair in PAIRS})
    if arguments.variants:
        report["strength chosen on the other pairs"] = {"mean f1": leave_one_out(report)}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

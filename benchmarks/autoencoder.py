"""`change-vae`, trained on the pair itself, compared with `ir-mad`. Prints JSON.

    python benchmarks/autoencoder.py OUT [--steps 400] [--seeds 0 1 2]

Taizhou has sparse labels (0 unchanged, 1 changed, 255 not labelled): F1 and kappa at the detector's own threshold, and
the best F1 of any (`best_f1`), which measures the ranking. Pucallpa (1985 and 2020) has none: the share of its pixels
that is predicted as change, and Spearman's correlation of both detectors' scores; OUT has the pictures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from imagery import parser_with_data
from scipy import stats

import geochange
from geochange.arrays import Floats
from geochange.learning.options import TrainRunOptions
from geochange.learning.run_options import options_from
from geochange.learning.scoring import ProbabilityHistogram
from geochange.pipeline.options import EvaluateOptions
from geochange.pipeline.train import train

PAIRS = {
    "taizhou": ("landsat_taizhou/T1.tif", "landsat_taizhou/T2.tif"),
    "pucallpa": ("landsat_pucallpa/1985.tif", "landsat_pucallpa/2020.tif"),
}
LABELS = "landsat_taizhou/label.tif"


def train_on(pair: tuple[Path, Path], out: Path, steps: int, seed: int) -> Path:
    settings = {
        "network": "change-vae", "size": 96, "steps": steps, "batch": 8, "every": steps, "seed": seed,
        "average": 0.99, "network_options": {"widths": "32"},
    }  # fmt: skip
    return (
        train([str(path) for path in pair], out, options_from(TrainRunOptions, settings), overwrite=True).folder
        / "best.pt"
    )


def scored(pair: tuple[Path, Path], out: Path, **settings: Any) -> tuple[Floats, dict[str, Any]]:
    found = geochange.detect(*pair, out, overwrite=True, dtype="float32", **settings)
    with rasterio.open(found.probability) as dataset:
        return dataset.read(1), found.record


def labelled_figures(out: Path, truth: Path, probability: Floats, threshold: float) -> dict[str, float]:
    """F1 and kappa at a threshold, and the best F1 of any."""
    chosen = EvaluateOptions(ignore=(255,), threshold=threshold)
    pixels = geochange.evaluate(out / "probability.tif", truth, chosen).to_dict()["pixels"]
    with rasterio.open(truth) as dataset:
        labels = dataset.read(1)
    histogram = ProbabilityHistogram()
    histogram.add(probability[labels != 255], labels[labels != 255] == 1)
    best = float(np.max(histogram.f1()))
    low, high = pixels["intervals"]["f1"]
    return {"f1": pixels["f1"], "f1_low": low, "f1_high": high, "kappa": pixels["kappa"], "best_f1": best}


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    answer: dict[str, Any] = {}
    for name, (before, after) in PAIRS.items():
        pair = chosen.data / before, chosen.data / after
        reference, record = scored(pair, chosen.out / f"{name}-ir-mad", detector="ir-mad")
        runs = {"ir-mad": (reference, record, chosen.out / f"{name}-ir-mad")}
        for seed in chosen.seeds:
            checkpoint = train_on(pair, chosen.out / f"{name}-trained-{seed}", chosen.steps, seed)
            out = chosen.out / f"{name}-vae-{seed}"
            found = scored(pair, out, detector="network", detector_options={"checkpoint": str(checkpoint)})
            runs[f"change-vae, seed {seed}"] = (*found, out)
        for run, (probability, of_run, out) in runs.items():
            valid = np.isfinite(probability) & np.isfinite(reference)
            threshold = of_run["detector"]["thresholds"]["default"]
            figures = {
                "predicted": float((probability[valid] >= threshold).mean()),
                "correlation": float(stats.spearmanr(probability[valid], reference[valid]).statistic),
            }
            if name == "taizhou":
                figures |= labelled_figures(out, chosen.data / LABELS, probability, threshold)
            answer[f"{name}: {run}"] = {key: round(value, 4) for key, value in figures.items()}
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()

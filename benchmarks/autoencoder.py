"""`change-vae`, taught on the pair itself, beside `ir-mad`. Prints JSON.

    python benchmarks/autoencoder.py OUT [--steps 400] [--seeds 0 1 2]

Taizhou has sparse labels (0 unchanged, 1 changed, 255 not labelled): F1 and kappa at the detector's own threshold, and
the best F1 of any (`best_f1`), which says how good the ranking is. Pucallpa (1985 and 2020) has none: the share of its
pixels that is called, and Spearman's correlation of both detectors' scores; OUT has the pictures. The images are in
../shared/data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from scipy import stats

import geochange
from geochange.arrays import Floats
from geochange.learning.options import TrainRunOptions
from geochange.learning.run_options import options_from
from geochange.learning.scoring import ProbabilityHistogram
from geochange.pipeline.evaluate import EvaluateOptions
from geochange.pipeline.train import train

DATA = Path(__file__).parents[2] / "shared" / "data"
PAIRS = {
    "taizhou": (DATA / "landsat_taizhou" / "T1.tif", DATA / "landsat_taizhou" / "T2.tif"),
    "pucallpa": (DATA / "landsat_pucallpa" / "1985.tif", DATA / "landsat_pucallpa" / "2020.tif"),
}
LABELS = DATA / "landsat_taizhou" / "label.tif"


def teach(pair: tuple[Path, Path], out: Path, steps: int, seed: int) -> Path:
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


def labelled_figures(out: Path, probability: Floats, threshold: float) -> dict[str, float]:
    """F1 and kappa at a threshold, and the best F1 of any."""
    chosen = EvaluateOptions(ignore=(255,), threshold=threshold)
    pixels = geochange.evaluate(out / "probability.tif", LABELS, chosen).to_dict()["pixels"]
    with rasterio.open(LABELS) as dataset:
        labels = dataset.read(1)
    histogram = ProbabilityHistogram()
    histogram.add(probability[labels != 255], labels[labels != 255] == 1)
    best = float(np.max(histogram.f1()))
    low, high = pixels["intervals"]["f1"]
    return {"f1": pixels["f1"], "f1_low": low, "f1_high": high, "kappa": pixels["kappa"], "best_f1": best}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    answer: dict[str, Any] = {}
    for name, pair in PAIRS.items():
        reference, record = scored(pair, chosen.out / f"{name}-ir-mad", detector="ir-mad")
        runs = {"ir-mad": (reference, record, chosen.out / f"{name}-ir-mad")}
        for seed in chosen.seeds:
            checkpoint = teach(pair, chosen.out / f"{name}-taught-{seed}", chosen.steps, seed)
            out = chosen.out / f"{name}-vae-{seed}"
            found = scored(pair, out, detector="network", detector_options={"checkpoint": str(checkpoint)})
            runs[f"change-vae, seed {seed}"] = (*found, out)
        for run, (probability, of_run, out) in runs.items():
            valid = np.isfinite(probability) & np.isfinite(reference)
            threshold = of_run["detector"]["thresholds"]["default"]
            figures = {
                "called": float((probability[valid] >= threshold).mean()),
                "correlation": float(stats.spearmanr(probability[valid], reference[valid]).statistic),
            }
            if name == "taizhou":
                figures |= labelled_figures(out, probability, threshold)
            answer[f"{name}: {run}"] = {key: round(value, 4) for key, value in figures.items()}
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()

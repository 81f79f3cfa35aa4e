"""Scores of every training-free detector on Landsat of Taizhou, with its automatic threshold; prints JSON.

    python benchmarks/taizhou.py

The labels are sparse (0 unchanged, 1 changed, 255 not labelled).
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from imagery import parser_with_data

import geochange
from geochange.pipeline.options import EvaluateOptions

RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "difference": ("difference", {}),
    "change-vector": ("change-vector", {}),
    "mad (not iterated)": ("ir-mad", {"iterations": "1"}),
    "ir-mad": ("ir-mad", {}),
    "slow-features": ("slow-features", {}),
    "pca-kmeans": ("pca-kmeans", {}),
}


def main() -> None:
    scene, report = parser_with_data(__doc__).parse_args().data / "landsat_taizhou", {}
    for run, (name, options) in RUNS.items():
        with TemporaryDirectory() as folder:
            found = geochange.detect(
                scene / "T1.tif", scene / "T2.tif", Path(folder) / "out", detector=name, detector_options=options
            )
            scores = {}
            for method, threshold in found.record["detector"]["thresholds"].items():
                chosen = EvaluateOptions(ignore=(255,), threshold=min(threshold, 1.0))
                pixels = geochange.evaluate(found.probability, scene / "label.tif", chosen).to_dict()["pixels"]
                scores[method] = {measure: round(pixels[measure], 4) for measure in ("f1", "kappa")}
                scores[method]["f1_interval"] = [round(bound, 3) for bound in pixels["intervals"]["f1"]]
        report[run] = scores
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

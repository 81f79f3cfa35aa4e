"""Calibrate trained weights on the synthetic scenes held out, and score them there and on real pairs: LEVIR and DSIFN.

    python weights/landscape/score.py MADE RUN/best.pt [--real ../shared/data] [--keep FILE]

LEVIR labels nothing but buildings, and `landscape` finds changes of any kind: recall says what it makes of real
imagery, precision little; two detectors without training are scored beside it. `best` is the F1 at the threshold that
is best for those scenes. Intervals are of 95 %, from a bootstrap over scenes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import rasterio
import torch

import geochange
from geochange.datasets.collection import Collection, open_collection
from geochange.datasets.options import CollectionOptions
from geochange.detectors.networks.checkpoint import Checkpoint, load_checkpoint
from geochange.learning.calibration import calibrate
from geochange.learning.scoring import CollectionScores, ScoringOptions, pool_scores, score_items

TABLES = ("half", "one")
REAL = {"levir/val_256px_0.5m": 0.5, "levir/val_512px_1m": 1.0, "dsifn_256px": 2.0}  # metres a pixel
BESIDE, SCORED_BESIDE = ("ir-mad", "change-vector"), "levir/val_512px_1m"
COARSEST = 1.0  # metres a pixel; what is coarser is enlarged


def score(checkpoint: Checkpoint, collections: Sequence[Collection], gsd: float | None = None) -> CollectionScores:
    """Scores of a checkpoint, pooled over collections, at a pixel size."""
    network, options = checkpoint.build(), ScoringOptions(temperature=checkpoint.about.temperature, gsd=gsd)
    return pool_scores(
        item for each in collections for item in score_items(network, each, checkpoint.about.normalisation, options)
    )


def show(name: str, scores: CollectionScores, threshold: float) -> dict[str, float]:
    """Print the figures at a threshold, beside the best F1 at any."""
    figures, best = scores.figures(threshold), scores.histogram.best_threshold()
    rounded = {key: round(value, 3) for key, value in figures.items()}
    print(name, rounded, "best", round(scores.histogram.at(best)["f1"], 3), "at", best, flush=True)
    return figures


def score_beside(detector: str, folder: Path) -> None:
    """Print the figures of a detector without training, at its own threshold."""
    hits = false = missed = 0
    for label in sorted((folder / "label").iterdir()):
        pair = [str(next((folder / date).glob(f"{label.stem}.*"))) for date in "AB"]
        with TemporaryDirectory() as out:
            found = geochange.detect(*pair, Path(out) / "run", detector=detector)
            with rasterio.open(found.probability) as scores, rasterio.open(label) as labels:
                called, changed = scores.read(1, masked=True).filled(0) >= 127, labels.read(1) > 0
        hits += (called & changed).sum()
        false += (called & ~changed).sum()
        missed += (~called & changed).sum()
    figures = {
        "precision": hits / (hits + false),
        "recall": hits / (hits + missed),
        "f1": 2 * hits / (2 * hits + false + missed),
    }
    print(f"{SCORED_BESIDE} by {detector}", {key: round(float(value), 3) for key, value in figures.items()}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("made", type=Path, help="as make_scenes.py leaves it")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--real", type=Path, help="the folder with levir and dsifn_256px")
    parser.add_argument("--keep", type=Path, help="write the calibrated checkpoint here")
    chosen = parser.parse_args()
    options = CollectionOptions(bands=(1, 2, 3))
    held_out = [open_collection(chosen.made / f"{table}.csv", options, split="val") for table in TABLES]
    checkpoint = calibrate(load_checkpoint(chosen.checkpoint).halved(), held_out)
    threshold = checkpoint.about.thresholds["default"]
    print("temperature", round(checkpoint.about.temperature, 3), "threshold", threshold)
    figures = show("made", score(checkpoint, held_out), threshold)
    if chosen.real:
        for tiles, gsd in REAL.items():
            scores = score(
                checkpoint, [open_collection(chosen.real / tiles, CollectionOptions(gsd=gsd))], min(gsd, COARSEST)
            )
            show(tiles, scores, threshold)
        for detector in BESIDE:
            score_beside(detector, chosen.real / SCORED_BESIDE)
    if chosen.keep:
        about = replace(checkpoint.about, metrics=figures, trained_on="synthetic scenes")
        replace(checkpoint, about=about).save(chosen.keep)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()

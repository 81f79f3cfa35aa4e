"""Calibrate trained weights on the synthetic scenes held out, and score them there and on real pairs: LEVIR and DSIFN.

    python weights/landscape/score.py MADE RUN/best.pt OTHER/best.pt [--real ../shared/data] [--keep FILE]

Of several checkpoints the mean of their weights is scored. LEVIR labels nothing but buildings, and `landscape` finds
changes of any kind: recall says what it makes of real imagery, precision little. `best` is the F1 at the threshold that
is best for those scenes. Intervals are of 95 %, from a bootstrap over scenes. `benchmarks/without_labels.py` scores it
beside detectors without training.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from geochange.datasets.collection import Collection, open_collection
from geochange.datasets.options import CollectionOptions
from geochange.detectors.networks.checkpoint import Checkpoint, load_checkpoint
from geochange.learning.calibration import calibrate
from geochange.learning.optimising import mean_weights
from geochange.learning.scoring import CollectionScores, ScoringOptions, pool_scores, score_items

LOOKS, PIXELS = ("summer", "seasons"), ("0.5", "1", "2", "4", "10")
TRAINED_ON = "synthetic scenes, and changes pasted into images of Sentinel-2 (modified Copernicus data) and NAIP"
REAL = {"levir/val_256px_0.5m": 0.5, "levir/val_512px_1m": 1.0, "dsifn_256px": 2.0}  # metres a pixel


def score(checkpoint: Checkpoint, collections: Sequence[Collection]) -> CollectionScores:
    """Scores of a checkpoint, pooled over collections."""
    network, options = checkpoint.build(), ScoringOptions(temperature=checkpoint.about.temperature)
    return pool_scores(
        item for each in collections for item in score_items(network, each, checkpoint.about.normalisation, options)
    )


def show(name: str, scores: CollectionScores, threshold: float) -> dict[str, float]:
    """Print the figures at a threshold, beside the best F1 at any."""
    figures, best = scores.figures(threshold), scores.histogram.best_threshold()
    rounded = {key: round(value, 3) for key, value in figures.items()}
    print(name, rounded, "best", round(scores.histogram.at(best)["f1"], 3), "at", best, flush=True)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("made", type=Path, help="as make_scenes.py leaves it")
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--real", type=Path, help="the folder with levir and dsifn_256px")
    parser.add_argument("--keep", type=Path, help="write the calibrated checkpoint here")
    chosen = parser.parse_args()
    options = CollectionOptions(bands=(1, 2, 3))
    held_out = {
        look: [open_collection(chosen.made / f"{look}-{pixel}.csv", options, split="val") for pixel in PIXELS]
        for look in LOOKS
    }
    given = [load_checkpoint(path) for path in chosen.checkpoints]
    mean = replace(given[0], weights=mean_weights([each.weights for each in given]))
    checkpoint = calibrate(mean.halved(), [each for both in held_out.values() for each in both])
    threshold = checkpoint.about.thresholds["default"]
    print("temperature", round(checkpoint.about.temperature, 3), "threshold", threshold)
    figures = {look: show(look, score(checkpoint, scenes), threshold) for look, scenes in held_out.items()}
    if chosen.real:
        for tiles, gsd in REAL.items():
            scenes = [open_collection(chosen.real / tiles, CollectionOptions(gsd=gsd))]
            show(tiles, score(checkpoint, scenes), threshold)
    if chosen.keep:
        about = replace(checkpoint.about, metrics=figures["seasons"], trained_on=TRAINED_ON)
        replace(checkpoint, about=about).save(chosen.keep)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()

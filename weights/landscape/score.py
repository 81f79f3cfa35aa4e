"""Calibrate trained weights on the made scenes held out, and score them there and on LEVIR's validation scenes.

    python weights/landscape/score.py MADE RUN/best.pt [--levir ../shared/data/levir] [--keep FILE]

LEVIR labels nothing but buildings, and `landscape` finds changes of any kind: recall says what it makes of real
imagery, precision little. `best` is the F1 at the threshold that is best for those scenes. Intervals are of 95 %, from
a bootstrap over scenes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from geochange.detectors.networks.checkpoint import Checkpoint, load_checkpoint
from geochange.learning.calibration import calibrate
from geochange.learning.datasets import Collection, CollectionOptions, open_collection, open_folder
from geochange.learning.scoring import CollectionScores, ScoringOptions, pool_scores, score_items

TABLES = ("half", "one")
TILES = {"val_256px_0.5m": 0.5, "val_512px_1m": 1.0}  # metres a pixel


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
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--levir", type=Path)
    parser.add_argument("--keep", type=Path, help="write the calibrated checkpoint here")
    chosen = parser.parse_args()
    options = CollectionOptions(bands=(1, 2, 3))
    held_out = [open_collection(chosen.made / f"{table}.csv", options, split="val") for table in TABLES]
    checkpoint = calibrate(load_checkpoint(chosen.checkpoint).halved(), held_out)
    threshold = checkpoint.about.thresholds["default"]
    print("temperature", round(checkpoint.about.temperature, 3), "threshold", threshold)
    figures = show("made", score(checkpoint, held_out), threshold)
    if chosen.levir:
        for tiles, gsd in TILES.items():
            scores = score(checkpoint, [open_folder(chosen.levir / tiles, gsd=gsd)])
            show(tiles, scores, threshold)
    if chosen.keep:
        about = replace(checkpoint.about, metrics=figures, trained_on="made scenes")
        replace(checkpoint, about=about).save(chosen.keep)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()

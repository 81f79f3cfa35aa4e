"""Calibrate a trained checkpoint on LEVIR's even validation scenes, and score it on the odd ones.

    python weights/buildings/score.py ../shared/data/levir RUN/best.pt [--augment] [--scenes] [--keep FILE]

Of several checkpoints, runs that began alike, the mean of their weights is taken (Wortsman 2022). Temperature and
thresholds are chosen on the even scenes alone. Intervals are of 95 %, from a bootstrap over scenes.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from train import GSD, even_scenes

from geochange.datasets.collection import Collection, open_collection
from geochange.datasets.options import CollectionOptions
from geochange.detectors.networks.checkpoint import Checkpoint, load_checkpoint
from geochange.learning.calibration import calibrate
from geochange.learning.optimising import mean_weights
from geochange.learning.scoring import CollectionScores, ScoringOptions, pool_scores, score_items


def score(checkpoint: Checkpoint, collection: Collection, *, augment: bool) -> CollectionScores:
    """Scores of a checkpoint by scene."""
    options = ScoringOptions(augment=augment, gsd=GSD, temperature=checkpoint.about.temperature)
    return pool_scores(score_items(checkpoint.build(), collection, checkpoint.about.normalisation, options))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("levir", type=Path)
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--augment", action="store_true", help="average over flips and turns")
    parser.add_argument("--keep", type=Path, help="write the calibrated checkpoint here")
    parser.add_argument("--scenes", action="store_true", help="print each scene")
    arguments = parser.parse_args()
    whole = open_collection(arguments.levir / "val_256px_0.5m", CollectionOptions(gsd=GSD))
    even = even_scenes(whole)
    odd = sorted(set(range(len(whole))) - set(even))
    checkpoints = [load_checkpoint(path) for path in arguments.checkpoints]
    checkpoint = replace(checkpoints[0], weights=mean_weights([each.weights for each in checkpoints])).halved()
    checkpoint = calibrate(checkpoint, [whole.part(even)])
    print("temperature", round(checkpoint.about.temperature, 3), "thresholds", checkpoint.about.thresholds)
    chosen = score(checkpoint, whole.part(even), augment=arguments.augment)
    threshold = chosen.histogram.best_threshold()
    for name, scores in (("even", chosen), ("odd", score(checkpoint, whole.part(odd), augment=arguments.augment))):
        figures = scores.figures(threshold)
        print(name, f"threshold {threshold:.3f}", {key: round(value, 4) for key, value in figures.items()}, flush=True)
        if arguments.scenes and name == "odd":
            for scene, histogram in sorted(scores.scenes.items()):
                print(scene, {key: round(value, 3) for key, value in histogram.at(threshold).items()})
    if arguments.keep:
        figures = {f"odd_{key}": value for key, value in figures.items()}
        about = replace(checkpoint.about, metrics={**chosen.figures(threshold), **figures})
        checkpoint = replace(checkpoint, about=about)
        checkpoint.save(arguments.keep)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()

"""Train `micro-changes`: synthesize changes in single images, and train change-rcnn to find them.

    python weights/micro_changes/train.py ../shared/data/levir OUT [--steps 3500] [--network change-selective]

OUT/micro_changes.pt is the checkpoint in 16 bits, with thresholds from the made validation scenes. What is there
already is gone on with. The labels of LEVIR are not used. Other networks are trained in the same way to be compared.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from geochange.datasets.collection import open_collection
from geochange.datasets.options import SynthesizeOptions
from geochange.detectors.networks.checkpoint import Checkpoint, load_checkpoint
from geochange.learning.calibration import calibrate
from geochange.learning.options import TrainRunOptions
from geochange.pipeline.synthesize import synthesize
from geochange.pipeline.train import train

TRAINING = SynthesizeOptions(sizes=(3, 20), density=700)
SCORING = SynthesizeOptions(sizes=(4, 16), density=500, shapes=("square", "blob"), kinds=("appeared", "vanished"))
MADE = {
    "made1m": ("train_512px_1m/A", replace(TRAINING, copies=2, seed=1)),
    "made05m": ("train_256px_0.5m/B", replace(TRAINING, copies=3, seed=2)),
}
ABOUT = "changes made in images of LEVIR-CD's training set (Texas, Google Earth, 0.5 and 1 m); research only"


def make_data(data: Path, out: Path) -> None:
    """Pairs to learn from, and the scenes of an even and of an odd number to choose and to report with."""
    for name, (images, options) in MADE.items():
        if not (out / name).exists():
            synthesize([data / images], out / name, options)
    for odd, name in enumerate(("val_even", "val_odd")):
        images = [each for each in sorted((data / "val_512px_1m" / "A").iterdir()) if int(each.stem[3:6]) % 2 == odd]
        if not (out / name).exists():
            synthesize(images, out / name, replace(SCORING, seed=3 + odd))


def publish(checkpoint: Checkpoint) -> Checkpoint:
    """Of any pixel size, for a change of a few pixels is one; and in 16 bits."""
    about = replace(checkpoint.about, gsd=None, trained_on=ABOUT, bands=("red", "green", "blue"))
    return replace(checkpoint, about=about).halved()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of LEVIR")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--network", default="change-rcnn")
    parser.add_argument("--publish", type=Path, help="only make micro_changes.pt of this checkpoint")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    make_data(options.data, options.out)
    best = options.publish
    if best is None:
        run = TrainRunOptions(
            val=f"{options.out / 'val_even'}@1",
            network=options.network,
            size=128,
            steps=options.steps,
            every=500,
            loaders=os.cpu_count() or 1,
        )
        folder = options.out / options.network
        train([f"{options.out}/made1m@1", f"{options.out}/made05m@0.5"], folder, run, resume=True)
        best = folder / "best.pt"
    scored = calibrate(load_checkpoint(best), [open_collection(options.out / "val_even")])
    publish(scored).save(options.out / "micro_changes.pt")


if __name__ == "__main__":
    main()

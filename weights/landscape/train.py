"""Train the weights of the detector `landscape` again, on synthetic scenes alone.

    python weights/landscape/make_scenes.py MADE
    geochange train MADE/half.csv MADE/one.csv -o RUN1 --bands 1,2,3 --network-option cell=13 \
        --size 208 --batch 16 --steps 4000
    python weights/landscape/train.py MADE RUN2 --from RUN1/best.pt --steps 1200

In the second part the look of each date varies much more than synthetic scenes do: light, season and sensors of real
images differ in ways of their own. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from geochange.datasets.collection import open_collection
from geochange.datasets.options import CollectionOptions
from geochange.datasets.variation import GeometryOptions, LookOptions
from geochange.detectors.networks.checkpoint import load_checkpoint
from geochange.engine.progress import Relay, Silent
from geochange.learning.options import TrainOptions
from geochange.learning.samples import SampleOptions, TrainingSamples
from geochange.learning.training import fit

TABLES = ("half", "one")
LOOK = LookOptions(
    share=1.0, brightness=1.0, contrast=0.5, colour=0.45, haze=0.4, hazy=0.2, blur=1.6, blurred=0.4, sharpened=0.2,
    noise=0.25, noisy=0.4,
)  # fmt: skip
GEOMETRY = GeometryOptions(misregistration=2.0, misregistered=0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("made", type=Path, help="as make_scenes.py leaves it")
    parser.add_argument("run", type=Path)
    parser.add_argument("--from", dest="start", type=Path, required=True, help="the checkpoint to begin with")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=7e-4)
    parser.add_argument("--every", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    chosen.run.mkdir(parents=True, exist_ok=True)
    options = CollectionOptions(bands=(1, 2, 3))
    training, held_out = (
        [open_collection(chosen.made / f"{table}.csv", options, split=split) for table in TABLES]
        for split in ("train", "val")
    )
    start = load_checkpoint(chosen.start)
    samples = TrainingSamples(
        training, start.about.normalisation, SampleOptions(size=208, seed=chosen.seed, geometry=GEOMETRY, look=LOOK)
    )
    fitting = TrainOptions(**{name: getattr(chosen, name) for name in ("steps", "batch", "rate", "every", "seed")})

    def show(row: Mapping[str, float]) -> None:
        print({name: round(value, 4) for name, value in row.items()}, flush=True)

    fit(
        start.build(),
        replace(start.about, metrics={}),
        samples,
        held_out,
        chosen.run,
        fitting,
        listener=Relay(Silent(), show),
    )


if __name__ == "__main__":
    main()

"""Train the weights of geochange-buildings again, from the public training scenes of LEVIR-CD.

    python weights/buildings/make_scenes.py MADE
    python weights/buildings/train.py ../shared/data/levir RUN1 --steps 4000 --made MADE/made.csv
    torchrun --nproc-per-node 2 weights/buildings/train.py ../shared/data/levir RUN2 --from RUN1/best.pt \
        --made MADE/made.csv --steps 5200 --batch 4 --rate 5e-4 --frozen 2 --native 0.65 --gentle \
        --keep-statistics --every 300 --seed 6
    python weights/buildings/train.py ../shared/data/levir RUN3 --from RUN2/best.pt --made MADE/made.csv --steps 4000 \
        --batch 32 --rate 7e-4 --native 0.65 --gentle --every 500 --workers 3 --seed 21
    python weights/buildings/train.py ../shared/data/levir RUN4 --from RUN2/best.pt --made MADE/made.csv --steps 4000 \
        --batch 32 --rate 1e-3 --native 0.5 --every 500 --workers 3 --seed 22
    python weights/buildings/score.py ../shared/data/levir RUN3/best.pt RUN4/best.pt --keep buildings.pt

The second part goes on from the averaged weights of the first, with the encoder's two finest scales and the statistics
of batch normalisation as they are, which saves a third of the time, and with gentler variation: after the first,
samples as they are drawn for training are still harder than those held out. The third is for a GPU (0.14 s an update
with five other trainings beside it on an H200): two runs, whose weights are averaged. A run that was stopped goes on
where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from geochange.datasets.collection import Collection, open_collection
from geochange.datasets.options import CollectionOptions
from geochange.datasets.variation import GeometryOptions, LookOptions
from geochange.detectors.networks.checkpoint import About, load_checkpoint, use_pretrained_encoder
from geochange.detectors.networks.registry import build_network
from geochange.engine.progress import Relay, Silent
from geochange.learning.options import TrainOptions
from geochange.learning.samples import SampleOptions, TrainingSamples, measure_normalisation
from geochange.learning.training import fit

GSD = 0.5  # metres a pixel
ENLARGED = 1.1  # the training tiles were made from enlarged images (1 to 1.2 times), those for validation were not
NETWORK, OPTIONS = "attention-net", {"cell": 13}  # looks at images enlarged 1.23 times: houses are small
GENTLE_GEOMETRY = GeometryOptions(
    rotation=5.0, shear=2.0, scale=(0.85, 1.2), resampled=0.3, misregistered=0.0, centred=0.6
)
GENTLE_LOOK = LookOptions(
    share=0.6, brightness=0.2, contrast=0.15, colour=0.08, hazy=0.05, blurred=0.1, sharpened=0.3, noise=0.08, noisy=0.1
)


def even_scenes(collection: Collection) -> list[int]:
    """Items of LEVIR's validation scenes with an even number: checkpoints and thresholds are chosen on these."""
    return [k for k, item in enumerate(collection.items) if int(item.pair.name[3:6]) % 2 == 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("levir", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps", type=int, default=2300)
    parser.add_argument("--from", dest="start", type=Path, help="a checkpoint whose weights to begin with")
    parser.add_argument("--batch", type=int, default=8, help="batch size, on each process")
    parser.add_argument("--workers", type=int, default=1, help="processes that read samples")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--loss", default="bce-dice")
    parser.add_argument("--frozen", type=int, default=0, help="scales of the encoder that stay as they are")
    parser.add_argument("--native", type=float, default=0.45, help="share of samples from the tiles of 0.5 m")
    parser.add_argument("--made", type=Path, help="the table of synthetic scenes, see make_scenes.py")
    parser.add_argument("--made-share", type=float, default=0.06)
    parser.add_argument("--keep-statistics", action="store_true", help="of batch normalisation")
    parser.add_argument("--size", type=int, default=208, help="rows and columns of a sample")
    parser.add_argument("--gentle", action="store_true", help="vary samples less")
    parser.add_argument("--every", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    real = 1.0 if arguments.made is None else 1 - arguments.made_share
    training = [
        open_collection(arguments.levir / name, CollectionOptions(gsd=gsd / ENLARGED, share=share * real))
        for name, gsd, share in (
            ("train_512px_1m", 1.0, 1 - arguments.native),
            ("train_256px_0.5m", 0.5, arguments.native),
        )
    ]
    if arguments.made is not None:
        options = CollectionOptions(bands=(1, 2, 3), share=arguments.made_share)
        training.append(open_collection(arguments.made, options))
    held_out = open_collection(arguments.levir / "val_256px_0.5m", CollectionOptions(gsd=0.5))
    held_out = held_out.part(even_scenes(held_out))
    network = build_network(NETWORK, OPTIONS)
    if arguments.start is None:
        normalisation, value_range = measure_normalisation(training)
        use_pretrained_encoder(network)
    else:
        start = load_checkpoint(arguments.start)
        normalisation, value_range = start.about.normalisation, start.about.value_range
        network.load_state_dict(start.weights)
    about = About(
        network=NETWORK,
        options={"bands": 3, "classes": ("change",), **OPTIONS},
        bands=("red", "green", "blue"),
        normalisation=normalisation,
        value_range=value_range,
        gsd=(0.3, 0.8),
        trained_on="LEVIR-CD (training scenes)" + (", synthetic scenes" if arguments.made else ""),
    )
    drawn = SampleOptions(size=arguments.size, gsd=GSD, seed=arguments.seed)
    if arguments.gentle:
        drawn = replace(drawn, geometry=GENTLE_GEOMETRY, look=GENTLE_LOOK)
    samples = TrainingSamples(training, normalisation, drawn)
    options = TrainOptions(
        **{name: getattr(arguments, name) for name in ("steps", "batch", "rate", "loss", "frozen", "every", "seed")},
        loaders=arguments.workers,
        batch_statistics=not arguments.keep_statistics,
    )

    def show(row: Mapping[str, float]) -> None:
        print({name: round(value, 4) for name, value in row.items()}, flush=True)

    fit(network, about, samples, [held_out], arguments.run, options, listener=Relay(Silent(), show))


if __name__ == "__main__":
    main()

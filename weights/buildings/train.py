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
    python weights/buildings/score.py ../shared/data/levir RUN3/best.pt RUN4/best.pt --keep RUN34.pt
    LAST="--from RUN34.pt --cell 10 --size 200 --steps 300 --rate 3e-4 --average 0.99 --frozen 2 --native 0.65 \
        --gentle --keep-statistics --every 150"
    python weights/buildings/train.py ../shared/data/levir RUN5 $LAST --edges 1
    python weights/buildings/train.py ../shared/data/levir RUN6 $LAST --mix 0.5
    python weights/buildings/score.py ../shared/data/levir RUN5/best.pt RUN6/best.pt --keep buildings.pt

The second part goes on from the averaged weights of the first, with the encoder's two finest scales and the statistics
of batch normalisation as they are, which saves a third of the time, and with gentler variation: after the first,
samples as they are drawn for training are still harder than those held out. The third is for a GPU (0.14 s an update
with five other trainings beside it on an H200): two runs, whose weights are averaged. The fourth looks at images
enlarged more, in short runs that differ, whose weights are averaged again. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geochange.arrays import IGNORE
from geochange.datasets.collection import Collection, open_collection
from geochange.datasets.options import CollectionOptions
from geochange.datasets.variation import GeometryOptions, LookOptions
from geochange.detectors.networks.attention_net import AttentionNet
from geochange.detectors.networks.checkpoint import About, load_checkpoint, use_pretrained_encoder
from geochange.detectors.networks.contract import Batch, Criterion, supervise
from geochange.engine.progress import Relay, Silent
from geochange.learning.losses import cross_entropy
from geochange.learning.options import TrainOptions
from geochange.learning.samples import SampleOptions, TrainingSamples, measure_normalisation
from geochange.learning.training import fit

GSD = 0.5  # metres a pixel
ENLARGED = 1.1  # the training tiles were made from enlarged images (1 to 1.2 times), those for validation were not
NETWORK, CELL = "attention-net", 13  # looks at images enlarged 1.23 times: houses are small
OTHERS = 10_000_000  # numbers of the samples that parts are taken from
GENTLE_GEOMETRY = GeometryOptions(
    rotation=5.0, shear=2.0, scale=(0.85, 1.2), resampled=0.3, misregistered=0.0, centred=0.6
)
GENTLE_LOOK = LookOptions(
    share=0.6, brightness=0.2, contrast=0.15, colour=0.08, hazy=0.05, blurred=0.1, sharpened=0.3, noise=0.08, noisy=0.1
)


EDGE = 2  # pixels of an edge on each side


class EdgeNet(AttentionNet):
    """The network, with pixels near an edge of the labels counted once more in its loss."""

    edges = 0.0
    """Weight of their cross-entropy."""

    def loss(self, batch: Batch, criterion: Criterion) -> Tensor:
        """As for every network, and that of the edges."""
        elsewhere = ~near_edges(batch.labels)

        def both(logits: Tensor, labels: Tensor) -> Tensor:
            return criterion(logits, labels) + self.edges * cross_entropy(logits, labels.masked_fill(elsewhere, IGNORE))

        return supervise(self.outputs(batch.dates), batch.labels, both)


def near_edges(labels: Tensor) -> Tensor:
    """(n, y, x) labels -> where both change and no change lie within two pixels."""
    change, side = (labels == 1).float(), 2 * EDGE + 1
    most, least = (functional.max_pool2d(sign * change, side, 1, EDGE) for sign in (1, -1))
    return most + least > 0


class MixedSamples(TrainingSamples):
    """Samples of which some hold a rectangle of another one (Yun et al. 2019)."""

    share = 0.0
    """Of the samples that do."""

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """As `TrainingSamples`."""
        dates, labels = super().__getitem__(number)
        rng = np.random.default_rng([self.options.seed, number, 1])
        if rng.random() >= self.share:
            return dates, labels
        others = super().__getitem__(number + OTHERS)
        sides = (np.array(labels.shape) * rng.uniform(0.3, 0.7, 2)).astype(int)
        row, col = rng.integers(np.array(labels.shape) - sides)
        place = (..., slice(row, row + sides[0]), slice(col, col + sides[1]))
        for mine, other in zip((dates, labels), others, strict=True):
            mine[place] = other[place]
        return dates, labels


def even_scenes(collection: Collection) -> list[int]:
    """Items of LEVIR's validation scenes with an even number: checkpoints and thresholds are chosen on these."""
    return [k for k, item in enumerate(collection.items) if int(item.pair.name[3:6]) % 2 == 0]


def arguments_of() -> argparse.Namespace:
    """Read the command line."""
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
    parser.add_argument("--cell", type=int, default=CELL, help="images are enlarged 16 / cell times")
    parser.add_argument("--edges", type=float, default=0.0, help="weight of pixels near edges, beside that of all")
    parser.add_argument("--mix", type=float, default=0.0, help="share of samples that hold a part of another one")
    parser.add_argument("--average", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--size", type=int, default=208, help="rows and columns of a sample")
    parser.add_argument("--gentle", action="store_true", help="vary samples less")
    parser.add_argument("--every", type=int, default=250)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of()
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
    options = {"bands": 3, "classes": ("change",), "cell": arguments.cell}
    network = EdgeNet(EdgeNet.Options(**options))
    network.edges = arguments.edges
    if arguments.start is None:
        normalisation, value_range = measure_normalisation(training)
        use_pretrained_encoder(network)
    else:
        start = load_checkpoint(arguments.start)
        normalisation, value_range = start.about.normalisation, start.about.value_range
        network.load_state_dict(start.weights)
    about = About(
        network=NETWORK,
        options=options,
        bands=("red", "green", "blue"),
        normalisation=normalisation,
        value_range=value_range,
        gsd=(0.3, 0.8),
        trained_on="LEVIR-CD (training scenes)" + (", synthetic scenes" if arguments.made else ""),
    )
    drawn = SampleOptions(size=arguments.size, gsd=GSD, seed=arguments.seed)
    if arguments.gentle:
        drawn = replace(drawn, geometry=GENTLE_GEOMETRY, look=GENTLE_LOOK)
    samples = MixedSamples(training, normalisation, drawn)
    samples.share = arguments.mix
    given = ("steps", "batch", "rate", "loss", "frozen", "every", "seed", "average")
    fitting = TrainOptions(
        **{name: getattr(arguments, name) for name in given},
        loaders=arguments.workers,
        batch_statistics=not arguments.keep_statistics,
    )

    def show(row: Mapping[str, float]) -> None:
        print({name: round(value, 4) for name, value in row.items()}, flush=True)

    fit(network, about, samples, [held_out], arguments.run, fitting, listener=Relay(Silent(), show))


if __name__ == "__main__":
    main()

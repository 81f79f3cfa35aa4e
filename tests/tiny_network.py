"""A network, labelled pairs and a run, small enough to be trained within a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from geochange.datasets.collection import Collection, open_collection
from geochange.datasets.variation import NO_GEOMETRY, NO_LOOK
from geochange.detectors.networks.checkpoint import About, Normalisation
from geochange.detectors.networks.contract import Network, outputs_needed
from geochange.learning.options import TrainOptions
from geochange.learning.samples import SampleOptions, TrainingSamples

NORMALISATION = Normalisation(mean=(100.0, 100.0, 100.0), spread=(50.0, 50.0, 50.0))
OPTIONS = TrainOptions(
    steps=6, batch=2, every=3, loaders=0, rate=0.01, warmup=0, loss="cross-entropy", average=0.5, device="cpu"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyOptions:
    bands: int = 3
    classes: tuple[str, ...] = ("change",)
    width: int = 4
    widths: tuple[int, ...] = (4, 4)
    noise: float = 0.0


class TinyNet(Network):
    """Two convolutions, without normalisation; noise, where it is asked for, is torch's."""

    name = "tiny"
    Options = TinyOptions
    stride = 4
    receptive_radius = 2

    def __init__(self, options: TinyOptions) -> None:
        super().__init__(options)
        self.encoder = nn.Conv2d(2 * options.bands, options.width, 3, padding=1)
        self.head = nn.Conv2d(options.width, outputs_needed(options.classes), 3, padding=1)

    def outputs(self, dates: Tensor) -> list[Tensor]:
        x = torch.relu(self.encoder(dates.flatten(1, 2)))
        if self.training and self.options.noise:
            x = x + self.options.noise * torch.randn_like(x)
        return [self.head(x)]


class ImageEncoder(nn.Module):
    """An encoder whose features are the image itself."""

    feature_info = "one scale"

    def forward(self, x: Tensor) -> list[Tensor]:
        return [x * 1.0]


def write_pairs(folder: Path, names: list[str], side: int = 24, labels: tuple[int, ...] = (255,)) -> Path:
    """Folders A, B and label; squares of change are bright in B."""
    rng = np.random.default_rng(0)
    for letter in ("A", "B", "label"):
        (folder / letter).mkdir(parents=True)
    for name in names:
        before, truth = rng.integers(60, 120, (side, side, 3)).astype(np.uint8), np.zeros((side, side), np.uint8)
        after = before + rng.integers(0, 10, before.shape).astype(np.uint8)
        for value in labels:
            row, col = rng.integers(0, side - 8, 2)
            truth[row : row + 8, col : col + 8] = value
            after[row : row + 8, col : col + 8] = 240
        for letter, image in (("A", before), ("B", after), ("label", truth)):
            Image.fromarray(image).save(folder / letter / f"{name}.png")
    return folder


def about(**changes: object) -> About:
    settings = {
        "network": "tiny",
        "options": {"bands": 3, "classes": ("change",)},
        "bands": ("red", "green", "blue"),
        "normalisation": NORMALISATION,
        "value_range": (0.0, 255.0),
    }
    return About(**{**settings, **changes})


def make_network(seed: int = 0, **options: object) -> TinyNet:
    torch.manual_seed(seed)
    return TinyNet(TinyOptions(**options))


def make_samples(collection: Collection) -> TrainingSamples:
    options = SampleOptions(size=16, geometry=NO_GEOMETRY, look=NO_LOOK)
    return TrainingSamples([collection], NORMALISATION, options)


def open_pairs(folder: Path, count: int = 6) -> Collection:
    """Written where they do not lie already."""
    if not folder.exists():
        write_pairs(folder, [f"pair{k}" for k in range(count)])
    return open_collection(folder)


def break_image(path: Path) -> None:
    """Turn a byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)

"""How a network is fitted, and what that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from geochange.detectors.networks.engines import PRECISIONS
from geochange.errors import BadOption
from geochange.learning.losses import LOSSES


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How a network is fitted."""

    steps: int = 3000  # updates of the weights
    batch: int = 8  # samples of one forward pass, on each process
    accumulate: int = 1  # forward passes of one update
    loss: str = "bce-dice"
    rate: float = 1e-3  # learning rate of AdamW
    encoder_rate: float = 0.5  # relative, of a pretrained encoder
    frozen: int = 0  # scales of the encoder that stay as they are, the finest first
    statistics: bool = True  # batch normalisation measures each batch, else it keeps the means and spreads that it has
    weight_decay: float = 0.01
    warmup: int = 200  # steps over which the rate grows, before it falls as a cosine; at most a quarter of all
    clip: float = 5.0  # largest norm of a gradient
    average: float = 0.998  # decay of the averaged weights, which are those that are kept
    precision: str = "fp32"
    device: str = "auto"
    every: int = 250  # steps of an epoch: after each the network is scored and its state saved
    patience: int | None = None  # epochs without a better F1 after which it stops; None: never
    workers: int = 1  # processes that read samples
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise BadOption(f"loss {self.loss!r} is not one of {', '.join(LOSSES)}")
        if self.precision not in PRECISIONS:
            raise BadOption(f"precision {self.precision!r} is not one of {', '.join(PRECISIONS)}")
        least = {
            "steps": 1,
            "batch": 1,
            "accumulate": 1,
            "every": 1,
            "patience": 1,
            "workers": 0,
            "warmup": 0,
            "frozen": 0,
            "seed": 0,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise BadOption(f"{name} {value} must be at least {bound}")
        for name in ("rate", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadOption(f"{name} {getattr(self, name)} must be above 0")
        if not 0 <= self.average < 1:
            raise BadOption(f"average {self.average} must lie in 0..1, below 1")

"""What every network is: dates in, logits out; a batch in, a loss out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

OBJECT = 256
"""What an object's number is multiplied with where it is added to a label, for networks of objects."""

Criterion = Callable[[Tensor, Tensor], Tensor]
"""(n, k, y, x) logits and (n, y, x) labels -> the loss, a scalar."""

PIXEL_POWERS: Mapping[str, int] = {"size": 2, "place": 1}
"""Layers that are measured in pixels -> the power of their side."""
PLACE = "place"
"""The layer that points to the middle of the change that a pixel lies in: pixels to the right, and down."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Labelled samples of one size."""

    dates: Tensor
    """(n, time, band, y, x) float32, normalised; 0 where a pixel holds no data."""

    labels: Tensor
    """(n, y, x) int64: 0 where nothing changed, k for the k-th class, IGNORE; for networks of objects, OBJECT times a
    number may be added where objects are distinguished."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(self.dates.to(device, non_blocking=True), self.labels.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """In memory that a GPU can copy from while it computes; `DataLoader` asks for it."""
        return Batch(self.dates.pin_memory(), self.labels.pin_memory())


class Network(nn.Module, ABC):
    """A network over two dates or more; `options` is a frozen dataclass, and all that is needed to build it again."""

    name: ClassVar[str]
    Options: ClassVar[type[Any]]
    dates: ClassVar[int | None] = 2
    """How many dates it compares; None for two and more."""
    supervised: ClassVar[bool] = True
    """Whether it is trained with labels."""
    objects: ClassVar[bool] = False
    """Whether it gives boxes of objects beside its map, see `object_network`."""

    stride: int
    """Moving the input by a multiple of this moves the output by as much; also, sides must be multiples of it."""

    receptive_radius: int
    """Pixels on each side that a score can depend on."""

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what can be found."""
        names: tuple[str, ...] = tuple(self.options.classes)
        return names

    def layers(self, dates: int) -> Mapping[str, int]:
        """Name what it gives beside logits of a series of so many dates: name -> bands."""
        return {}

    @abstractmethod
    def outputs(self, dates: Tensor) -> Sequence[Tensor]:
        """Logits (n, k, y, x), then those of coarser auxiliary heads, (n, k, y/s, x/s), which only training needs."""

    def forward(self, dates: Tensor) -> Tensor:
        """(n, time, band, y, x) normalised dates -> (n, k, y, x) logits; see `probability`."""
        return self.outputs(dates)[0]

    def with_layers(self, dates: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """As `forward`, and each of `layers` as (n, band, y, x)."""
        return self(dates), {}

    def with_objects(self, dates: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and boxes; only where `objects` is true is it defined and called, see `object_network`."""
        raise NotImplementedError(f"{self.name} finds no objects")

    def convert_weight(self, name: str, given: Tensor) -> Tensor | None:
        """Bring a weight of a network with other options to this one's shape; None where that cannot be."""
        return None

    def loss(self, batch: Batch, criterion: Criterion) -> Tensor:
        """Apply the criterion to the logits, and with a smaller weight to those of auxiliary heads."""
        return supervise(self.outputs(batch.dates), batch.labels, criterion)


AUXILIARY_WEIGHT = 0.3


def supervise(outputs: Sequence[Tensor], labels: Tensor, criterion: Criterion) -> Tensor:
    """Apply the criterion to the first logits, and with a smaller weight to coarser ones (Lee 2015)."""
    fine, *coarse = outputs
    loss = criterion(fine.float(), labels)
    for logits in coarse:
        enlarged = nn.functional.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
        loss = loss + AUXILIARY_WEIGHT * criterion(enlarged, labels)
    return loss / (1 + AUXILIARY_WEIGHT * len(coarse))


def outputs_needed(classes: Sequence[str]) -> int:
    """Channels of logits: one for a single class, else one a class and one, the first, for no change."""
    return 1 if len(classes) == 1 else 1 + len(classes)


def probability(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """(n, k, y, x) logits -> (n, class, y, x) probabilities: sigmoid of one channel, softmax of several."""
    logits = logits / temperature
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)[:, 1:]

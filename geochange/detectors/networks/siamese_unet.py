"""The fully convolutional networks of Daudt (2018): a U-Net over two dates that meet at once, or at every scale.

`early` is FC-EF, `concatenation` FC-Siam-conc and `difference` FC-Siam-diff. Two things differ from the paper: the
dates meet in the same way at the coarsest scale as in the skips, so that `difference` treats both dates alike, and
there is no dropout, since samples are varied and weights averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from geochange.detectors.networks.contract import Network, outputs_needed
from geochange.detectors.networks.layers import conv_blocks, upsampled_radius
from geochange.errors import BadOption


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionScheme:
    """How two dates enter the encoder, and how the features that come out become one map."""

    enter: Callable[[Tensor], Tensor]
    """(n, 2, band, y, x) -> (m, images * band, y, x): the images that the encoder sees."""
    join: Callable[[Tensor], Tensor]
    """(m, c, y, x) features -> (n, maps * c, y, x), for one class."""
    join_directed: Callable[[Tensor], Tensor]
    """As `join`, for several classes, where it matters which date came first."""
    images: int
    maps: int


def dates_as_bands(dates: Tensor) -> Tensor:
    """(n, 2, band, y, x) -> (n, 2 band, y, x)."""
    return dates.flatten(1, 2)


def dates_as_batch(dates: Tensor) -> Tensor:
    """(n, 2, band, y, x) -> (2n, band, y, x), the first date first."""
    return dates.transpose(0, 1).flatten(0, 1)


def joined_already(features: Tensor) -> Tensor:
    """(n, c, y, x), as it is."""
    return features


def both_dates(features: Tensor) -> tuple[Tensor, Tensor]:
    """(2n, c, y, x) -> two of (n, c, y, x); unlike `chunk`, for any n also once exported."""
    n = features.shape[0] // 2
    return features[:n], features[n:]


def side_by_side(features: Tensor) -> Tensor:
    """(2n, c, y, x) -> (n, 2c, y, x)."""
    return torch.cat(both_dates(features), dim=1)


def absolute_difference(features: Tensor) -> Tensor:
    """(2n, c, y, x) -> (n, c, y, x), the same for swapped dates."""
    before, after = both_dates(features)
    return torch.abs(after - before)


def signed_difference(features: Tensor) -> Tensor:
    """(2n, c, y, x) -> (n, c, y, x), positive where the later date has more."""
    before, after = both_dates(features)
    return after - before


FUSIONS: Mapping[str, FusionScheme] = {
    "early": FusionScheme(enter=dates_as_bands, join=joined_already, join_directed=joined_already, images=2, maps=1),
    "concatenation": FusionScheme(
        enter=dates_as_batch, join=side_by_side, join_directed=side_by_side, images=1, maps=2
    ),
    "difference": FusionScheme(
        enter=dates_as_batch, join=absolute_difference, join_directed=signed_difference, images=1, maps=1
    ),
}
"""Name -> fusion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiameseUNetOptions:
    """How the network is built."""

    bands: int = 3
    classes: tuple[str, ...] = ("change",)
    fusion: str = "difference"
    """early, concatenation or difference; with the last, one class comes out the same for swapped dates."""
    widths: tuple[int, ...] = (16, 32, 64, 128)
    """Channels at strides 1, 2, 4, ...; one more halving follows the last."""

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise BadOption(f"fusion {self.fusion!r} is not one of {', '.join(FUSIONS)}")
        if not self.widths:
            raise BadOption("widths () must name the channels of one scale at least")


class SiameseUNet(Network):
    """U-Net over two dates (Daudt 2018)."""

    name = "siamese-unet"
    Options = SiameseUNetOptions

    def __init__(self, options: SiameseUNetOptions) -> None:
        super().__init__(options)
        widths, levels = options.widths, range(len(options.widths))
        self.fusion = FUSIONS[options.fusion]
        self.join = self.fusion.join if len(options.classes) == 1 else self.fusion.join_directed
        self.stride = 2 ** len(widths)
        self.receptive_radius = _receptive_radius(len(widths))
        entering = (self.fusion.images * options.bands, *widths)
        maps, coarser = self.fusion.maps, (*widths[1:], self.fusion.maps * widths[-1])
        self.down = nn.ModuleList(conv_blocks(entering[s], widths[s], convolutions(s)) for s in levels)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(coarser[s], widths[s], 3, stride=2, padding=1, output_padding=1) for s in levels
        )
        self.back = nn.ModuleList(conv_blocks((1 + maps) * widths[s], widths[s], convolutions(s)) for s in levels)
        self.head = nn.Conv2d(widths[0], outputs_needed(options.classes), 1)

    def outputs(self, dates: Tensor) -> list[Tensor]:
        """Compute the logits, see `Network.outputs`."""
        x = self.fusion.enter(dates).contiguous(memory_format=torch.channels_last)
        skips = []
        for level in self.down:
            x = level(x)  # (m, ws, y/2^s, x/2^s)
            skips.append(self.join(x))
            x = functional.max_pool2d(x, 2)
        x = self.join(x)  # (n, maps * w, y/stride, x/stride)
        for s in reversed(range(len(skips))):
            x = self.back[s](torch.cat([self.up[s](x), skips[s]], dim=1))  # (n, ws, y/2^s, x/2^s)
        return [self.head(x)]  # (n, k, y, x)


def convolutions(scale: int) -> int:
    """How many follow each other at a scale, on either way (Daudt 2018)."""
    return 2 if scale < 2 else 3


def _receptive_radius(levels: int) -> int:
    """Receptive radius in pixels: convolutions on the way down, enlargements and convolutions on the way back."""
    radius, at_scale = 0, []
    for s in range(levels):
        radius += convolutions(s) * 2**s
        at_scale.append(radius)
    for s in reversed(range(levels)):
        radius = max(upsampled_radius(radius, 2 ** (s + 1), 2), at_scale[s]) + convolutions(s) * 2**s
    return radius

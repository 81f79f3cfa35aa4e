"""The flagship: one pretrained encoder for both dates, fused at every scale, with attention that slides.

The parts are those of the field: a siamese encoder (Daudt 2018), a feature pyramid (Lin 2017), pyramid pooling
(Zhao 2017), channel and spatial attention (Woo 2018) and self-attention over neighbourhoods (Hassani 2023). All
windows have a fixed size in pixels and slide, so a score does not depend on where a tile was cut. With one class the
dates enter through |a - b| and a + b alone, so swapping them gives the same change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from geochange.arrays import IGNORE, Floats, Ints
from geochange.detectors.networks.contract import PLACE, Batch, Criterion, Network, outputs_needed, supervise
from geochange.detectors.networks.encoder import DEFAULT_ENCODER, encoder_radius, feature_encoder
from geochange.detectors.networks.layers import (
    ChannelAttention,
    NeighbourhoodAttention,
    PyramidPooling,
    Resample,
    SpatialAttention,
    conv_block,
    upsample,
)
from geochange.errors import BadOption

ENCODER_STRIDES = (2, 4, 8, 16)
CELLS = range(8, 17)
POOLING_WINDOWS = (3, 7, 11)  # cells of 16 pixels
ATTENTION_WINDOW = 7  # cells of 16 pixels
SQUEEZE_WINDOWS = {8: 9, 16: 7}  # stride -> cells
SIZE_WEIGHT, PLACE_WEIGHT = 0.1, 0.1
PLACE_UNIT = 8.0  # pixels: what the head of places gives as 1
LARGEST_LOG_AREA = 20.0  # about a thousand pixels on a side


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionNetOptions:
    """How the network is built; each part can be switched off."""

    bands: int = 3
    classes: tuple[str, ...] = ("change",)
    encoder: str = DEFAULT_ENCODER
    """A convolutional timm model whose first four stages have strides 2, 4, 8 and 16."""
    widths: tuple[int, ...] = (32, 48, 64, 96)
    """Channels of the pyramid at strides 2, 4, 8 and 16."""
    channel_attention: bool = True
    spatial_attention: bool = True
    self_attention: bool = True
    pyramid_pooling: bool = True
    multi_scale: bool = True
    """Fuse the dates at every scale; else at the coarsest alone."""
    cell: int = 16
    """Pixels on each side of what a cell of the coarsest scale covers. Below 16 the network looks at the image enlarged
    by 16 / cell: it sees smaller changes and finer outlines, in more time."""
    size: bool = False
    """Also estimate, at each pixel, the area of the change that it lies in."""
    place: bool = False
    """Also estimate, at each pixel, how far away the middle of the change is that it lies in."""


class DateFusion(nn.Module):
    """Two dates' features of one scale -> one map."""

    def __init__(self, channels_in: int, channels: int, symmetric: bool) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.mix = nn.Sequential(conv_block((2 if symmetric else 3) * channels_in, channels, 1))
        self.refine = conv_block(channels, channels, groups=channels)
        self.join = conv_block(channels, channels, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(n, c, y, x) both -> (n, channels, y, x)."""
        difference = torch.abs(a - b)
        parts = [difference, a + b] if self.symmetric else [difference, a, b]
        x = self.mix(torch.cat(parts, dim=1))
        joined: Tensor = self.join(x + self.refine(x))
        return joined


class Lateral(nn.Module):
    """The coarser map, enlarged, joined with this scale's."""

    def __init__(self, coarser: int, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarser, channels, 1)
        self.join = conv_block(channels, channels)
        self.refine = conv_block(channels, channels)

    def forward(self, coarse: Tensor, fused: Tensor | None) -> Tensor:
        """(n, c, y/2, x/2) and (n, channels, y, x) -> (n, channels, y, x)."""
        x = upsample(self.narrow(coarse), 2)
        x = self.join(x if fused is None else x + fused)
        refined: Tensor = self.refine(x)
        return refined


class AttentionNet(Network):
    """Siamese pyramid network with attention."""

    name = "attention-net"
    Options = AttentionNetOptions

    def __init__(self, options: AttentionNetOptions) -> None:
        super().__init__(options)
        if options.cell not in CELLS:
            raise BadOption(f"cell {options.cell} must lie in {CELLS.start}..{CELLS[-1]}")
        self.stride = options.cell
        self.enter = Resample(options.cell, ENCODER_STRIDES[-1])
        self.leave = Resample(ENCODER_STRIDES[-1] // ENCODER_STRIDES[0], options.cell)
        self.encoder, channels = feature_encoder(options.encoder, options.bands, ENCODER_STRIDES)
        self.receptive_radius = _receptive_radius(options, encoder_radius(self.encoder, options.bands))
        widths, k = options.widths, outputs_needed(options.classes)
        symmetric = len(options.classes) == 1
        scales = range(4) if options.multi_scale else range(3, 4)
        self.fuse = nn.ModuleDict({str(s): DateFusion(channels[s], widths[s], symmetric) for s in scales})
        self.context = nn.Sequential(
            PyramidPooling(widths[3], POOLING_WINDOWS) if options.pyramid_pooling else nn.Identity(),
            NeighbourhoodAttention(widths[3], ATTENTION_WINDOW) if options.self_attention else nn.Identity(),
            ChannelAttention(widths[3], SQUEEZE_WINDOWS[16]) if options.channel_attention else nn.Identity(),
        )
        self.lateral = nn.ModuleList(Lateral(widths[s + 1], widths[s]) for s in range(3))
        self.gate = nn.ModuleList(
            [
                SpatialAttention() if options.spatial_attention else nn.Identity(),
                SpatialAttention() if options.spatial_attention else nn.Identity(),
                ChannelAttention(widths[2], SQUEEZE_WINDOWS[8]) if options.channel_attention else nn.Identity(),
            ]
        )
        self.gather = nn.ModuleList(nn.Conv2d(widths[s], widths[0], 1) for s in (1, 2) if options.multi_scale)
        self.head = nn.Sequential(conv_block(widths[0], widths[0]), nn.Conv2d(widths[0], k, 1))
        self.auxiliary = nn.ModuleList(nn.Conv2d(widths[s], k, 1) for s in (1, 2, 3))
        if options.size:
            self.measure = nn.Sequential(conv_block(widths[0], widths[0]), nn.Conv2d(widths[0], 1, 1))
        if options.place:
            self.point = nn.Sequential(conv_block(widths[0], widths[0]), nn.Conv2d(widths[0], 2, 1))

    def layers(self, dates: int) -> Mapping[str, int]:
        """Name the area of the change that a pixel lies in, if it does, and how far its middle lies right and down."""
        return ({"size": 1} if self.options.size else {}) | ({PLACE: 2} if self.options.place else {})

    def outputs(self, dates: Tensor) -> list[Tensor]:
        """Compute the logits, see `Network.outputs`."""
        return self._logits(self._pyramid(dates))

    def with_layers(self, dates: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Compute the logits, the size and the place, see `Network.with_layers`."""
        pyramid = self._pyramid(dates)
        layers = {}
        if self.options.size:
            layers["size"] = torch.exp2(self._log_area(pyramid).clamp(0, LARGEST_LOG_AREA))
        if self.options.place:
            layers[PLACE] = self._place(pyramid)
        return self._logits(pyramid)[0], layers

    def loss(self, batch: Batch, criterion: Criterion) -> Tensor:
        """As for every network; and errors of the logarithms of sizes, and of places, where they are estimated."""
        pyramid = self._pyramid(batch.dates)
        loss = supervise(self._logits(pyramid), batch.labels, criterion)
        if self.options.size:
            loss = loss + SIZE_WEIGHT * size_loss(self._log_area(pyramid)[:, 0], batch.labels)
        if self.options.place:
            loss = loss + PLACE_WEIGHT * place_loss(self._place(pyramid), batch.labels)
        return loss

    def convert_weight(self, name: str, given: Tensor) -> Tensor | None:
        """Let what mixed |a - b| and a + b mix |a - b|, a and b to the same."""
        if name.startswith("fuse.") and name.endswith(".mix.0.0.weight") and len(self.classes) > 1:
            difference, total = given.chunk(2, dim=1)
            return torch.cat([difference, total, total], dim=1)
        return None

    def _log_area(self, pyramid: list[Tensor]) -> Tensor:
        """(n, 1, y, x) base-2 logarithm of an area in pixels."""
        log_area: Tensor = self.leave(self.measure(pyramid[0]))
        return log_area

    def _place(self, pyramid: list[Tensor]) -> Tensor:
        """(n, 2, y, x) pixels to the right and down."""
        place: Tensor = self.leave(self.point(pyramid[0])) * PLACE_UNIT
        return place

    def _pyramid(self, dates: Tensor) -> list[Tensor]:
        """(n, ws, y/s, x/s) at strides 2, 4, 8 and 16 of the enlarged image; the first has gathered from the others."""
        n = dates.shape[0]
        stacked = self.enter(dates.transpose(0, 1).flatten(0, 1))  # (2n, band, y, x), the first date first
        features = self.encoder(stacked.contiguous(memory_format=torch.channels_last))  # (2n, c, y/s, x/s) each
        fused = {int(s): fuse(features[int(s)][:n], features[int(s)][n:]) for s, fuse in self.fuse.items()}
        x = self.context(fused[3])  # (n, w3, y/16, x/16)
        pyramid = [x]
        for s in (2, 1, 0):
            x = self.gate[s](self.lateral[s](x, fused.get(s)))  # (n, ws, y/s, x/s)
            pyramid.insert(0, x)
        if self.options.multi_scale:
            x = x + upsample(self.gather[0](pyramid[1]), 2) + upsample(self.gather[1](pyramid[2]), 4)
        return [x, *pyramid[1:]]

    def _logits(self, pyramid: list[Tensor]) -> list[Tensor]:
        fine = self.leave(self.head(pyramid[0]))  # (n, k, y, x)
        if not self.training:
            return [fine]
        return [fine, *(head(level) for head, level in zip(self.auxiliary, pyramid[1:], strict=True))]


def _receptive_radius(options: AttentionNetOptions, encoder: int) -> int:
    """Add up what the encoder, fusion and context see at stride 16, and the way back to full size; in pixels."""
    context = 16 + 16  # the depthwise convolution of the fusion, and the cell that a pixel lies in
    if options.pyramid_pooling:
        context += 16 * (max(POOLING_WINDOWS) // 2 + 1)
    if options.self_attention:
        context += 16 * (ATTENTION_WINDOW // 2)
    if options.channel_attention:
        context += 16 * (SQUEEZE_WINDOWS[16] // 2) + 8 * (SQUEEZE_WINDOWS[8] // 2)
    way_back = sum(stride * 3 for stride in (8, 4, 2)) + 2 * (4 + 2) + 2 + 1
    seen, coarsest = encoder + context + way_back, ENCODER_STRIDES[-1]  # in pixels of what the encoder sees
    return seen if options.cell == coarsest else ceil(seen * options.cell / coarsest) + 2


def size_loss(log_area: Tensor, labels: Tensor) -> Tensor:
    """How far estimated areas are off: Huber's loss of their base-2 logarithms, over the pixels of whole changes.

    Args:
        log_area: (n, y, x) estimated.
        labels: (n, y, x); changes that touch the border or a pixel without label do not count: their size is unknown.

    Returns:
        A scalar; 0 where no change is whole.
    """
    wanted = torch.stack([_log_areas(each) for each in labels.cpu()]).to(log_area.device)
    counted = torch.isfinite(wanted)
    errors = functional.smooth_l1_loss(log_area.float(), wanted.nan_to_num(0.0), reduction="none")
    return (errors * counted).sum() / counted.sum().clamp(min=1)


def place_loss(place: Tensor, labels: Tensor) -> Tensor:
    """How far estimated middles of changes are off: Huber's loss of their pixels over `PLACE_UNIT`; as `size_loss`.

    Args:
        place: (n, 2, y, x) estimated pixels to the right and down.
        labels: (n, y, x); changes that touch the border or a pixel without label do not count.

    Returns:
        A scalar; 0 where no change is whole.
    """
    wanted = torch.stack([_places(each) for each in labels.cpu()]).to(place.device)
    counted = torch.isfinite(wanted)
    off = functional.smooth_l1_loss(place.float() / PLACE_UNIT, wanted.nan_to_num(0.0) / PLACE_UNIT, reduction="none")
    return (off * counted).sum() / counted.sum().clamp(min=1)


def _whole_changes(labels: Tensor) -> tuple[Ints, Floats]:
    """(y, x) labels -> (y, x) numbers of regions, and the pixels of each; NaN of those that may go on elsewhere."""
    regions, count = ndimage.label((labels > 0).numpy())  # pixels without label join them: such regions are not whole
    areas = np.bincount(regions.ravel(), minlength=count + 1).astype(np.float32)
    unknown = labels.numpy() == IGNORE
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1], regions[unknown]])
    areas[np.append(edge, 0)] = np.nan
    return regions, areas


def _log_areas(labels: Tensor) -> Tensor:
    """(y, x) labels -> (y, x) base-2 logarithm of the pixels of each whole change; NaN elsewhere."""
    regions, areas = _whole_changes(labels)
    return torch.from_numpy(np.log2(areas)[regions])


def _places(labels: Tensor) -> Tensor:
    """(y, x) labels -> (2, y, x) pixels to the right and down to the centroid of each whole change; NaN elsewhere."""
    regions, areas = _whole_changes(labels)
    at = np.indices(regions.shape)[::-1]  # (2, y, x) column and row
    middle = np.stack([np.bincount(regions.ravel(), each.ravel(), len(areas)) for each in at]) / areas
    return torch.from_numpy((middle[:, regions] - at).astype(np.float32))

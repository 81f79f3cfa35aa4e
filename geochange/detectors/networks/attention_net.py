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
import timm
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from geochange.arrays import IGNORE
from geochange.detectors.networks.contract import Batch, Criterion, Network, outputs_needed, supervise
from geochange.detectors.networks.layers import (
    ChannelAttention,
    NeighbourhoodAttention,
    PyramidPooling,
    Resample,
    SpatialAttention,
    conv_block,
    enlarge,
)
from geochange.errors import BadOption

DEFAULT_ENCODER = "tf_efficientnet_lite0"
STRIDES = (2, 4, 8, 16)
CELLS = range(8, 17)
POOLING_WINDOWS = (3, 7, 11)  # cells of 16 pixels
ATTENTION_WINDOW = 7  # cells of 16 pixels
SQUEEZE_WINDOWS = {8: 9, 16: 7}  # stride -> cells
SIZE_WEIGHT = 0.1
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


class Fusion(nn.Module):
    """Two dates' features of one scale -> one map."""

    def __init__(self, channels_in: int, channels: int, symmetric: bool) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.mix = nn.Sequential(conv_block((2 if symmetric else 3) * channels_in, channels, 1))
        self.refine = conv_block(channels, channels, groups=channels)
        self.join = conv_block(channels, channels, 1)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
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
        x = enlarge(self.narrow(coarse), 2)
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
        self.enter, self.leave = Resample(options.cell, STRIDES[-1]), Resample(STRIDES[-1] // STRIDES[0], options.cell)
        self.encoder = feature_encoder(options.encoder, options.bands)
        if tuple(self.encoder.feature_info.reduction()) != STRIDES:
            raise BadOption(f"{options.encoder} has strides {self.encoder.feature_info.reduction()}, not {STRIDES}")
        self.encoder_radius = encoder_radius(self.encoder, options.bands)
        channels, widths, k = self.encoder.feature_info.channels(), options.widths, outputs_needed(options.classes)
        symmetric = len(options.classes) == 1
        scales = range(4) if options.multi_scale else range(3, 4)
        self.fuse = nn.ModuleDict({str(s): Fusion(channels[s], widths[s], symmetric) for s in scales})
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

    @property
    def receptive_radius(self) -> int:  # type: ignore[override]
        """Encoder, fusion and context at stride 16, then the way back to full size."""
        context = 16 + 16  # the depthwise convolution of the fusion, and the cell that a pixel lies in
        if self.options.pyramid_pooling:
            context += 16 * (max(POOLING_WINDOWS) // 2 + 1)
        if self.options.self_attention:
            context += 16 * (ATTENTION_WINDOW // 2)
        if self.options.channel_attention:
            context += 16 * (SQUEEZE_WINDOWS[16] // 2) + 8 * (SQUEEZE_WINDOWS[8] // 2)
        way_back = sum(stride * 3 for stride in (8, 4, 2)) + 2 * (4 + 2) + 2 + 1
        enlarged = self.encoder_radius + context + way_back  # in pixels of what the encoder sees
        return enlarged if self.stride == STRIDES[-1] else ceil(enlarged * self.stride / STRIDES[-1]) + 2

    def layers(self, dates: int) -> Mapping[str, int]:
        """The area, in pixels that the network was taught with, of the change that a pixel lies in, if it does."""
        return {"size": 1} if self.options.size else {}

    def outputs(self, dates: Tensor) -> list[Tensor]:
        return self._logits(self._pyramid(dates))

    def with_layers(self, dates: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        pyramid = self._pyramid(dates)
        logits = self._logits(pyramid)[0]
        if not self.options.size:
            return logits, {}
        return logits, {"size": torch.exp2(self._log_area(pyramid).clamp(0, LARGEST_LOG_AREA))}

    def loss(self, batch: Batch, criterion: Criterion) -> Tensor:
        """As for every network; and where sizes are estimated, the error of their logarithms."""
        pyramid = self._pyramid(batch.dates)
        loss = supervise(self._logits(pyramid), batch.labels, criterion)
        if not self.options.size:
            return loss
        return loss + SIZE_WEIGHT * size_loss(self._log_area(pyramid)[:, 0], batch.labels)

    def convert_weight(self, name: str, given: Tensor) -> Tensor | None:
        """What mixed |a - b| and a + b mixes |a - b|, a and b to the same."""
        if name.startswith("fuse.") and name.endswith(".mix.0.0.weight") and len(self.classes) > 1:
            difference, total = given.chunk(2, dim=1)
            return torch.cat([difference, total, total], dim=1)
        return None

    def _log_area(self, pyramid: list[Tensor]) -> Tensor:
        """(n, 1, y, x) base-2 logarithm of an area in pixels."""
        return self.leave(self.measure(pyramid[0]))

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
            x = x + enlarge(self.gather[0](pyramid[1]), 2) + enlarge(self.gather[1](pyramid[2]), 4)
        return [x, *pyramid[1:]]

    def _logits(self, pyramid: list[Tensor]) -> list[Tensor]:
        fine = self.leave(self.head(pyramid[0]))  # (n, k, y, x)
        if not self.training:
            return [fine]
        return [fine, *(head(level) for head, level in zip(self.auxiliary, pyramid[1:], strict=True))]


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


def _log_areas(labels: Tensor) -> Tensor:
    """(y, x) labels -> (y, x) base-2 logarithm of the pixels of each whole change; NaN elsewhere."""
    regions, count = ndimage.label((labels > 0).numpy())  # pixels without label join them: such regions are not whole
    areas = np.bincount(regions.ravel(), minlength=count + 1).astype(np.float32)
    unknown = labels.numpy() == IGNORE
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1], regions[unknown]])
    areas[np.append(edge, 0)] = np.nan
    return torch.from_numpy(np.log2(areas)[regions])


def feature_encoder(name: str, bands: int, stages: int = len(STRIDES)) -> nn.Module:
    """A timm model that gives the features of its first stages, without the layers behind them.

    TensorFlow's padding depends on the size of the input, so the usual one takes its place.

    Raises:
        BadOption: timm has no such model, or it squeezes whole tiles: scores would depend on where tiles are cut.
    """
    padding, places = {"pad_type": ""} if name.startswith("tf_") else {}, tuple(range(stages))
    try:
        encoder = timm.create_model(name, features_only=True, in_chans=bands, out_indices=places, **padding)
    except (RuntimeError, AttributeError, AssertionError, IndexError, TypeError) as error:
        raise BadOption(f"timm cannot make an encoder {name!r}: {str(error).splitlines()[0]}") from error
    if hasattr(encoder, "blocks") and isinstance(encoder.blocks, nn.Sequential):
        last = max(encoder.feature_info.get_dicts(keys=["stage"]), key=lambda each: each["stage"])["stage"]
        encoder.blocks = encoder.blocks[:last]
    if squeezing := sorted({type(each).__name__ for each in encoder.modules() if "Squeeze" in type(each).__name__}):
        raise BadOption(f"{name} looks at whole tiles ({', '.join(squeezing)}); take one without, as {DEFAULT_ENCODER}")
    module: nn.Module = encoder
    return module


@torch.no_grad()
def encoder_radius(encoder: nn.Module, bands: int, stride: int = STRIDES[-1], side: int = 64) -> int:
    """Pixels on each side that features can depend on, in whole strides of the coarsest.

    It is the sum of what each convolution and pooling adds, as seen on a small image; where paths are parallel, this is
    more than needed.
    """
    reach = 0.0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal reach
        kernel, dilation = (np.max(getattr(layer, name, 1)) for name in ("kernel_size", "dilation"))
        reach += (kernel - 1) * dilation / 2 * side / inputs[0].shape[-1]

    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    hooks = [layer.register_forward_hook(add) for layer in encoder.modules() if isinstance(layer, kinds)]
    training = encoder.training
    encoder.eval()(torch.zeros(1, bands, side, side))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    return stride * ceil(reach / stride)

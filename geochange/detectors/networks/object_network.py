"""What networks that find objects share: a fine pyramid over two dates, anchors, and boxes out of labels.

Objects of a few pixels need maps as fine as themselves, so the pyramid has strides 2, 4 and 8 (Lin 2017), and little
context: all that a box depends on lies within some hundred pixels. A branch that scores pixels learns with it, as in
Mask R-CNN (He 2017), and gives the raster of probabilities.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from geochange.arrays import IGNORE, Floats, Ints
from geochange.detectors.networks.attention_net import DateFusion, Lateral
from geochange.detectors.networks.contract import OBJECT, Batch, Criterion, Network, outputs_needed, supervise
from geochange.detectors.networks.encoder import DEFAULT_ENCODER, encoder_radius, feature_encoder
from geochange.detectors.networks.layers import (
    ChannelAttention,
    SpatialAttention,
    conv_block,
    upsample,
    upsampled_radius,
)
from geochange.errors import BadOption

PYRAMID_STRIDES = (2, 4, 8)
GATE_WINDOWS = {4: 5, 8: 3}  # stride -> cells
GATE_KERNELS = {2: 5, 4: 3}
RATIOS = (0.5, 1.0, 2.0)  # height over width of anchors
LEAST_PIXELS = 2  # pixels of a region that is trained as an object
FLOOR = 0.05  # score under which nothing is given out
BOX_COLUMNS = 8  # left, top, right, bottom, class, score, row and column of the cell
OBJECT_IOU = 0.45  # intersection over union from which an anchor is trained as an object
BACKGROUND_IOU = 0.3  # and under which as none
LARGEST_GROWTH = log(2.5)  # that a box may be enlarged to from its anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectNetworkOptions:
    """How the network is built."""

    bands: int = 3
    classes: tuple[str, ...] = ("change",)
    encoder: str = DEFAULT_ENCODER
    """A convolutional timm model whose first three stages have strides 2, 4 and 8."""
    width: int = 48
    """Channels of the pyramid."""
    anchors: tuple[int, ...] = (4, 6, 8, 12, 16, 24)
    """Sides of anchors in pixels, rising: a third of them for each stride of the pyramid. Objects of half the smallest
    to twice the largest are found."""
    channel_attention: bool = True
    spatial_attention: bool = True


@dataclass(frozen=True, slots=True)
class Targets:
    """Objects of one sample."""

    boxes: Tensor
    """(n, 4) float32 left, top, right, bottom."""
    classes: Tensor
    """(n,) int64, from 1."""
    unknown: Tensor
    """(y, x) bool where it is not known whether there is an object."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """Anchors that stand out among their neighbours: rows of one length."""

    sample: Tensor
    """(m,) int64."""
    anchor: Tensor
    """(m,) int64 number among all anchors of a sample."""
    score: Tensor
    """(m,) the highest score of its classes."""


class ChangePyramid(nn.Module):
    """Two dates -> features of one width at strides 2, 4 and 8, the finer ones informed by the coarser."""

    def __init__(self, options: ObjectNetworkOptions) -> None:
        super().__init__()
        self.encoder, channels = feature_encoder(options.encoder, options.bands, PYRAMID_STRIDES)
        self.encoder_radius = encoder_radius(self.encoder, options.bands, PYRAMID_STRIDES[-1])
        width, symmetric = options.width, len(options.classes) == 1
        self.fuse = nn.ModuleList(DateFusion(each, width, symmetric) for each in channels)
        self.lateral = nn.ModuleList(Lateral(width, width) for _ in PYRAMID_STRIDES[:-1])
        gates = [_gates(stride, options) for stride in PYRAMID_STRIDES]
        self.gates = nn.ModuleList(nn.Sequential(*each) for each in gates)
        self.gate_radii = [sum(gate.window // 2 for gate in each) for each in gates]  # cells

    @property
    def receptive_radius(self) -> int:
        """Pixels on each side that the finest features can depend on."""
        radius = self.encoder_radius + PYRAMID_STRIDES[-1]  # the fusion's depthwise convolution
        for place in (2, 1, 0):
            stride = PYRAMID_STRIDES[place]
            if place < 2:
                radius = upsampled_radius(radius, 2 * stride, 2) + 2 * stride
            radius += stride * self.gate_radii[place]
        return radius

    def forward(self, dates: Tensor) -> list[Tensor]:
        """(n, 2, band, y, x) -> (n, width, y/s, x/s) at each stride."""
        n = dates.shape[0]
        stacked = dates.transpose(0, 1).flatten(0, 1)  # (2n, band, y, x), the first date first
        features = self.encoder(stacked.contiguous(memory_format=torch.channels_last))  # (2n, c, y/s, x/s) each
        fused = [fuse(each[:n], each[n:]) for fuse, each in zip(self.fuse, features, strict=True)]
        x = self.gates[2](fused[2])  # (n, width, y/8, x/8)
        pyramid = [x]
        for place in (1, 0):
            x = self.gates[place](self.lateral[place](x, fused[place]))  # (n, width, y/s, x/s)
            pyramid.insert(0, x)
        return pyramid


def _gates(stride: int, options: ObjectNetworkOptions) -> list[ChannelAttention | SpatialAttention]:
    """Make the attention at one stride."""
    gates: list[ChannelAttention | SpatialAttention] = []
    if options.channel_attention and stride in GATE_WINDOWS:
        gates.append(ChannelAttention(options.width, GATE_WINDOWS[stride]))
    if options.spatial_attention and stride in GATE_KERNELS:
        gates.append(SpatialAttention(GATE_KERNELS[stride]))
    return gates


class ObjectNetwork(Network):
    """A network that gives boxes beside its map of probabilities."""

    Options = ObjectNetworkOptions
    objects = True
    stride = PYRAMID_STRIDES[-1]

    def __init__(self, options: ObjectNetworkOptions) -> None:
        super().__init__(options)
        _require_anchors(options.anchors)
        self.pyramid = ChangePyramid(options)
        self.mask = nn.Sequential(
            conv_block(options.width, options.width), nn.Conv2d(options.width, outputs_needed(options.classes), 1)
        )
        share = len(options.anchors) // len(PYRAMID_STRIDES)
        sizes = tuple(options.anchors[k : k + share] for k in range(0, len(options.anchors), share))
        self.anchors = AnchorGenerator(sizes, (RATIOS,) * len(PYRAMID_STRIDES))
        self.anchors_per_cell = share * len(RATIOS)
        self.reach = options.anchors[-1]  # pixels on each side of its cell within which a box lies
        judged = self.pyramid.receptive_radius + self.reach + 2 * PYRAMID_STRIDES[-1]
        self.receptive_radius = judged + -judged % PYRAMID_STRIDES[-1]  # of the features of a box, wherever it lies

    @property
    def encoder(self) -> nn.Module:
        """The part that can begin with weights of ImageNet."""
        return self.pyramid.encoder

    def outputs(self, dates: Tensor) -> list[Tensor]:
        """Compute the logits of the map, see `Network.outputs`."""
        return [self._mask_of(self.pyramid(dates))]

    def _mask_of(self, pyramid: Sequence[Tensor]) -> Tensor:
        return upsample(self.mask(pyramid[0]), 2)  # (n, k, y, x)

    def with_objects(self, dates: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and boxes.

        Returns:
            (n, k, y, x) logits, and (m, 1 + BOX_COLUMNS) float32: the sample, then left, top, right and bottom in
            pixels, the class from 1, its score in 0..1, and row and column of the cell that the box was found at.
        """
        pyramid = self.pyramid(dates)
        return self._mask_of(pyramid), self.find(pyramid, dates)

    @abstractmethod
    def find(self, pyramid: Sequence[Tensor], dates: Tensor) -> Tensor:
        """Find the boxes of `with_objects`."""

    @abstractmethod
    def object_loss(self, pyramid: Sequence[Tensor], dates: Tensor, targets: Sequence[Targets]) -> Tensor:
        """Return how far boxes and classes are off, a scalar."""

    def loss(self, batch: Batch, criterion: Criterion) -> Tensor:
        """Add the criterion on the map and the loss of the objects that the labels hold."""
        pyramid = self.pyramid(batch.dates)
        targets = [targets_of(each, self.options.anchors) for each in batch.labels]
        loss = supervise([self._mask_of(pyramid)], batch.labels % OBJECT, criterion)
        return loss + self.object_loss(pyramid, batch.dates, targets)

    def all_anchors(self, pyramid: Sequence[Tensor], dates: Tensor) -> Tensor:
        """(anchor, 4) of a sample, level by level, row by row, cell by cell."""
        sides = dates.shape[-2], dates.shape[-1]
        anchors: Tensor = self.anchors(ImageList(dates[:1, 0], [sides]), list(pyramid))[0]
        return anchors

    def peaks_of(self, scores: Sequence[Tensor]) -> Peaks:
        """Anchors whose score is the highest around them, and above the floor.

        What is the highest is asked within a level among the eight cells around: that does not depend on the tile.

        Args:
            scores: of each level (n, anchors a cell, y/s, x/s) in 0..1.
        """
        found, first = [], 0
        for level in scores:
            best, which = level.max(dim=1)  # (n, y/s, x/s)
            around = functional.max_pool2d(best[:, None], 3, stride=1, padding=1)[:, 0]
            sample, row, col = torch.nonzero((best == around) & (best >= FLOOR), as_tuple=True)
            number = (row * level.shape[-1] + col) * level.shape[1] + which[sample, row, col]
            found.append((sample, number + first, best[sample, row, col]))
            first += level[0].numel()
        columns = [torch.cat(parts) for parts in zip(*found, strict=True)]
        order = torch.argsort(columns[0], stable=True)
        return Peaks(*(column[order] for column in columns))

    def within_reach(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """(m,) whether a box lies within reach of its anchor's centre, and is not a line."""
        centre = (anchors[:, :2] + anchors[:, 2:]) / 2
        far = torch.maximum(centre - boxes[:, :2], boxes[:, 2:] - centre).amax(dim=1)
        return (far <= self.reach) & ((boxes[:, 2:] - boxes[:, :2]).amin(dim=1) >= 1)


def _require_anchors(anchors: tuple[int, ...]) -> None:
    rising = all(a < b for a, b in pairwise(anchors))
    if not anchors or len(anchors) % len(PYRAMID_STRIDES) or not rising or anchors[0] < 2:
        raise BadOption(
            f"anchors {', '.join(map(str, anchors))} must rise from 2 or more, "
            f"as many for each of the {len(PYRAMID_STRIDES)} strides"
        )


def rows_of(sample: Tensor, boxes: Tensor, scores: Tensor, anchors: Tensor) -> Tensor:
    """Boxes as `with_objects` gives them: one row for each class that reaches the floor.

    Args:
        sample: (m,).
        boxes: (m, class, 4).
        scores: (m, class).
        anchors: (m, 4).
    """
    row, which = torch.nonzero(scores >= FLOOR, as_tuple=True)
    centre = (anchors[row, :2] + anchors[row, 2:]) / 2  # x, y
    columns = [
        sample[row, None],
        boxes[row, which],
        which[:, None] + 1,
        scores[row, which][:, None],
        centre.flip(1),
    ]
    return torch.cat([column.float() for column in columns], dim=1)


def targets_of(labels: Tensor, anchors: tuple[int, ...]) -> Targets:
    """Find the objects of a sample: those that have numbers, else each connected region of one class.

    Objects too large for the anchors are not trained as boxes; nor is anything inside them.

    Args:
        labels: (y, x) int64.
        anchors: sides, rising.
    """
    pixels = labels.cpu().numpy()
    unknown = pixels == IGNORE
    boxes, classes = boxes_in(pixels % OBJECT, pixels // OBJECT if (pixels >= OBJECT).any() else None)
    large = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) > 2 * anchors[-1]
    for left, top, right, bottom in boxes[large].astype(int):
        unknown[top:bottom, left:right] = True
    return Targets(
        torch.from_numpy(boxes[~large]).float().to(labels.device),
        torch.from_numpy(classes[~large]).to(labels.device),
        torch.from_numpy(unknown).to(labels.device),
    )


def boxes_in(labels: Ints, numbers: Ints | None = None) -> tuple[Floats, Ints]:
    """Boxes around the objects of labels.

    Args:
        labels: (y, x); 0 and IGNORE are none.
        numbers: (y, x) of distinct objects, from 1; None: each connected region of one class is one.

    Returns:
        (n, 4) left, top, right, bottom in pixels, and (n,) int64 classes; objects of a single pixel are none.
    """
    boxes, classes = [], []
    for kind in np.unique(labels[(labels > 0) & (labels != IGNORE)]).tolist():
        own = labels == kind
        regions = ndimage.label(own)[0] if numbers is None else np.where(own, numbers, 0)
        areas = np.bincount(regions.ravel())
        for number, place in enumerate(ndimage.find_objects(regions), start=1):
            if place is not None and areas[number] >= LEAST_PIXELS:
                rows, cols = place
                boxes.append((cols.start, rows.start, cols.stop, rows.stop))
                classes.append(kind)
    return np.array(boxes, float).reshape(-1, 4), np.array(classes, np.int64)


def on_unknown(anchors: Tensor, unknown: Tensor) -> Tensor:
    """(anchor,) whether the centre of an anchor lies where nothing is known."""
    x, y = ((anchors[:, :2] + anchors[:, 2:]) / 2).long().T
    return unknown[y.clamp(0, unknown.shape[0] - 1), x.clamp(0, unknown.shape[1] - 1)]

"""One stage: each anchor predicts at once what it is and where (Liu 2016), trained with the focal loss (Lin 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou, sigmoid_focal_loss

from geochange.detectors.networks.layers import conv_block
from geochange.detectors.networks.object_network import (
    BACKGROUND_IOU,
    LARGEST_GROWTH,
    OBJECT_IOU,
    ObjectNetwork,
    ObjectNetworkOptions,
    Targets,
    on_unknown,
    rows_of,
)

PRIOR_SCORE = 0.01  # of each class at each anchor before training


class ChangeSSD(ObjectNetwork):
    """Single-shot detector over two dates; half of the work of two stages, and less sure of what it finds."""

    name = "change-ssd"

    def __init__(self, options: ObjectNetworkOptions) -> None:
        super().__init__(options)
        width, per_cell = options.width, self.anchors_per_cell
        self.look = conv_block(width, width)
        self.kind = nn.Conv2d(width, per_cell * len(options.classes), 1)
        self.place = nn.Conv2d(width, per_cell * 4, 1)
        self.coder = BoxCoder((1.0, 1.0, 1.0, 1.0), LARGEST_GROWTH)
        self.matcher = Matcher(OBJECT_IOU, BACKGROUND_IOU, allow_low_quality_matches=True)
        nn.init.normal_(self.kind.weight, std=0.01)
        nn.init.constant_(self.kind.get_parameter("bias"), -log((1 - PRIOR_SCORE) / PRIOR_SCORE))

    def _predictions(self, pyramid: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Of each level (n, anchors a cell, class, y/s, x/s) logits, and (n, anchors a cell, 4, y/s, x/s) moves."""
        looked = [self.look(level) for level in pyramid]
        split = (self.anchors_per_cell, -1)
        return (
            [self.kind(level).unflatten(1, split).float() for level in looked],
            [self.place(level).unflatten(1, split).float() for level in looked],
        )

    def object_loss(self, pyramid: Sequence[Tensor], dates: Tensor, targets: Sequence[Targets]) -> Tensor:
        """Return the focal loss of the classes and Huber's loss of the boxes."""
        kinds, moves = (torch.cat([_by_anchor(level) for level in part], dim=1) for part in self._predictions(pyramid))
        anchors = self.all_anchors(pyramid, dates)
        total = [self._sample_loss(*each, anchors) for each in zip(kinds, moves, targets, strict=True)]
        return torch.stack(total).mean()

    def _sample_loss(self, kinds: Tensor, moves: Tensor, targets: Targets, anchors: Tensor) -> Tensor:
        """(anchor, class) logits and (anchor, 4) moves of one sample."""
        wanted, counted = torch.zeros_like(kinds), ~on_unknown(anchors, targets.unknown)
        if not len(targets.boxes):
            background: Tensor = sigmoid_focal_loss(kinds[counted], wanted[counted], reduction="sum")
            return background
        match = self.matcher(box_iou(targets.boxes, anchors))
        hit = match >= 0
        counted = (counted & (match != Matcher.BETWEEN_THRESHOLDS)) | hit
        wanted[hit, targets.classes[match[hit]] - 1] = 1
        kind = sigmoid_focal_loss(kinds[counted], wanted[counted], reduction="sum")
        offset = self.coder.encode_single(targets.boxes[match[hit]], anchors[hit])
        place = functional.smooth_l1_loss(moves[hit], offset, beta=1 / 9, reduction="sum")
        total: Tensor = (kind + place) / hit.sum().clamp(min=1)
        return total

    def find(self, pyramid: Sequence[Tensor], dates: Tensor) -> Tensor:
        """Find boxes at the anchors that stand out."""
        kinds, moves = self._predictions(pyramid)
        peaks = self.peaks_of([torch.sigmoid(level).amax(dim=2) for level in kinds])
        scores = torch.sigmoid(torch.cat([_by_anchor(level) for level in kinds], dim=1)[peaks.sample, peaks.anchor])
        chosen = torch.cat([_by_anchor(level) for level in moves], dim=1)[peaks.sample, peaks.anchor]
        anchors = self.all_anchors(pyramid, dates)[peaks.anchor]
        boxes = self.coder.decode_single(chosen, anchors)
        kept = self.within_reach(boxes, anchors)
        repeated = boxes[kept, None].expand(-1, scores.shape[1], -1)  # (m, class, 4)
        return rows_of(peaks.sample[kept], repeated, scores[kept], anchors[kept])


def _by_anchor(level: Tensor) -> Tensor:
    """(n, anchors a cell, values, y, x) -> (n, anchor, values), in the order of the anchors."""
    return level.permute(0, 3, 4, 1, 2).flatten(1, 3)

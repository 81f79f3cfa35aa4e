"""The second stage of a region-based network: each proposal is looked at again (Ren 2015).

Sampling, pooling and losses are torchvision's. Where proposals come from is up to the network.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign

from geochange.detectors.networks.object_network import (
    PYRAMID_STRIDES,
    ObjectNetwork,
    ObjectNetworkOptions,
    Targets,
    on_unknown,
    rows_of,
)

POOLED = 5  # cells per side that a proposal is seen in
HIDDEN = 128
MIDDLE = 16  # pixels: proposals of this size are looked at in the middle level


@dataclass(frozen=True, slots=True)
class Proposed:
    """Places to look at again: rows of one length, sample by sample."""

    sample: Tensor
    """(m,) int64."""
    boxes: Tensor
    """(m, 4)."""
    score: Tensor
    """(m,) how likely an object is there at all, in 0..1."""
    anchors: Tensor
    """(m, 4) that they were found at."""

    def by_sample(self, samples: int) -> list[Tensor]:
        """Return the boxes of each sample."""
        return list(torch.split(self.boxes, torch.bincount(self.sample, minlength=samples).tolist()))


class TwoStageNetwork(ObjectNetwork):
    """A network that judges proposals; a box's score is the geometric mean of both stages (Zhou 2021)."""

    def __init__(self, options: ObjectNetworkOptions) -> None:
        super().__init__(options)
        names = [str(stride) for stride in PYRAMID_STRIDES]
        self.judge = RoIHeads(
            MultiScaleRoIAlign(names, POOLED, sampling_ratio=2, canonical_scale=MIDDLE, canonical_level=2),
            TwoMLPHead(options.width * POOLED**2, HIDDEN),
            FastRCNNPredictor(HIDDEN, 1 + len(options.classes)),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=64,
            positive_fraction=0.5,
            bbox_reg_weights=None,
            score_thresh=0.0,
            nms_thresh=1.0,
            detections_per_img=1,
        )

    @abstractmethod
    def propose(self, pyramid: Sequence[Tensor], dates: Tensor) -> Proposed:
        """Propose places to look at again."""

    def judge_loss(
        self, features: Mapping[str, Tensor], seen: Sequence[Tensor], dates: Tensor, targets: Sequence[Targets]
    ) -> Tensor:
        """Return the loss of the second stage on proposals of each sample, without those on unknown ground."""
        known = [each[~on_unknown(each, target.unknown)] for each, target in zip(seen, targets, strict=True)]
        self.judge.train()  # else torchvision gives no losses
        _, losses = self.judge(features, known, sides_of(dates), wanted_of(targets))
        return torch.stack([*losses.values()]).sum()

    def find(self, pyramid: Sequence[Tensor], dates: Tensor) -> Tensor:
        """Find boxes by both stages."""
        proposed = self.propose(pyramid, dates)
        pooled = self.judge.box_roi_pool(named(pyramid), proposed.by_sample(len(dates)), sides_of(dates))
        logits, moves = self.judge.box_predictor(self.judge.box_head(pooled))  # of (m, width, 5, 5)
        likely = torch.softmax(logits, dim=1)[:, 1:]  # (m, class)
        scores = torch.sqrt(likely * proposed.score[:, None])
        boxes = self.judge.box_coder.decode_single(moves, proposed.boxes).unflatten(1, (-1, 4))[:, 1:]  # (m, class, 4)
        kinds = boxes.shape[1]
        inside = self.within_reach(boxes.flatten(0, 1), proposed.anchors.repeat_interleave(kinds, 0))
        scores = scores * inside.view(-1, kinds)
        return rows_of(proposed.sample, boxes, scores, proposed.anchors)


def named(pyramid: Sequence[Tensor]) -> Mapping[str, Tensor]:
    """Return the levels by name, as torchvision takes them."""
    return {str(stride): level.float() for stride, level in zip(PYRAMID_STRIDES, pyramid, strict=True)}


def sides_of(dates: Tensor) -> list[tuple[int, int]]:
    """Return rows and columns of each sample of (n, time, band, y, x)."""
    return [(dates.shape[-2], dates.shape[-1])] * len(dates)


def wanted_of(targets: Sequence[Targets]) -> list[dict[str, Tensor]]:
    """Return targets as torchvision takes them."""
    return [{"boxes": each.boxes, "labels": each.classes, "unknown": each.unknown} for each in targets]

"""Two stages: anchors that stand out are proposed, then each proposal is looked at again (Ren 2015).

Proposals, sampling, pooling and losses are torchvision's. When scoring, a proposal is an anchor that is the best around
it, in place of the best few hundred of the tile: what is proposed does not depend on the tile. The second stage is
trained on both: the likeliest boxes of torchvision, which nearly all lie at objects, and those that stand out anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from geochange.detectors.networks.object_network import (
    BACKGROUND_IOU,
    LARGEST_GROWTH,
    OBJECT_IOU,
    PYRAMID_STRIDES,
    ObjectNetwork,
    ObjectNetworkOptions,
    Targets,
    on_unknown,
    rows_of,
)

POOLED = 5  # cells per side that a proposal is seen in
HIDDEN = 128
PROPOSED = {"training": 600, "testing": 600}  # of each level, before and after those that overlap are left out
KEPT = {"training": 50, "testing": 50}
MIDDLE = 16  # pixels: proposals of this size are looked at in the middle level


class Proposals(RegionProposalNetwork):  # type: ignore[misc]  # torchvision has no types
    """torchvision's, which is not trained where nothing is known."""

    unknown: Sequence[Tensor] = ()

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Let anchors on unknown pixels be neither object nor background."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for own, each, target in zip(labels, anchors, targets, strict=True):
            own[(own == 0) & on_unknown(each, target["unknown"])] = -1
        return labels, boxes


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


class ChangeRCNN(ObjectNetwork):
    """Faster R-CNN over two dates; a box's score is the geometric mean of both stages (Zhou 2021)."""

    name = "change-rcnn"

    def __init__(self, options: ObjectNetworkOptions) -> None:
        super().__init__(options)
        self.proposals = Proposals(
            self.anchors,
            RPNHead(options.width, self.anchors_per_cell),
            fg_iou_thresh=OBJECT_IOU,
            bg_iou_thresh=BACKGROUND_IOU,
            batch_size_per_image=128,
            positive_fraction=0.5,
            pre_nms_top_n=PROPOSED,
            post_nms_top_n=KEPT,
            nms_thresh=0.7,
        )
        self.proposals.box_coder.bbox_xform_clip = LARGEST_GROWTH
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

    def object_loss(self, pyramid: Sequence[Tensor], dates: Tensor, targets: Sequence[Targets]) -> Tensor:
        """Return the losses of both stages."""
        if all(each.unknown.all() for each in targets):
            return pyramid[0].sum() * 0.0  # torchvision's losses are means, of nothing here
        for part in (self.proposals, self.judge):
            part.train()  # else torchvision gives no losses
        sides = [(dates.shape[-2], dates.shape[-1])] * len(dates)
        wanted = [{"boxes": each.boxes, "labels": each.classes, "unknown": each.unknown} for each in targets]
        features = _named([level.float() for level in pyramid])
        likely, losses = self.proposals(ImageList(dates[:, 0], sides), features, wanted)
        proposed = self.propose(pyramid, dates).by_sample(len(dates))
        seen = [torch.cat(each) for each in zip(likely, proposed, strict=True)]
        known = [each[~on_unknown(each, target.unknown)] for each, target in zip(seen, targets, strict=True)]
        _, further = self.judge(features, known, sides, wanted)
        return torch.stack([*losses.values(), *further.values()]).sum()

    @torch.no_grad()
    def propose(self, pyramid: Sequence[Tensor], dates: Tensor) -> Proposed:
        """Propose a box for each anchor that stands out."""
        objectness, moves = self.proposals.head(list(pyramid))
        peaks = self.peaks_of([torch.sigmoid(each.float()) for each in objectness])
        chosen = torch.cat([_by_anchor(each, 4) for each in moves], dim=1)[peaks.sample, peaks.anchor]  # (m, 4)
        anchors = self.all_anchors(pyramid, dates)[peaks.anchor]
        boxes = self.proposals.box_coder.decode_single(chosen.float(), anchors)
        kept = self.within_reach(boxes, anchors)
        return Proposed(peaks.sample[kept], boxes[kept], peaks.score[kept], anchors[kept])

    def find(self, pyramid: Sequence[Tensor], dates: Tensor) -> Tensor:
        """Find boxes by both stages."""
        proposed = self.propose(pyramid, dates)
        sides = [(dates.shape[-2], dates.shape[-1])] * len(dates)
        features = _named([level.float() for level in pyramid])
        pooled = self.judge.box_roi_pool(features, proposed.by_sample(len(dates)), sides)  # (m, width, 5, 5)
        logits, moves = self.judge.box_predictor(self.judge.box_head(pooled))
        likely = torch.softmax(logits, dim=1)[:, 1:]  # (m, class)
        scores = torch.sqrt(likely * proposed.score[:, None])
        boxes = self.judge.box_coder.decode_single(moves, proposed.boxes).unflatten(1, (-1, 4))[:, 1:]  # (m, class, 4)
        kinds = boxes.shape[1]
        inside = self.within_reach(boxes.flatten(0, 1), proposed.anchors.repeat_interleave(kinds, 0))
        scores = scores * inside.view(-1, kinds)
        return rows_of(proposed.sample, boxes, scores, proposed.anchors)


def _named(pyramid: Sequence[Tensor]) -> Mapping[str, Tensor]:
    return {str(stride): level for stride, level in zip(PYRAMID_STRIDES, pyramid, strict=True)}


def _by_anchor(level: Tensor, values: int) -> Tensor:
    """(n, anchors * values, y, x) -> (n, anchor, values), in the order of the anchors."""
    n, _, rows, cols = level.shape
    return level.view(n, -1, values, rows, cols).permute(0, 3, 4, 1, 2).reshape(n, -1, values)

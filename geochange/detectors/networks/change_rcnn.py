"""Two stages: anchors that stand out are proposed, then each proposal is looked at again (Ren 2015).

Proposals, sampling, pooling and losses are torchvision's. When scoring, a proposal is an anchor that is the best around
it, in place of the best few hundred of the tile: what is proposed does not depend on the tile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign

from geochange.detectors.networks.object_network import (
    CLOSEST,
    FARTHEST,
    LARGEST_GROWTH,
    STRIDES,
    ObjectNetwork,
    ObjectNetworkOptions,
    Targets,
    on_unknown,
    rows_of,
)

POOLED = 5  # cells per side that a proposal is seen in
HIDDEN = 128
PROPOSED = {"training": 600, "testing": 600}  # of each level, before and after those that overlap are left out
KEPT = {"training": 200, "testing": 200}
MIDDLE = 16  # pixels: proposals of this size are looked at in the middle level


class Proposals(RegionProposalNetwork):
    """torchvision's, which is not taught where nothing is known."""

    unknown: Sequence[Tensor] = ()

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for own, each, target in zip(labels, anchors, targets, strict=True):
            own[(own == 0) & on_unknown(each, target["unknown"])] = -1
        return labels, boxes


class ChangeRCNN(ObjectNetwork):
    """Faster R-CNN over two dates."""

    name = "change-rcnn"

    def __init__(self, options: ObjectNetworkOptions) -> None:
        super().__init__(options)
        self.proposals = Proposals(
            self.anchors,
            RPNHead(options.width, self.anchors_per_cell),
            fg_iou_thresh=CLOSEST,
            bg_iou_thresh=FARTHEST,
            batch_size_per_image=128,
            positive_fraction=0.5,
            pre_nms_top_n=PROPOSED,
            post_nms_top_n=KEPT,
            nms_thresh=0.7,
        )
        self.proposals.box_coder.bbox_xform_clip = LARGEST_GROWTH
        names = [str(stride) for stride in STRIDES]
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
        sides = [(dates.shape[-2], dates.shape[-1])] * len(dates)
        wanted = [{"boxes": each.boxes, "labels": each.classes, "unknown": each.unknown} for each in targets]
        features = _named([level.float() for level in pyramid])
        proposed, losses = self.proposals(ImageList(dates[:, 0], sides), features, wanted)
        known = [each[~on_unknown(each, target.unknown)] for each, target in zip(proposed, targets, strict=True)]
        _, further = self.judge(features, known, sides, wanted)
        return torch.stack([*losses.values(), *further.values()]).sum()

    def find(self, pyramid: Sequence[Tensor], dates: Tensor) -> Tensor:
        objectness, moves = self.proposals.head(list(pyramid))
        peaks = self.peaks_of([torch.sigmoid(each.float()) for each in objectness])
        chosen = torch.cat([_by_anchor(each, 4) for each in moves], dim=1)[peaks.sample, peaks.anchor]  # (m, 4)
        anchors = self.all_anchors(pyramid, dates)[peaks.anchor]
        boxes = self.proposals.box_coder.decode_single(chosen.float(), anchors)
        kept = self.within_reach(boxes, anchors)
        return self._judged(pyramid, dates, boxes[kept], (peaks.sample[kept], anchors[kept]))

    def _judged(self, pyramid: Sequence[Tensor], dates: Tensor, boxes: Tensor, origin: tuple[Tensor, Tensor]) -> Tensor:
        """Rows of proposals (m, 4), given their samples (m,) and anchors (m, 4)."""
        sample, anchors = origin
        counts = torch.bincount(sample, minlength=len(dates)).tolist()
        sides = [(dates.shape[-2], dates.shape[-1])] * len(dates)
        features = _named([level.float() for level in pyramid])
        pooled = self.judge.box_roi_pool(features, list(boxes.split(counts)), sides)  # (m, width, 5, 5)
        logits, moves = self.judge.box_predictor(self.judge.box_head(pooled))
        scores = torch.softmax(logits, dim=1)[:, 1:]
        final = self.judge.box_coder.decode_single(moves, boxes).view(len(boxes), -1, 4)[:, 1:]  # (m, class, 4)
        kinds = final.shape[1]
        inside = self.within_reach(final.flatten(0, 1), anchors.repeat_interleave(kinds, 0)).view(-1, kinds)
        return rows_of(sample, final, scores * inside, anchors)


def _named(pyramid: Sequence[Tensor]) -> Mapping[str, Tensor]:
    return {str(stride): level for stride, level in zip(STRIDES, pyramid, strict=True)}


def _by_anchor(level: Tensor, values: int) -> Tensor:
    """(n, anchors * values, y, x) -> (n, anchor, values), in the order of the anchors."""
    n, _, rows, cols = level.shape
    return level.view(n, -1, values, rows, cols).permute(0, 3, 4, 1, 2).reshape(n, -1, values)

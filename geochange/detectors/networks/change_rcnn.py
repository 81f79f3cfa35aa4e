"""Two stages: anchors that stand out are proposed, then each proposal is looked at again (Ren 2015).

Proposals, sampling and losses are torchvision's. When scoring, a proposal is an anchor that is the best around it, in
place of the best few hundred of the tile: what is proposed does not depend on the tile. The second stage is trained on
both: the likeliest boxes of torchvision, which nearly all lie at objects, and those that stand out anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from geochange.detectors.networks.object_network import (
    BACKGROUND_IOU,
    LARGEST_GROWTH,
    OBJECT_IOU,
    ObjectNetworkOptions,
    Targets,
    on_unknown,
)
from geochange.detectors.networks.two_stage_network import Proposed, TwoStageNetwork, named, sides_of, wanted_of

PROPOSED = {"training": 600, "testing": 600}  # of each level, before and after those that overlap are left out
KEPT = {"training": 50, "testing": 50}


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


class ChangeRCNN(TwoStageNetwork):
    """Faster R-CNN over two dates."""

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

    def object_loss(self, pyramid: Sequence[Tensor], dates: Tensor, targets: Sequence[Targets]) -> Tensor:
        """Return the losses of both stages."""
        if all(each.unknown.all() for each in targets):
            return pyramid[0].sum() * 0.0  # torchvision's losses are means, of nothing here
        self.proposals.train()  # else torchvision gives no losses
        features = named(pyramid)
        likely, losses = self.proposals(ImageList(dates[:, 0], sides_of(dates)), features, wanted_of(targets))
        proposed = self.propose(pyramid, dates).by_sample(len(dates))
        seen = [torch.cat(each) for each in zip(likely, proposed, strict=True)]
        return torch.stack([*losses.values()]).sum() + self.judge_loss(features, seen, dates, targets)

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


def _by_anchor(level: Tensor, values: int) -> Tensor:
    """(n, anchors * values, y, x) -> (n, anchor, values), in the order of the anchors."""
    n, _, rows, cols = level.shape
    return level.view(n, -1, values, rows, cols).permute(0, 3, 4, 1, 2).reshape(n, -1, values)

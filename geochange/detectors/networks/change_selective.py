"""R-CNN with selective search (Girshick 2014, Uijlings 2013): regions of the difference image are proposed.

Selective search joins neighbouring segments that are alike, and proposes the box around each. It is OpenCV's, on the
absolute difference of both dates in windows on a fixed lattice, so that proposals do not depend on the tile. Features
are shared as in Fast R-CNN, not computed again for each proposal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geochange.arrays import Array, Floats
from geochange.detectors.networks.object_network import ObjectNetworkOptions, Targets
from geochange.detectors.networks.two_stage_network import Proposed, TwoStageNetwork, named
from geochange.errors import BadOption
from geochange.extras import require_packages

CELL = 64  # pixels: each cell of this size proposes the boxes whose centre it holds
MARGIN = 32  # pixels around a cell in which it searches
GREATEST = 4.0  # difference, in standard deviations, that is white
SEGMENT = (0.5, 100.0, 4)
"""Of the first segments (Felzenszwalb 2004): smoothing in pixels, how unlike parts of one may be, fewest pixels."""


class ChangeSelective(TwoStageNetwork):
    """R-CNN over two dates, with proposals of selective search."""

    name = "change-selective"
    stride = CELL

    def __init__(self, options: ObjectNetworkOptions) -> None:
        super().__init__(options)
        opencv()
        self.receptive_radius = max(self.receptive_radius, CELL + MARGIN)

    def object_loss(self, pyramid: Sequence[Tensor], dates: Tensor, targets: Sequence[Targets]) -> Tensor:
        """Return the loss of the second stage: the first one is not trained."""
        if all(each.unknown.all() for each in targets):
            return pyramid[0].sum() * 0.0  # torchvision's losses are means, of nothing here
        seen = self.propose(pyramid, dates).by_sample(len(dates))
        return self.judge_loss(named(pyramid), seen, dates, targets)

    @torch.no_grad()
    def propose(self, pyramid: Sequence[Tensor], dates: Tensor) -> Proposed:
        """Propose the regions that selective search finds, all alike."""
        images = difference_images(dates)
        found = [propose_regions(image, 2 * self.reach) for image in images]
        boxes = torch.from_numpy(np.concatenate(found)).to(pyramid[0])
        sample = torch.repeat_interleave(torch.arange(len(found)), torch.tensor([len(each) for each in found]))
        return Proposed(sample.to(boxes.device), boxes, torch.ones_like(boxes[:, 0]), boxes)


def opencv() -> Any:
    """Return the part of OpenCV that searches.

    Raises:
        BadOption: it is not installed.
    """
    require_packages("change-selective", "selective", "cv2")
    import cv2

    if not hasattr(cv2, "ximgproc"):
        raise BadOption("change-selective needs OpenCV's contributed modules: pip install 'geochange[selective]'")
    return cv2.ximgproc.segmentation


def difference_images(dates: Tensor) -> Array:
    """Return the absolute difference of both dates as images of three bands.

    Of more than three bands, every third one shares a band of the image, in which the greatest is seen; of fewer, the
    last one is seen again.

    Args:
        dates: (n, 2, band, y, x) float.

    Returns:
        (n, y, x, 3) uint8.
    """
    apart = (dates[:, 1] - dates[:, 0]).abs() * (255 / GREATEST)
    bands = apart.shape[1]
    seen = [apart[:, min(k, bands - 1) :: 3].amax(dim=1) for k in range(3)]
    return torch.stack(seen, dim=-1).clamp(0, 255).round().byte().cpu().numpy()


def propose_regions(image: Array, largest: int) -> Floats:
    """Search an image cell by cell.

    Args:
        image: (y, x, 3) uint8.
        largest: side in pixels that a region may have.

    Returns:
        (m, 4) float64 left, top, right and bottom in pixels, each once, in order.
    """
    rows, cols = image.shape[:2]
    found = []
    for row in range(0, rows, CELL):
        for col in range(0, cols, CELL):
            top, left = max(row - MARGIN, 0), max(col - MARGIN, 0)
            window = image[top : row + CELL + MARGIN, left : col + CELL + MARGIN]
            boxes = _search(np.ascontiguousarray(window)) + np.array([left, top, left, top])
            middle = (boxes[:, :2] + boxes[:, 2:]) // 2 - (col, row)
            small = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) <= largest
            found.append(boxes[small & (middle >= 0).all(axis=1) & (middle < CELL).all(axis=1)])
    return np.unique(np.concatenate(found), axis=0).astype(float)


def _search(window: Array) -> Array:
    """Return (m, 4) corners of the regions of a window."""
    if not window.any() or min(window.shape[:2]) < 2:
        return np.zeros((0, 4), np.int64)
    of = opencv()
    search = of.createSelectiveSearchSegmentation()
    search.addImage(window)
    search.addGraphSegmentation(of.createGraphSegmentation(*SEGMENT))
    kinds = ("Color", "Fill", "Size", "Texture")
    likeness = [getattr(of, f"createSelectiveSearchSegmentationStrategy{kind}")() for kind in kinds]
    search.addStrategy(of.createSelectiveSearchSegmentationStrategyMultiple(*likeness))
    boxes = np.asarray(search.process(), np.int64).reshape(-1, 4)  # left, top, width, height
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)

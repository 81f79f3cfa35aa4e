"""Losses on logits, for one class or several; pixels labelled IGNORE do not count. Pure.

Logits are (n, k, y, x), labels (n, y, x) int64. With k = 1 the labels are 0 and 1, and the channel is the log-odds of
change; else they are 0..k-1, and channels go through a softmax.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from geochange.arrays import IGNORE
from geochange.detectors.networks.contract import Criterion
from geochange.learning.options import LossName


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the labels; 0 where every pixel is ignored."""
    counted = labels != IGNORE
    return (_pixel_losses(logits, labels) * counted).sum() / counted.sum().clamp(min=1)


def dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 - the Dice coefficient of each class over the batch (Milletari 2016), averaged over the classes."""
    predicted, truth = _class_maps(logits, labels)
    overlap = (predicted * truth).sum(dim=(0, 2, 3))
    total = predicted.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def cross_entropy_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of both: one is calibrated, the other suits few changed pixels."""
    return cross_entropy(logits, labels) + dice(logits, labels)


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the cross-entropy with easy pixels weighing less (Lin 2017)."""
    counted = labels != IGNORE
    entropy = _pixel_losses(logits, labels)
    return ((1 - torch.exp(-entropy)) ** gamma * entropy * counted).sum() / counted.sum().clamp(min=1)


def lovasz(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the Lovász extension of 1 - IoU of each class of change that occurs (Berman 2018), over the batch."""
    predicted, truth = _class_maps(logits, labels)
    counted = (labels != IGNORE).flatten()
    losses = []
    for k in range(predicted.shape[1]):
        wanted = truth[:, k].flatten()[counted]
        errors = (wanted - predicted[:, k].flatten()[counted]).abs()
        if wanted.sum() == 0:
            continue
        errors, order = torch.sort(errors, descending=True)
        losses.append(torch.dot(errors, _jaccard_gradient(wanted[order])))
    return torch.stack(losses).mean() if losses else logits.sum() * 0.0


def cross_entropy_lovasz(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of both."""
    return cross_entropy(logits, labels) + lovasz(logits, labels)


LOSSES: Mapping[LossName, Criterion] = {
    "bce-dice": cross_entropy_dice,
    "cross-entropy": cross_entropy,
    "dice": dice,
    "focal": focal,
    "lovasz": lovasz,
    "bce-lovasz": cross_entropy_lovasz,
}
"""Name -> loss."""


def anchored(criterion: Criterion, before: Tensor, weight: float) -> Criterion:
    """Return a criterion that also asks for an earlier network's scores where nothing is labelled (Li and Hoiem 2016).

    Args:
        criterion: for what is labelled.
        before: (n, k, y, x) logits of the earlier network.
        weight: of the mean cross-entropy with its probabilities.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        free = labels == IGNORE
        if logits.shape[1] == 1:
            target = torch.sigmoid(before)
            away = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")[:, 0]
        else:
            away = functional.cross_entropy(logits, torch.softmax(before, dim=1), reduction="none")
        return criterion(logits, labels) + weight * (away * free).sum() / free.sum().clamp(min=1)

    return loss


def _pixel_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the (n, y, x) cross-entropy of each pixel; ignored ones hold some finite number."""
    known = labels.masked_fill(labels == IGNORE, 0)
    if logits.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], known.to(logits.dtype), reduction="none")
    return functional.cross_entropy(logits, known, reduction="none")


def _class_maps(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (n, class, y, x) probabilities and truth of the classes of change; both 0 where ignored."""
    counted = (labels != IGNORE).unsqueeze(1)
    if logits.shape[1] == 1:
        predicted, truth = torch.sigmoid(logits), (labels == 1).unsqueeze(1)
    else:
        predicted = torch.softmax(logits, dim=1)[:, 1:]
        truth = torch.stack([labels == k for k in range(1, logits.shape[1])], dim=1)
    return predicted * counted, (truth & counted).to(predicted.dtype)


def _jaccard_gradient(wanted: Tensor) -> Tensor:
    """Return weights of sorted errors: how much IoU falls with each."""
    total = wanted.sum()
    intersection = total - wanted.cumsum(0)
    union = total + (1 - wanted).cumsum(0)
    jaccard = 1 - intersection / union
    return torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])

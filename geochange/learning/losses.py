"""Losses on logits, for one class or several; pixels labelled IGNORE do not count. Pure.

Logits are (n, k, y, x), labels (n, y, x) int64. With k = 1 the labels are 0 and 1, and the channel is the log-odds of
change; else they are 0..k-1, and channels go through a softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from geochange.arrays import IGNORE
from geochange.detectors.networks.contract import Criterion
from geochange.errors import BadOption
from geochange.learning.options import SMOOTHED, WEIGHTED, LossName, TrainOptions

Weights = tuple[float, ...]
"""Of no change, and of each class; empty where all weigh the same."""


def cross_entropy(logits: Tensor, labels: Tensor, weights: Weights = (), smoothing: float = 0.0) -> Tensor:
    """Return the mean negative log-likelihood of the labels; 0 where every pixel is ignored.

    Args:
        logits: (n, k, y, x).
        labels: (n, y, x).
        weights: pixels weigh as their label (King and Zeng 2001).
        smoothing: share of each label that is spread over all labels (Szegedy 2016).
    """
    return _mean(_pixel_losses(logits, labels, weights, smoothing), labels, weights)


def mean_squared_error(logits: Tensor, labels: Tensor, weights: Weights = ()) -> Tensor:
    """Return the mean squared error of the probabilities, over all channels (Brier 1950)."""
    known = labels.masked_fill(labels == IGNORE, 0)
    if logits.shape[1] == 1:
        predicted, truth = torch.sigmoid(logits), known.unsqueeze(1)
    else:
        predicted = torch.softmax(logits, dim=1)
        truth = functional.one_hot(known, logits.shape[1]).movedim(-1, 1)
    errors = ((predicted - truth.to(predicted.dtype)) ** 2).mean(dim=1)
    return _mean(errors * _weights_of(labels, weights, errors.dtype), labels, weights)


def tversky(logits: Tensor, labels: Tensor, false_positives: float = 0.3, false_negatives: float = 0.7) -> Tensor:
    """Return 1 - the Tversky index of each class over the batch, averaged (Salehi 2017): missed change costs more."""
    predicted, truth = _class_maps(logits, labels)
    counted = (labels != IGNORE).unsqueeze(1)
    hits = (predicted * truth).sum(dim=(0, 2, 3))
    false = (predicted * (1 - truth) * counted).sum(dim=(0, 2, 3))
    missed = ((1 - predicted) * truth).sum(dim=(0, 2, 3))
    return (1 - (hits + 1) / (hits + false_positives * false + false_negatives * missed + 1)).mean()


def dice(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 - the Dice coefficient of each class over the batch (Milletari 2016), averaged over the classes."""
    predicted, truth = _class_maps(logits, labels)
    overlap = (predicted * truth).sum(dim=(0, 2, 3))
    total = predicted.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    return (1 - (2 * overlap + 1) / (total + 1)).mean()


def cross_entropy_dice(logits: Tensor, labels: Tensor, weights: Weights = (), smoothing: float = 0.0) -> Tensor:
    """Return the sum of both: one is calibrated, the other suits few changed pixels."""
    return cross_entropy(logits, labels, weights, smoothing) + dice(logits, labels)


def focal(logits: Tensor, labels: Tensor, weights: Weights = (), gamma: float = 2.0) -> Tensor:
    """Return the cross-entropy with easy pixels weighing less (Lin 2017)."""
    entropy = _pixel_losses(logits, labels)
    losses = (1 - torch.exp(-entropy)) ** gamma * entropy
    return _mean(losses * _weights_of(labels, weights, losses.dtype), labels, weights)


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


def cross_entropy_lovasz(logits: Tensor, labels: Tensor, weights: Weights = (), smoothing: float = 0.0) -> Tensor:
    """Return the sum of both."""
    return cross_entropy(logits, labels, weights, smoothing) + lovasz(logits, labels)


LOSSES: Mapping[LossName, Callable[..., Tensor]] = {
    "bce-dice": cross_entropy_dice,
    "cross-entropy": cross_entropy,
    "bce": cross_entropy,
    "dice": dice,
    "focal": focal,
    "lovasz": lovasz,
    "bce-lovasz": cross_entropy_lovasz,
    "mse": mean_squared_error,
    "tversky": tversky,
}
"""Name -> loss."""


def criterion_of(options: TrainOptions, classes: int) -> Criterion:
    """Return the loss that options name, with their weights and smoothing.

    Raises:
        BadOption: there are not as many weights as classes.
    """
    settings: dict[str, object] = {}
    if options.loss in SMOOTHED:
        settings["smoothing"] = options.label_smoothing
    if options.loss in WEIGHTED and isinstance(options.class_weights, tuple):
        if len(options.class_weights) != 1 + classes:
            raise BadOption(
                f"class_weights must be {1 + classes} numbers, of no change and of each class, not "
                f"{len(options.class_weights)}"
            )
        settings["weights"] = options.class_weights
    return partial(LOSSES[options.loss], **settings)


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


def _pixel_losses(logits: Tensor, labels: Tensor, weights: Weights = (), smoothing: float = 0.0) -> Tensor:
    """Return the (n, y, x) cross-entropy of each pixel; ignored ones hold some finite number."""
    known = labels.masked_fill(labels == IGNORE, 0)
    if logits.shape[1] == 1 and not weights and not smoothing:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], known.to(logits.dtype), reduction="none")
    if logits.shape[1] == 1:  # log-odds are what two channels differ by
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    weight = logits.new_tensor(weights) if weights else None
    return functional.cross_entropy(logits, known, weight, reduction="none", label_smoothing=smoothing)


def _weights_of(labels: Tensor, weights: Weights, dtype: torch.dtype) -> Tensor:
    """Return the (n, y, x) weight of each pixel, that of its label; some number where it is ignored."""
    if not weights:
        return torch.ones((), dtype=dtype, device=labels.device)
    return torch.tensor(weights, dtype=dtype, device=labels.device)[labels.masked_fill(labels == IGNORE, 0)]


def _mean(losses: Tensor, labels: Tensor, weights: Weights) -> Tensor:
    """Return the mean of weighted pixel losses over what is labelled, as torch has it: over the sum of the weights."""
    counted = labels != IGNORE
    if not weights:
        return (losses * counted).sum() / counted.sum().clamp(min=1)
    total = (_weights_of(labels, weights, losses.dtype) * counted).sum()
    return (losses * counted).sum() / total.clamp(min=torch.finfo(losses.dtype).tiny)


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

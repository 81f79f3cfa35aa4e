"""How weights move: the optimizer, its rate, and the average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geochange.detectors.networks.contract import Network
from geochange.learning.options import TrainOptions


def make_optimizer(network: Network, options: TrainOptions) -> torch.optim.Optimizer:
    """Make AdamW with a smaller rate for the encoder, and no decay of biases and normalisation."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = options.rate * (options.encoder_rate if "encoder" in name.split(".")[:2] else 1.0)
            decay = options.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "full_rate": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ]
    )


def rate_factor(step: int, options: TrainOptions) -> float:
    """Return the relative rate: linear warm-up, then half a cosine down to 0 (Loshchilov & Hutter 2017)."""
    warmup = min(options.warmup, options.steps // 4)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(options.steps - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


@torch.no_grad()
def average_weights(averaged: Network, network: Network, decay: float, step: int) -> None:
    """Move the exponential average towards the weights; faster in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)

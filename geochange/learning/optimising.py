"""How weights move: the optimizer, its rate, and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from geochange.detectors.networks.contract import Network
from geochange.learning.options import OptimizerName, TrainOptions


def make_optimizer(network: Network, options: TrainOptions) -> torch.optim.Optimizer:
    """Make an optimizer with a smaller rate for the encoder, and no decay of biases and normalisation."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = options.rate * (options.encoder_rate if "encoder" in name.split(".")[:2] else 1.0)
            decay = options.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return OPTIMIZERS[options.optimizer](
        [
            {"params": parameters, "lr": rate, "full_rate": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        options,
    )


OPTIMIZERS: Mapping[OptimizerName, Callable[[list[dict[str, Any]], TrainOptions], torch.optim.Optimizer]] = {
    "adamw": lambda groups, options: torch.optim.AdamW(groups),
    "adam": lambda groups, options: torch.optim.Adam(groups),
    "sgd": lambda groups, options: torch.optim.SGD(groups, momentum=options.momentum),
}
"""Name -> makes an optimizer of groups of weights."""


def rate_factor(step: int, options: TrainOptions) -> float:
    """Return the relative rate: linear warm-up, then the schedule."""
    if options.schedule == "one-cycle":
        return one_cycle(step, options.steps)
    warmup = min(options.warmup, options.steps // 4)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(options.steps - warmup, 1)
    return SCHEDULES[options.schedule](min(progress, 1.0))


def cosine(progress: float) -> float:
    """Return half a cosine from 1 down to 0 (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def step_down(progress: float) -> float:
    """Return 1, a tenth after 60 %, a hundredth after 85 %."""
    return 1.0 if progress < 0.6 else 0.1 if progress < 0.85 else 0.01


def one_cycle(step: int, steps: int) -> float:
    """Return a cosine from 1/25 up to 1 over 30 % of the steps, and one down to 4e-6 (Smith and Topin 2018)."""
    low, end, top = 1 / 25, 1 / 25 / 1e4, 0.3 * steps - 1
    if step <= top:
        return low + (1 - low) * (1 - cosine(step / top))
    return end + (1 - end) * cosine(min((step - top) / max(steps - 1 - top, 1e-9), 1.0))


SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "cosine": cosine,
    "step": step_down,
    "constant": lambda progress: 1.0,
}
"""Name -> relative rate by the share of steps that are done; `one-cycle` has its own warm-up."""


@torch.no_grad()
def mean_weights(several: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of the weights of networks that began alike (Wortsman 2022); counts are the first one's."""
    first = several[0]
    return {
        name: torch.stack([each[name].double() for each in several]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in first.items()
    }


def average_weights(averaged: Network, network: Network, decay: float, step: int) -> None:
    """Move the exponential average towards the weights; faster in the first steps."""
    decay = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)

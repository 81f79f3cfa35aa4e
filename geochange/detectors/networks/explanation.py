"""What a network looked at when it predicted a change: gradient-weighted activations (Selvaraju 2017).

Each scale of the encoder shows where features lie that raise the score of the chosen pixels: its channels, weighted
with their mean gradient, as far as the sum is positive. Scales are brought to one size and averaged, each as a share of
its greatest value. Both dates go through one encoder, so each has a map of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from geochange.detectors.networks.contract import Network
from geochange.errors import BadOption


def activation_maps(network: Network, dates: Tensor, wanted: Tensor) -> Tensor:
    """Find where a network looked.

    Args:
        network: with an encoder that gives features of several scales, for all dates in one batch.
        dates: (1, time, band, y, x) normalised.
        wanted: (class, y, x) weights of the pixels and classes whose logits are explained.

    Returns:
        (time, y, x) in 0..1, for each date.

    Raises:
        BadOption: the network has no such encoder.
    """
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module) or not hasattr(encoder, "feature_info"):
        raise BadOption(f"{network.name} has no encoder to look into, as attention-net and change-rcnn have")
    features: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, outputs: Sequence[Tensor]) -> list[Tensor]:
        features.extend(each.requires_grad_() for each in outputs)
        return features

    hook = encoder.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = network(dates)[0]
            explained = logits[-len(wanted) :]  # of several classes the first channel is no change
            gradients = torch.autograd.grad((explained * wanted).sum(), features, allow_unused=True)
    finally:
        hook.remove()
    maps = [_map(*each, dates.shape[1]) for each in zip(features, gradients, strict=True) if each[1] is not None]
    sized = [
        functional.interpolate(each[None], dates.shape[-2:], mode="bilinear", align_corners=False) for each in maps
    ]
    return torch.cat(sized).mean(dim=0).detach()


def _map(feature: Tensor, gradient: Tensor, times: int) -> Tensor:
    """(time, y/s, x/s) in 0..1 of one scale, of (time, c, y/s, x/s)."""
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = functional.relu((weights * feature).sum(dim=1))[:times]
    return heat / heat.amax().clamp(min=1e-12)

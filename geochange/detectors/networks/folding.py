"""Batch normalisation folded into convolutions: less to compute, and the same to the last digits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_normalisation(module: nn.Module, example: tuple[Tensor, ...]) -> int:
    """Fold each batch normalisation into the convolution that feeds it; the module computes the same. Returns how many.

    Which one feeds which is seen by running the example through the module.
    """
    made_by: dict[int, tuple[nn.Conv2d, int]] = {}
    pairs: dict[nn.BatchNorm2d, set[nn.Conv2d | None]] = {}
    kept: list[Tensor] = []  # so that no address is used twice

    def after_convolution(convolution: nn.Conv2d, inputs: Any, output: Tensor) -> None:
        made_by[id(output)] = convolution, output._version
        kept.append(output)

    def before_normalisation(normalisation: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        convolution, version = made_by.get(id(inputs[0]), (None, 0))
        unchanged = version == inputs[0]._version  # an activation in place gives the convolution's own tensor
        pairs.setdefault(normalisation, set()).add(convolution if unchanged else None)

    hooks = [each.register_forward_hook(after_convolution) for each in module.modules() if isinstance(each, nn.Conv2d)]
    hooks += [
        each.register_forward_pre_hook(before_normalisation)
        for each in module.modules()
        if isinstance(each, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        module(*example)
    for hook in hooks:
        hook.remove()
    feeding = [(found.pop(), bn) for bn, found in pairs.items() if len(found) == 1]
    for convolution, normalisation in feeding:
        if convolution is not None:
            _fold(module, convolution, normalisation)
    return sum(convolution is not None for convolution, _ in feeding)


def _fold(module: nn.Module, convolution: nn.Conv2d, normalisation: nn.BatchNorm2d) -> None:
    fused = fuse_conv_bn_eval(convolution, normalisation)
    convolution.weight, convolution.bias = fused.weight, fused.bias
    activation = getattr(normalisation, "act", nn.Identity())  # timm's carry their activation
    for parent in module.modules():
        for name, child in parent.named_children():
            if child is normalisation:
                setattr(parent, name, activation)

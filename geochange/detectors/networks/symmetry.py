"""Test-time augmentation: the mean over the eight flips and quarter turns of the input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def symmetric_mean(network: Callable[[Tensor], Tensor], dates: Tensor) -> Tensor:
    """Average a network's output over the symmetries of the square, each turned back.

    Args:
        network: (n, time, band, y, x) -> (n, k, y, x), logits for one.
        dates: (n, time, band, y, x).

    Returns:
        (n, k, y, x).
    """
    total = None
    for turned in (False, True):
        for flips in ((), (-1,), (-2,), (-2, -1)):
            seen = dates.transpose(-1, -2) if turned else dates
            output = torch.flip(network(torch.flip(seen, flips)), flips)
            output = output.transpose(-1, -2) if turned else output
            total = output if total is None else total + output
    assert total is not None
    return total / 8

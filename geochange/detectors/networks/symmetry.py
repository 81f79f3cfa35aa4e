"""Test-time augmentation: the mean over the eight flips and quarter turns of the input. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Images = TypeVar("Images", bound=Any)
"""A tensor, or an array."""


def symmetric_mean(network: Callable[[Images], Images], dates: Images, flip: Callable[..., Images]) -> Images:
    """Average a network's output over the symmetries of the square, each turned back.

    Args:
        network: (n, time, band, y, x) -> (n, k, y, x), logits for one.
        dates: (n, time, band, y, x).
        flip: `torch.flip`, or `numpy.flip`.

    Returns:
        (n, k, y, x).
    """
    total: Any = None
    for turned in (False, True):
        for flips in ((), (-1,), (-2,), (-2, -1)):
            seen = dates.swapaxes(-1, -2) if turned else dates
            output = flip(network(flip(seen, flips)), flips)
            output = output.swapaxes(-1, -2) if turned else output
            total = output if total is None else total + output
    mean: Images = total / 8
    return mean

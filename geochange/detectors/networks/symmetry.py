"""Test-time augmentation: the mean over the eight flips and quarter turns of the input. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Images = TypeVar("Images", bound=Any)
"""A tensor, or an array."""


def symmetric_mean(
    network: Callable[[Images], Images],
    dates: Images,
    flip: Callable[..., Images],
    pointing: int | None = None,
) -> Images:
    """Average a network's output over the symmetries of the square, each turned back.

    Args:
        network: (n, time, band, y, x) -> (n, k, y, x), logits for one.
        dates: (n, time, band, y, x).
        flip: `torch.flip`, or `numpy.flip`.
        pointing: the first of two channels that point to the right and down, and turn with the image; None: none do.

    Returns:
        (n, k, y, x).
    """
    total: Any = None
    for turned in (False, True):
        for flips in ((), (-1,), (-2,), (-2, -1)):
            seen = dates.swapaxes(-1, -2) if turned else dates
            output = flip(network(flip(seen, flips)), flips)
            output = output.swapaxes(-1, -2) if turned else output
            if pointing is not None:
                output = _turn_back(output, pointing, turned, flips)
            total = output if total is None else total + output
    mean: Images = total / 8
    return mean


def _turn_back(output: Any, pointing: int, turned: bool, flips: tuple[int, ...]) -> Any:
    """Return the output with what points to the right and down pointing as in the image before it was turned."""
    order = list(range(output.shape[1]))
    if turned:
        order[pointing : pointing + 2] = [pointing + 1, pointing]
    back = output[:, order]
    for axis in flips:  # as the network saw it: turned, then flipped
        seen = -1 - axis  # 0 to the right, 1 down
        back[:, pointing + (1 - seen if turned else seen)] *= -1
    return back

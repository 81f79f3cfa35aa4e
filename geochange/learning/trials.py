"""A choice between ways to fine-tune, by short trials on the same held-out labels, before longer trainings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

FROZEN = (0.25, 0.0)
RATES = (1.0, 4.0)
LONGER = 4
"""How many times as many steps as a trial a training at the end has, where time allows no more."""
FEWEST_STEPS = 8
"""Of a trial."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to fine-tune."""

    frozen: float
    """Share of the steps during which the encoder keeps its weights."""
    rate: float
    """Learning rate."""

    def __str__(self) -> str:
        part = f"encoder frozen for {self.frozen:.0%} of the steps" if self.frozen else "all of the network trained"
        return f"{part}, rate {self.rate:g}"


def candidates(rate: float, *, encoder: bool) -> list[Choice]:
    """Return the choices to compare, first the one that is made without trials."""
    return [Choice(frozen, rate * factor) for frozen, factor in product(FROZEN if encoder else (0.0,), RATES)]


def plan_steps(trials: int, finals: int, updates: int, most: int) -> dict[str, int]:
    """Divide updates among trials and trainings at the end; what these cannot use lengthens the trials.

    Args:
        trials: their number.
        finals: the number of trainings at the end.
        updates: that there is time for.
        most: steps of any of them, at most.

    Returns:
        Steps of each "trial", and of each "final".
    """
    final = min(most, updates * LONGER // (trials + finals * LONGER))
    return {"trial": min(most, (updates - finals * final) // trials), "final": final}


def best_of(merits: Sequence[Sequence[float]]) -> int:
    """Return the place of the best choice: of the greatest mean over its trials; of equals the first."""
    means = [fmean(each) for each in merits]
    return means.index(max(means))

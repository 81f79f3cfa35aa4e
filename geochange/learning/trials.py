"""A choice between ways to fine-tune, by short trials: the best third is tried again with three times the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

FROZEN = (0.0, 0.25, 1.0)
RATES = (0.5, 1.0, 2.0, 4.0)
FACTOR, LAST = 3, 2
"""How many times more steps a round has than the one before, and how many candidates the last one tries."""
FEWEST_STEPS = 8
"""Of the shortest trial."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to fine-tune."""

    frozen: float
    """Share of the steps during which the encoder keeps its weights."""
    rate: float
    """Learning rate."""
    steps: int
    """Updates of the weights."""

    def __str__(self) -> str:
        parts = {0.0: "all of the network trained", 1.0: "encoder frozen"}
        part = parts.get(self.frozen, f"encoder frozen for {self.frozen:.0%} of the steps")
        return f"{part}, rate {self.rate:g}, {self.steps} steps"


@dataclass(frozen=True, slots=True)
class Trial:
    """A choice and its merit on held-out labels."""

    choice: Choice
    merit: float


def candidates(rate: float, *, encoder: bool) -> list[Choice]:
    """Return the choices to compare: rates around a given one, and how long an encoder is frozen."""
    return [Choice(frozen, rate * factor, 0) for frozen, factor in product(FROZEN if encoder else (0.0,), RATES)]


def rounds(count: int) -> list[tuple[int, int]]:
    """Return how many candidates each round tries, and by what its steps divide the longest: (candidates, divisor)."""
    counts = [count]
    while counts[-1] > LAST:
        counts.append(max(counts[-1] // FACTOR, LAST))
    return [(tried, FACTOR ** (len(counts) - 1 - k)) for k, tried in enumerate(counts)]


def longest_run(count: int, updates: float) -> int:
    """Return the steps of the longest trials, where all trials take so many updates."""
    return int(updates / work(count))


def work(count: int) -> float:
    """Return the updates of all trials, as a multiple of the longest trial's."""
    return sum(tried / divisor for tried, divisor in rounds(count))


def search(chosen: Sequence[Choice], longest: int, try_one: Callable[[Choice], float | None]) -> list[Trial]:
    """Try all, the best third of them again with three times the steps, and so on (Jamieson & Talwalkar 2016).

    Args:
        chosen: the candidates; of equals the first is kept.
        longest: steps of the last trial.
        try_one: trains as chosen; returns the merit on held-out labels, or None where there is no time for it, which
            ends the search.

    Returns:
        The trials in their order; `best_of` picks among them.
    """
    trials: list[Trial] = []
    remaining = list(chosen)
    for tried, divisor in rounds(len(chosen)):
        found: list[Trial] = []
        for each in remaining[:tried]:
            choice = replace(each, steps=max(longest // divisor, 1))
            merit = try_one(choice)
            if merit is None:
                return trials
            found.append(Trial(choice, merit))
            trials.append(found[-1])
        remaining = [each.choice for each in sorted(found, key=lambda trial: -trial.merit)]
    return trials


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the best trial; of equals the longest."""
    return max(trials, key=lambda trial: (trial.merit, trial.choice.steps))

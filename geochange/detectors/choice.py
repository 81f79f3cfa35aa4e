"""Which detector suits a scene, by its dates, bands, pixel size and sensor, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

AUTO = "auto"
RADAR = frozenset({"vv", "vh", "hh", "hv"})  # polarisations, as bands are named
COLOURS = ("red", "green", "blue")
SMALLEST, LARGEST = 0.37, 13.3  # metres a pixel that `landscape` was trained with
BYTE = 255

Choice: TypeAlias = tuple[str, str]
"""Name of a detector, and why."""


@dataclass(frozen=True, slots=True)
class SceneFacts:
    """What is known of a scene without reading it."""

    dates: int
    names: Sequence[frozenset[str]]
    """What each band is called, in lower case; nothing where that is not known."""
    gsd: float | None
    """Metres a pixel."""
    largest: float
    """The largest value that the images' type can hold."""
    networks: bool
    """Whether networks can be run."""


def choose_detector(facts: SceneFacts) -> Choice:
    """Return the detector that did best on labelled scenes of the kind (docs/detectors.md), and the reason."""
    radar = bool(facts.names) and all(names & RADAR for names in facts.names)
    if radar and facts.dates > 2:
        return "omnibus", f"{facts.dates} radar images"
    if radar:
        return "log-ratio", "two radar images"
    if facts.dates > 2:
        return "breaks", f"{facts.dates} dates"
    bands = len(facts.names)
    if bands < len(COLOURS):
        return "change-vector", f"{bands} band{'s' * (bands > 1)}"
    if why := _why_landscape(facts):
        return ("landscape", why) if facts.networks else ("ir-mad", f"{why}, but PyTorch is not installed")
    return "ir-mad", f"{bands} bands"


def _why_landscape(facts: SceneFacts) -> str:
    """Say why `landscape` suits a pair; nothing where it does not."""
    in_order = len(facts.names) == len(COLOURS) and all(
        colour in names for colour, names in zip(COLOURS, facts.names, strict=True)
    )
    if not in_order or facts.largest > BYTE:
        return ""
    if facts.gsd is None:
        return "red, green and blue of 8 bits"
    return f"red, green and blue of 8 bits at {facts.gsd:.2g} m" if SMALLEST <= facts.gsd <= LARGEST else ""

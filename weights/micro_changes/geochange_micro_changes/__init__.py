"""The detector `micro-changes`: changes of 3 to 40 pixels as boxes, in RGB imagery."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from geochange.detectors.network import NetworkDetector

WEIGHTS = Path(__file__).with_name("micro_changes.pt")


@dataclass(frozen=True, kw_only=True)
class MicroChanges(NetworkDetector):
    """Changes of a few pixels, as boxes, in RGB imagery; for research only, see the package's licence."""

    name: ClassVar[str] = "micro-changes"
    shipped: ClassVar[Path | None] = WEIGHTS

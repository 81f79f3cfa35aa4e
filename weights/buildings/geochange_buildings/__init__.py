"""The detector `buildings`: buildings that appear or vanish, in RGB imagery of about half a metre."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from geochange.detectors.network import NetworkDetector

WEIGHTS = Path(__file__).with_name("buildings.pt")


@dataclass(frozen=True, kw_only=True)
class Buildings(NetworkDetector):
    """Buildings that appear or vanish, in RGB of about 0.5 m a pixel; for research only, see the package's licence."""

    name: ClassVar[str] = "buildings"
    shipped: ClassVar[Path | None] = WEIGHTS

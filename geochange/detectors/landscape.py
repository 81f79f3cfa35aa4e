"""The detector `landscape`: changes of any kind, by a network that was trained on synthetic scenes and changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from geochange.detectors.network import NetworkDetector


@dataclass(frozen=True, kw_only=True)
class Landscape(NetworkDetector):
    """Buildings, roads, clearings, water and more, in RGB of 0.5 to 10 m a pixel; trained on synthetic changes."""

    name: ClassVar[str] = "landscape"
    shipped: ClassVar[Path | None] = Path(__file__).with_name("landscape.pt")

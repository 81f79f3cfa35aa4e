"""Options of choosing a detector, and of running a network. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from geochange.declarations import Options


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Options):
    """How a trained network is run on a scene."""

    panel: ClassVar[str] = "Network"

    checkpoint: str | None = field(default=None, metadata={"names": "file"})
    """A file that `geochange train` left."""

    scale: str | None = None
    """LOW:HIGH, the scene's values for the ends of the range that the network was trained with; or auto."""

    match_gsd: bool = False
    """Score at the pixel size that the network was trained with, where the scene's is another."""

    device: str = "auto"
    """Where the network runs: cpu, cuda, cuda:1; auto takes a GPU where every worker has one."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Floating-point format of the computation; fp16 needs a GPU; auto takes the fastest of every worker's."""

    engine: Literal["torch", "openvino"] = "torch"
    """Library that runs the network."""

    augment: bool = False
    """Average over eight flips and turns: eight times the work."""


@dataclass(frozen=True, kw_only=True)
class DetectorOptions(NetworkOptions):
    """Which detector scores change, and with which options of its own."""

    panel: ClassVar[str] = "Detector"

    detector: str | None = field(default=None, metadata={"flags": ("--detector", "-d")})
    """Name of a detector, see `geochange detectors`, or auto: by dates, bands, pixel size and sensor; None: network
    with a checkpoint, else ir-mad from 3 bands and change-vector below."""

    detector_options: Mapping[str, str] = field(default_factory=dict, metadata={"flags": ("--option",)})
    """Option of the detector; may be given again."""

    shift_tolerance: int | None = None
    """Pixels by which a place may lie elsewhere at the other date without having changed, for detectors that need no
    training; none: what the pair speaks for, 0 or 2 to 4."""

    def own_options(self) -> dict[str, Any]:
        """Return the options of the detector: those by name, and those of a network that are not at their default."""
        given = {each.name: getattr(self, each.name) for each in fields(NetworkOptions)}
        defaults = {each.name: each.default for each in fields(NetworkOptions)}
        own = {key: value for key, value in given.items() if value != defaults[key]}
        if self.shift_tolerance is not None:
            own["shift_tolerance"] = self.shift_tolerance
        return {**self.detector_options, **own}

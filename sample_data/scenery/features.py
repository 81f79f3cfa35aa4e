"""The things that stand in the landscape, as vectors in metres."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from shapely import Polygon
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from geochange.arrays import Floats
from scenery.covers import AFTER, BEFORE, BOTH, KINDS, Paint

FIELD, FIELD_INNER, SITE, PLOT, YARD, BANK, WATER, DEEP, TRACK, LANE, MAIN = range(11)
"""What is painted first, and what over it."""


@dataclass(frozen=True)
class Shape:
    """A surface. With a canopy ("wood" or "scrub") it stands for the crowns whose middle lies in it."""

    order: int
    outline: BaseGeometry
    paint: Paint
    when: int = BOTH
    kind: int = 0
    canopy: str | None = None

    @cached_property
    def rings(self) -> dict[str, Any]:
        """The outline as GDAL takes it; it is burnt once for each patch and date."""
        return mapping(self.outline)


@dataclass(frozen=True, slots=True)
class Building:
    """A rectangular body with a roof; a vehicle is a very low one."""

    x: float
    y: float
    angle: float
    length: float
    breadth: float
    eave: float  # metres
    pitch: float  # rise of the roof per metre, 0 for a flat one
    hipped: bool
    paint: Paint
    when: int = BOTH
    kind: int = 0

    @property
    def reach(self) -> float:
        """Metres from the centre to a corner."""
        return (self.length + self.breadth) / 2


@dataclass(frozen=True, slots=True)
class Tree:
    """A single crown."""

    x: float
    y: float
    radius: float
    height: float
    paint: Paint
    when: int = BOTH
    kind: int = 0

    @property
    def reach(self) -> float:
        """Metres from the centre to the edge."""
        return self.radius


@dataclass(frozen=True, slots=True)
class Street:
    """A road along a block's edge."""

    curve: Floats
    kind: str  # "main", "lane" or "track"
    side: int  # 1 where the block lies to the right of the curve's direction
    villages: tuple[float, ...]  # distances along the curve around which houses stand


@dataclass(slots=True)
class Site:
    """A block of land while it is being furnished."""

    seed: int
    row: int
    index: int
    rate: float  # factor on the probabilities of change
    rng: np.random.Generator
    ground: Polygon
    streets: list[Street]
    taken: BaseGeometry  # roads, water and plots, with half a metre to spare
    estates: float = 0.0  # share of fields that are built up
    claimed: list[Polygon] = field(default_factory=list)  # plots, until they join what is taken
    shapes: list[Shape] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)

    def take(self, ground: BaseGeometry) -> None:
        """Keep land from what comes later."""
        self.taken = shapely.union(self.taken, ground)
        shapely.prepare(self.taken)

    def free(self, ground: BaseGeometry) -> BaseGeometry:
        """The part of some land that is not taken yet."""
        return ground - self.taken if self.taken.intersects(ground) else ground

    def fate(self, gone: float, new: float = 0.0) -> int:
        """When a thing is there: mostly at both dates; with these probabilities at one only."""
        draw = self.rng.random()
        if draw < gone * self.rate:
            return BEFORE
        return AFTER if draw > 1 - new * self.rate else BOTH


def kind_code(name: str, when: int) -> int:
    """Code of a kind of change in the truth raster; 0 for a thing that is there at both dates."""
    return 0 if when == BOTH else 1 + KINDS.index(name)

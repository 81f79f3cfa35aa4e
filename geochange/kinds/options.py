"""Options of classifying changes by kind. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from geochange.declarations import Options
from geochange.kinds.indices import parse_roles
from geochange.polygons.options import MinAreaOptions
from geochange.scenes.options import NodataOptions


@dataclass(frozen=True, kw_only=True)
class KindRules(Options):
    """When a pixel or a region is of a kind. Changes of indices are those less the median change of the scene."""

    ndvi_change: float = 0.15
    """Least change of NDVI for gain or loss of vegetation."""

    ndvi: float = 0.2
    """Of the greener date, at least this; midway between that date's extremes where that is less."""

    ngrdi_change: float = 0.07
    """As `ndvi_change`, for NGRDI, where there is no near infrared."""

    ngrdi: float = 0.0
    """As `ndvi`, for NGRDI."""

    water: float = 0.0
    """Of the water index, at least this; midway between the date's extremes where that is more."""

    water_of_bytes: float = 0.15
    """As `water`, for NDWI of 8-bit images: these are not reflectances, and grey roofs and roads lie over 0 in them."""

    dark: float = 0.5
    """Water's near infrared is at most this share of the scene's bright (90th percentile)."""

    built_up: float = 0.0
    """NDBI less NDVI of what is built up (Zha 2003)."""

    built_up_change: float = 0.1
    """Least change of that difference for gain or loss of built-up land."""

    outline: float = 0.52
    """Slope at an object's outline over itself and that inside and around, at the date at which it is there."""

    outline_change: float = 0.03

    object_pixel: float = 2.5
    """Metres: coarser pixels show no objects, which are of the size of a house, not of a field."""


@dataclass(frozen=True, kw_only=True)
class KindOptions(NodataOptions, MinAreaOptions):
    """How changes are classified by kind."""

    panel: ClassVar[str] = "Kinds of change"

    min_area: str | float = "4px"
    """Smallest piece that --split-kinds leaves, in pixels or square metres, as in 4px or 100m2; 0 keeps all. Without
    it, all changes of the layer are kept."""

    band_roles: str | None = None
    """Which band is which, as in red=1,green=2,blue=3,nir=4; also swir1, swir2, rededge1, ...; None: as BEFORE names
    its bands."""

    indices: tuple[str, ...] = ()
    """Further spectral indices to measure before and after, as in SAVI,NBR."""

    split_kinds: bool = False
    """Cut changes where their kind changes."""

    rules: KindRules = field(default_factory=KindRules, metadata={"flags": ()})
    """Thresholds of the kinds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.band_roles is not None:
            parse_roles(self.band_roles)

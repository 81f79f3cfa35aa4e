"""All options of a run in one place, as the command line and the Python API take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from geochange.engine.cluster import ClusterOptions
from geochange.errors import BadOption
from geochange.kinds.measure import KindOptions
from geochange.polygons.options import RegionOptions
from geochange.scenes.pairing import SceneOptions
from geochange.scenes.scene import NodataRule
from geochange.scenes.tiling import LARGEST_TILE, TileOptions

VECTOR_FORMATS = {"gpkg": ".gpkg", "geojson": ".geojson", "flatgeobuf": ".fgb", "parquet": ".parquet"}
_ELSEWHERE = ("workers", "scheduler", "threads", "resume", "overwrite")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectOptions:
    """What `detect` does with a pair."""

    detector: str | None = None
    """A name that `geochange detectors` lists; None: `ir-mad` for three bands or more, else `change-vector`."""

    detector_options: Mapping[str, str] = field(default_factory=dict)
    """Options of the detector by name, as text."""

    layers: tuple[str, ...] = ()
    """Further rasters of the detector to write, each to OUT/<layer>.tif."""

    bands: tuple[int, ...] | None = None
    """Band numbers from 1; None for all."""

    aoi: str | tuple[float, float, float, float] | None = None
    """A vector layer, or (left, bottom, right, top) in BEFORE's CRS."""

    nodata: NodataRule = "all"
    """What makes a pixel nodata: "all" bands, "any" band, or a value."""

    align: bool = False
    """Bring AFTER to BEFORE's grid, on their overlap, while it is read."""

    resampling: str = "cubic"
    """How AFTER is interpolated when it is aligned."""

    remove_shift: bool = False
    """Measure the shift that is left between the dates, as `check` does, and move AFTER back by it while it is read."""

    tile_size: int | None = None
    """Pixels per side of a tile; None for what the detector asks for, 512 for most."""

    overlap: int | None = None
    block_size: int | None = None

    dtype: str = "uint8"
    """How probabilities are stored: uint8 (0..254, nodata 255) or float32 (nodata NaN)."""

    threshold: str | float | None = None
    """As `RegionOptions.threshold` has it; None for the detector's own."""

    labels: str | None = None
    """A raster (0 unchanged, 255 not labelled) or a layer that says what has changed, to choose the threshold by."""

    label_column: str | None = None
    """The column of a layer that says so."""

    kinds: bool = False
    """Tell what kind of change each one is."""

    band_roles: str | None = None
    """Which band is which, for kinds, as in "red=1,green=2,blue=3,nir=4"; None for what BEFORE says of its bands."""

    indices: tuple[str, ...] = ()
    """Further indices to measure, with kinds."""

    split_kinds: bool = False
    """Cut changes where their kind changes."""

    min_area: str | float = "4"
    """Smallest change, in pixels, or in square metres as in "100m2"."""

    connectivity: Literal[4, 8] = 4
    """Whether pixels that touch at a corner are one change (8) or not (4)."""

    simplify: float = 0.0
    """Tolerance, in map units, to which outlines are simplified; 0 keeps pixel edges."""

    formats: tuple[str, ...] = ("gpkg", "geojson")
    """Vector formats to write: gpkg, geojson, flatgeobuf, parquet."""

    date_before: str | None = None
    date_after: str | None = None
    """Dates of acquisition; None: from the images' tags."""

    workers: int | None = None
    scheduler: str | None = None
    threads: int | None = None

    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in {"uint8", "float32"}:
            raise BadOption(f"dtype {self.dtype!r} must be uint8 or float32")
        unknown = sorted(set(self.formats) - set(VECTOR_FORMATS))
        if unknown:
            raise BadOption(f"format {unknown[0]!r} is not one of {', '.join(VECTOR_FORMATS)}")
        if self.resume and self.overwrite:
            raise BadOption("resume and overwrite exclude each other: continue the run, or begin anew")
        if not self.kinds and (self.band_roles or self.indices or self.split_kinds):
            raise BadOption("band roles, indices and the cutting of changes are for kinds; add --kinds")
        for build in (self.scene, self.tiles, self.cluster, self.regions, self.of_kinds):
            build()

    def scene(self) -> SceneOptions:
        """Return how the images are read."""
        return SceneOptions(
            bands=self.bands, aoi=self.aoi, nodata=self.nodata, align=self.align, resampling=self.resampling
        )

    def tiles(self) -> TileOptions:
        """Return how the scene is cut."""
        size = LARGEST_TILE if self.tile_size is None else self.tile_size  # else the detector says, once it is known
        return TileOptions(size=size, overlap=self.overlap, block=self.block_size)

    def cluster(self) -> ClusterOptions:
        """Return where the work is done."""
        return ClusterOptions(workers=self.workers, scheduler=self.scheduler, threads=self.threads)

    def regions(self) -> RegionOptions:
        """Return what counts as a change."""
        return RegionOptions(
            threshold=self.threshold,
            labels=self.labels,
            label_column=self.label_column,
            min_area=self.min_area,
            connectivity=self.connectivity,
            simplify=self.simplify,
            date_before=self.date_before,
            date_after=self.date_after,
        )

    def of_kinds(self) -> KindOptions:
        """Return how kinds of change are found."""
        return KindOptions(
            band_roles=self.band_roles,
            indices=self.indices,
            split_kinds=self.split_kinds,
            min_area=self.min_area,
            nodata=self.nodata,
        )

    def stored_dtype(self) -> np.dtype[Any]:
        """Return the type of the stored probabilities."""
        return np.dtype(self.dtype)

    def identity(self) -> dict[str, Any]:
        """Return the options that make a run what it is, whoever computes it."""
        return {key: value for key, value in asdict(self).items() if key not in _ELSEWHERE}

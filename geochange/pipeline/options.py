"""Options of the commands, and how the functions of the Python API take them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, get_args

from geochange.datasets.layouts import LabelDate
from geochange.datasets.options import LabelOptions
from geochange.declarations import OUTPUT, REGIONS, TILES, Options
from geochange.detectors.options import DetectorOptions
from geochange.engine.cluster import ClusterOptions
from geochange.errors import BadOption
from geochange.kinds.options import KindOptions
from geochange.polygons.options import MinAreaOptions, RegionOptions, parse_min_area
from geochange.probability.boundaries import GuidedFilter, LocalField
from geochange.probability.options import FitOptions
from geochange.scenes.options import (
    LARGEST_TILE,
    SMALLEST_TILE,
    NodataOptions,
    ResamplingName,
    SceneOptions,
    TileOptions,
)

Chosen = TypeVar("Chosen", bound=Options)

VectorFormat: TypeAlias = Literal["gpkg", "geojson", "flatgeobuf", "parquet"]
VECTOR_FORMATS: dict[VectorFormat, str] = {
    "gpkg": ".gpkg",
    "geojson": ".geojson",
    "flatgeobuf": ".fgb",
    "parquet": ".parquet",
}
StoredType: TypeAlias = Literal["uint8", "float32"]
FusionMethod: TypeAlias = Literal["mean", "weighted", "maximum", "vote", "noisy-or", "stacking"]
ModelFormat: TypeAlias = Literal["onnx", "openvino"]
MOST_DATES = 100  # of an exported model
EXPLAINED_SIDES = (32, 4096)  # pixels


def choose_options(kind: type[Chosen], options: Chosen | None, settings: Mapping[str, Any]) -> Chosen:
    """Return the options of a function: those given as an object, with settings by name in place of some.

    Raises:
        TypeError: there is no option of that name.
        BadOption: a value cannot be.
    """
    if not isinstance(options, kind | None):
        raise TypeError(f"options must be {kind.__name__}, not {type(options).__name__}")
    known = _names(kind)
    if unknown := [name for name in settings if name not in known]:
        likely = get_close_matches(unknown[0], [*known, *_names(ClusterOptions)], n=1)
        hint = f"; did you mean {likely[0]!r}?" if likely else ""
        raise TypeError(f"{unknown[0]!r} is not an option of {kind.__name__}{hint}")
    return kind(**settings) if options is None else replace(options, **settings)


def choose_options_and_cluster(
    kind: type[Chosen], options: Chosen | None, cluster: ClusterOptions | None, settings: Mapping[str, Any]
) -> tuple[Chosen, ClusterOptions]:
    """Return the options of a function, and where its work is done; raises as `choose_options`."""
    where = {name: value for name, value in settings.items() if name in _names(ClusterOptions)}
    others = {name: value for name, value in settings.items() if name not in where}
    return choose_options(kind, options, others), choose_options(ClusterOptions, cluster, where)


def _names(kind: type[Options]) -> list[str]:
    return [each.name for each in fields(kind)]


@dataclass(frozen=True, kw_only=True)
class DetectOptions(KindOptions, RegionOptions, TileOptions, DetectorOptions, SceneOptions):
    """What `detect` does with a pair, or a series."""

    panel: ClassVar[str] = OUTPUT

    min_area: str | float = field(default="4px", metadata={"panel": REGIONS})
    """Smallest change, and with --split-kinds smallest piece, in pixels or square metres, as in 4px or 100m2; 0 keeps
    all."""

    remove_shift: bool = field(default=False, metadata={"panel": SceneOptions.panel})
    """Measure the shift that is left between the dates, as `check` does, and move AFTER back by it while it is read."""

    remove_local_shift: bool | None = field(default=None, metadata={"panel": SceneOptions.panel})
    """Measure how the shift varies over the scene, and move AFTER back by it place by place; where nothing can be
    measured it stays. By default where it varies by more than 0.3 px, for detectors that compare pixels and
    have no `shift_tolerance` given; with `statistics` as in that run."""

    normalize: bool = field(default=False, metadata={"panel": SceneOptions.panel})
    """Bring AFTER's values to BEFORE's, band by band, by the pixels that have not changed."""

    unreadable: Literal["stop", "nodata"] = field(default="stop", metadata={"panel": SceneOptions.panel})
    """What a broken part of an image does: stop ends the run; nodata goes on without it, and run.json lists it."""

    kinds: bool = field(default=False, metadata={"panel": KindOptions.panel})
    """Classify what kind of change each one is."""

    statistics: str | None = field(default=None, metadata={"panel": DetectorOptions.panel, "names": "folder"})
    """Folder of a finished run whose statistics of the scene the detector takes in place of this one's own."""

    layers: tuple[str, ...] = ()
    """Further rasters of the detector to write, each to OUT/LAYER.tif, as in chi-square,weights; their means become
    columns of the polygons."""

    dates: tuple[str, ...] = ()
    """Dates of the images, in their order, as in 1985,1990,1995; None: from the tags, or the names of the files."""

    formats: tuple[VectorFormat, ...] = ("gpkg", "geojson")
    """Vector formats to write."""

    dtype: StoredType = "uint8"
    """How probabilities are stored: uint8 (0..254, nodata 255) or float32 (nodata NaN)."""

    project: bool = True
    """Write a project of QGIS, changes.qgs, and the style of the probabilities, probability.qml, beside the results."""

    stac: bool = False
    """Write a STAC Item beside the results; detect-many writes a Collection of them, too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kinds and (self.band_roles or self.indices or self.split_kinds):
            raise BadOption("--band-roles, --indices and --split-kinds are for kinds of change; add --kinds")


@dataclass(frozen=True, kw_only=True)
class DetectManyOptions(DetectOptions):
    """What `detect-many` does with each pair, where its line in the table says nothing else."""

    merge: str | None = None
    """Layer in OUT to write all changes to, with the name of the pair of each, as in changes.gpkg or all.parquet."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.merge is not None and Path(self.merge).name != self.merge:
            raise BadOption(f"merge {self.merge!r} must be the name of a file, which is written to OUT")

    @property
    def each(self) -> DetectOptions:
        """Options of a pair."""
        return DetectOptions(**{each.name: getattr(self, each.name) for each in fields(DetectOptions)})


@dataclass(frozen=True, kw_only=True)
class WatchOptions(RegionOptions, TileOptions, DetectorOptions, SceneOptions):
    """Which images `watch` takes, and how it compares them."""

    panel: ClassVar[str] = Options.panel

    min_area: str | float = field(default="4px", metadata={"panel": REGIONS})
    """Smallest change, in pixels or square metres, as in 4px or 100m2; 0 keeps all."""

    reference: str | None = field(default=None, metadata={"names": "raster"})
    """Image that all are compared with; None: each with the one before."""

    pattern: tuple[str, ...] = ("*.tif", "*.tiff", "*.png", "*.jpg")
    """Names of images to take; others are left alone."""

    every: float = 0.2
    """Seconds between two looks at the folder; an image is taken when it was alike at both."""

    until_idle: float | None = None
    """End after so many seconds without a new image; None: go on until Ctrl-C."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.every < inf:
            raise BadOption(f"every {self.every} must be seconds, above 0")
        if self.until_idle is not None and not 0 <= self.until_idle < inf:
            raise BadOption(f"until_idle {self.until_idle} must be seconds, 0 or more")
        if not self.pattern:
            raise BadOption("pattern must name images, as in *.tif")
        if self.labels is not None:
            raise BadOption("labels are of one pair of images; choose the threshold with `geochange detect`")
        if self.mask_files:
            raise BadOption("masks are of one pair of images; give them to `geochange detect` or `detect-many`")


@dataclass(frozen=True, kw_only=True)
class CocoOptions(LabelOptions):
    """Which labels `datasets export` writes."""

    split: Literal["train", "val", "test"] | None = None
    """Pairs of this split alone; None: all."""


@dataclass(frozen=True, kw_only=True)
class ImportOptions(Options):
    """Where `datasets import` finds labels, and what it takes."""

    annotations: str | None = field(default=None, metadata={"names": "file"})
    """COCO: the file, in place of all *.json; YOLO: the file with the names of its classes."""

    colours: str | None = field(default=None, metadata={"names": "file"})
    """Table of colours: a CSV with red, green, blue and name."""

    of: LabelDate = "change"
    """Of land cover at both dates: change alone, or the class that was there before, or after."""


@dataclass(frozen=True, kw_only=True)
class RefineOptions(NodataOptions):
    """The corrections. They follow one another in the order of these options."""

    panel: ClassVar[str] = Options.panel

    guided: tuple[int, ...] = ()
    """Guided filter: its radius in pixels, or several, as in 2,4,8."""

    guided_eps: float = GuidedFilter.eps
    """Variance, as a share of the scene's, below which an image counts as flat."""

    crf: int | None = None
    """Local random field: number of iterations."""

    crf_radius: int = LocalField.radius
    """Pixels from the centre of the field's window to its edge."""

    crf_weight: float = LocalField.weight
    """Log-odds that all neighbours add."""

    crf_contrast: float = LocalField.contrast
    """Difference between neighbours at which they part, in standard deviations of the bands."""

    crf_smoothness: float = LocalField.smoothness
    """Share of the weight that holds whatever neighbours look like, 0 to 1."""

    opening: str | float | None = field(default=None, metadata={"flags": ("--open",)})
    """Radius of an opening: metres, as in 2, or pixels, as in 3px."""

    closing: str | float | None = field(default=None, metadata={"flags": ("--close",)})
    """Radius of a closing: metres, as in 2, or pixels, as in 3px."""

    threshold: float | None = None
    """Probability around which the random field balances; None: the raster's own, else 0.5."""

    bands: tuple[int | str, ...] | None = field(default=None, metadata={"names": "band"})
    """Bands of the images that lead: numbers from 1, or names; None: all."""

    resampling: ResamplingName = "cubic"
    """How an image on another grid is interpolated."""

    block_size: int = field(default=512, metadata={"panel": TILES})
    """Pixels per side of a block, which is one task."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise BadOption(f"threshold {self.threshold} must lie above 0 and at most at 1")
        if self.block_size < 16:
            raise BadOption(f"block size {self.block_size} must be at least 16 pixels")


@dataclass(frozen=True, kw_only=True)
class ExplainOptions(DetectorOptions, SceneOptions):
    """What `explain` explains, and by which network."""

    panel: ClassVar[str] = Options.panel

    detector: str | None = field(default=None, metadata={"flags": ("--detector", "-d"), "panel": DetectorOptions.panel})
    """Name of a network among the detectors; None: that of the checkpoint."""

    at: tuple[float, float] | None = None
    """Place to explain, X,Y in map units; in plain images the column and minus the row."""

    changes: str | None = field(default=None, metadata={"names": "layer"})
    """Layer of changes, in place of a place."""

    id: int | None = None
    """Id of the change in that layer."""

    size: int = 256
    """Side of the raster about the place, in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.at is None) == (self.changes is None):
            raise BadOption("give the place to explain: either at, or a layer of changes and the id of one of them")
        if (self.changes is None) != (self.id is None):
            raise BadOption("a change is named by its layer and its id: give both")
        least, most = EXPLAINED_SIDES
        if not least <= self.size <= most:
            raise BadOption(f"size {self.size} must lie in {least}..{most} pixels")


@dataclass(frozen=True, kw_only=True)
class VectorizeOptions(RegionOptions):
    """What counts as a change in a raster, and how it is outlined."""

    right_angles: bool = False
    """Give outlines right angles where that fits, as buildings have them."""

    diagonals: bool = False
    """With right angles: edges may run at 45 degrees too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.diagonals and not self.right_angles:
            raise BadOption("--diagonals goes with --right-angles; add it, or leave both out")


@dataclass(frozen=True, kw_only=True)
class FuseOptions(Options):
    """How probabilities are fused."""

    method: FusionMethod = "mean"
    """How probabilities are fused."""

    weights: tuple[float, ...] | None = None
    """For `weighted`: one for each raster."""

    threshold: float | None = None
    """For `vote`: probability that each raster must reach; None: each one's own, else 0.5."""

    labels: str | os.PathLike[str] | None = field(default=None, metadata={"names": "map"})
    """For `stacking`: a raster or a layer of polygons to fit a model on."""

    model: str | os.PathLike[str] | None = field(default=None, metadata={"names": "file"})
    """For `stacking`: a model that was fitted earlier, in place of labels."""

    fit: FitOptions = field(default_factory=FitOptions, metadata={"flags": ()})
    """For `stacking`: how a model is fitted."""

    dtype: StoredType = "uint8"
    """How probabilities are stored: uint8 (0..254, nodata 255) or float32 (nodata NaN)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, method in BELONGS_TO.items():
            if getattr(self, name) is not None and self.method != method:
                raise BadOption(f"{name} is for the method {method}, not for {self.method}; leave one of them out")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise BadOption(f"threshold {self.threshold} must lie in 0..1")
        if self.method == "weighted":
            _require_weights(self.weights)
        if self.method == "stacking" and (self.labels is None) == (self.model is None):
            raise BadOption("stacking needs labels to fit a model on, or a model that was fitted earlier: one of them")


BELONGS_TO = {"weights": "weighted", "threshold": "vote", "labels": "stacking", "model": "stacking"}
"""Option -> the only method that takes it."""


def _require_weights(weights: tuple[float, ...] | None) -> None:
    if weights is None:
        raise BadOption("the method weighted needs weights, one for each raster, as in 2,1,1")
    if not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
        raise BadOption(f"weights {','.join(map('{:g}'.format, weights))} must be 0 or more, and one of them above 0")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Options):
    """How two maps are compared."""

    ignore: tuple[int, ...] = ()
    """Labels that are not scored."""

    threshold: float | None = None
    """Smallest probability of a change, for probability rasters; None: their own, else 0.5."""

    iou: float = 0.5
    """Intersection over union from which two objects are the same."""

    resolution: float | None = None
    """Pixel size in metres, or in map units where there is no CRS, to compare two vector layers; None: 4096 pixels
    along the longer side."""

    classes: tuple[str, ...] = ()
    """Names of the labels 1, 2, ..., as in appeared,vanished; layers hold them in a column; None: all that is
    labelled is change, unless rasters hold several labels."""

    label_column: str = "label"
    """Column of layers that holds the class."""

    grid: str | None = field(default=None, metadata={"names": "raster"})
    """Raster on whose grid the two are compared; None: the reference's, else the prediction's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise BadOption(f"threshold {self.threshold} must lie in 0..1")
        if self.resolution is not None and not 0 < self.resolution < float("inf"):
            raise BadOption(f"resolution {self.resolution} must be above 0 metres")


@dataclass(frozen=True, kw_only=True)
class FromToOptions(MinAreaOptions):
    """What counts as a change between two layers, and what is read and written."""

    panel: ClassVar[str] = Options.panel

    label_column: str = "label"
    """Column that holds the class."""

    label_column_after: str | None = None
    """Column of AFTER that holds the class; None: the same."""

    grid: str | None = field(default=None, metadata={"names": "raster"})
    """Image on whose grid labels are written."""

    min_area: str | float = "0m2"
    """Smallest change, as in 100m2, or with a grid as in 4px; smaller ones become part of the change that they share
    the longest border with, or are left out."""

    tolerance: float = 0.0
    """Metres: what is narrower is a shift in digitising. It is left out, or becomes part of the changes around it."""

    missing: str | None = None
    """Class of a place that only one layer covers; None: such places are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.tolerance < inf:
            raise BadOption(f"tolerance {self.tolerance:g} must be 0 or more metres")
        if self.grid is None and parse_min_area(self.min_area).pixels:
            raise BadOption(
                f"min-area {self.min_area!r} is in pixels, which layers do not have; give square metres, as in 100m2, "
                "or --grid IMAGE"
            )


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Options):
    """What `export_model` writes."""

    formats: tuple[ModelFormat, ...] = get_args(ModelFormat)
    """Formats to write."""

    tile_size: int = 512
    """Side, in pixels, of the tiles on which the exported model is compared with torch."""

    dates: int = 2
    """Number of dates, for networks that take more than two."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not SMALLEST_TILE <= self.tile_size <= LARGEST_TILE:
            raise BadOption(f"tile size {self.tile_size} must lie in {SMALLEST_TILE}..{LARGEST_TILE} pixels")
        if not 2 <= self.dates <= MOST_DATES:
            raise BadOption(f"dates {self.dates} must lie in 2..{MOST_DATES}")


LONGEST_NAME = 40  # of a reviewer
Decided: TypeAlias = Literal["all", "decided", "kept"]


@dataclass(frozen=True, kw_only=True)
class ReviewOptions(SceneOptions):
    """How `review` serves its page, or what it writes in its place; and how two dates without a run are opened."""

    port: int | None = None
    """Port of the page; 0: any free one; None: the one of last time."""

    open: bool = True
    """Open the page in the browser."""

    reviewer: str | None = None
    """Who decides; None: the user's name."""

    host: str | None = None
    """Address to listen on, for other machines; None: this machine alone."""

    remote: bool = False
    """Read images over the network where the run did; for a run of your own."""

    export: str | os.PathLike[str] | None = field(default=None, metadata={"names": "file", "written": True})
    """Write the changes with their status to this layer, and serve no page."""

    only: Decided = "all"
    """Which changes to write."""

    status: bool = False
    """Print what has been decided so far, and serve no page."""

    compare: str | os.PathLike[str] | None = field(default=None, metadata={"names": "folder"})
    """Another review of the same layer, to say how far both agree; no page is served."""

    view: bool = False
    """Make review.gpkg, or bring it up to date, and serve no page."""

    take_in: bool = False
    """Record what was edited in review.gpkg with a GIS, and serve no page."""

    classes: tuple[str, ...] = ()
    """Names that a change may have, where two dates are annotated; None: those of the layer, or change."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.port is not None and not 0 <= self.port < 1 << 16:
            raise BadOption(f"port {self.port} must lie in 0..65535")

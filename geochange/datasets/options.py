"""Options of labelled data and of synthetic pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias, get_args

from geochange.datasets.variation import parse_variation
from geochange.declarations import Options
from geochange.errors import BadOption
from geochange.scenes.options import NodataOptions

ChangeKind: TypeAlias = Literal["appeared", "vanished", "moved", "deformed", "recoloured"]
CHANGE_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)
"""Kinds of synthetic change; label k is the k-th of them, from 1."""

ShapeName: TypeAlias = Literal["square", "rectangle", "blob"]
Effect: TypeAlias = Literal["season", "haze", "view", "blur", "noise", "jpeg"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)

MOST_CLASSES = 250
MOST_COPIES = 10_000  # pairs of one image
LARGEST_OBJECT = 64  # pixels, of the square root of the area


@dataclass(frozen=True, kw_only=True)
class LabelOptions(Options):
    """How stored labels are read."""

    FEWEST_CLASSES: ClassVar[int] = 1

    classes: tuple[str, ...] = ("change",)
    """Names of the labels 1, 2, ..., as in built,felled."""

    values: tuple[int | str, ...] | None = None
    """Stored value of each class; None: 1, 2, ... in rasters (255 beside 0 alone), and the names in layers."""

    ignore: tuple[int | str, ...] = ()
    """Further stored values for "not labelled", besides 255."""

    label_column: str | None = None
    """Column of a label layer that names the class; None: every polygon is of the single class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.classes)
        if not self.FEWEST_CLASSES <= count <= MOST_CLASSES or len({*self.classes}) < count:
            raise BadOption(f"classes {', '.join(self.classes)!r} must be 1 to {MOST_CLASSES} different names")
        if self.values is None or not count:
            return
        given = ", ".join(map(str, self.values))
        if len(self.values) != count or len({*self.values}) < len(self.values):
            raise BadOption(f"values {given} must be as many as the classes {', '.join(self.classes)}, and differ")
        if 0 in self.values:
            raise BadOption(f"values {given}: 0 stands for no change")


@dataclass(frozen=True, kw_only=True)
class DataOptions(LabelOptions):
    """How labelled pairs are read."""

    bands: tuple[int, ...] | None = None
    """Band numbers to use, from 1; None: all."""

    align: bool = False
    """Bring the dates of a scene to the first one's grid, on their overlap, while they are read."""

    tile_size: int = 512
    """Largest side, in pixels, of the tiles that scenes of a table are cut into."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tile_size < 1:
            raise BadOption(f"tile_size {self.tile_size} must be at least 1 pixel")


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions(Options):
    """How far training samples are varied."""

    augmentation: Mapping[str, str] = field(default_factory=dict, metadata={"flags": ("--augmentation",)})
    """Option of augmentation, as in rotation=0, or geometry=off and look=off for none; may be given again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_variation(self.augmentation)


@dataclass(frozen=True, kw_only=True)
class DescribeOptions(DataOptions, AugmentationOptions):
    """What `datasets` reads, and how it varies the samples that it shows."""


@dataclass(frozen=True, kw_only=True)
class CollectionOptions(DataOptions):
    """How one folder or table is opened, and for whom."""

    gsd: float | None = None
    """Metres a pixel; None: that of the scenes of a CSV, unknown for folders of images."""

    share: float | None = None
    """Of the training samples; None: by area."""

    labelled: bool = True
    """Whether labels are asked for; without, every pixel counts as not labelled."""

    objects: bool = False
    """Whether each polygon of a layer is an object of its own, though polygons touch."""

    as_stored: bool = False
    """Whether images give numbers as they are stored, without their bands' scale and offset."""

    dated: bool = False
    """Whether rasters hold, from 1 on, the interval between dates in which a pixel changed, in place of a class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gsd is not None and not 0 < self.gsd < float("inf"):
            raise BadOption(f"gsd {self.gsd} must be above 0")


@dataclass(frozen=True, kw_only=True)
class SyntheticObjects(Options):
    """What is pasted to synthesize changes."""

    kinds: tuple[ChangeKind, ...] = CHANGE_KINDS
    """Kinds of change."""

    sizes: tuple[float, float] = (3.0, 32.0)
    """Sizes of drawn objects, smallest and largest, in pixels: the square root of the area."""

    shapes: tuple[ShapeName, ...] = get_args(ShapeName)
    """Shapes of drawn objects."""

    density: float = 300.0
    """Changes on a million pixels, where there is room."""

    contrast: tuple[float, float] = (0.8, 3.0)
    """Least and greatest difference between the dates, in standard deviations of the image."""

    standing: float = 0.3
    """Objects that stand at both dates, for each change."""

    textured: float = 0.6
    """Share of drawn objects that show another part of the image; others have one colour."""

    cut: float = 0.7
    """Share of objects that are cut out rather than drawn, with outlines or pictures."""

    softness: float = 0.7
    """Largest blur of an object's edge, in pixels."""

    shadows: float = 0.3
    """Share of objects that throw a shadow."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("kinds", CHANGE_KINDS), ("shapes", get_args(ShapeName))):
            if not getattr(self, name):
                raise BadOption(f"{name} must name at least one of {', '.join(known)}")
        if not 2 <= self.sizes[0] <= self.sizes[1] <= LARGEST_OBJECT:
            raise BadOption(f"sizes {_span(self.sizes)} must rise and lie in 2..{LARGEST_OBJECT} pixels")
        if not 0 < self.contrast[0] <= self.contrast[1] < float("inf"):
            raise BadOption(f"contrast {_span(self.contrast)} must rise and lie above 0")
        if not 0 <= self.density <= 20000:
            raise BadOption(f"density {self.density:g} must lie in 0..20000 on a million pixels")


@dataclass(frozen=True, kw_only=True)
class SynthesizeOptions(SyntheticObjects, NodataOptions):
    """What is synthesized from each image."""

    panel: ClassVar[str] = Options.panel

    effects: tuple[Effect, ...] = EFFECTS
    """Effects that differ between the dates without being change."""

    strength: float = 1.0
    """Strength of the effects: 1 as in images a year apart, 0 for none."""

    after: str | None = None
    """Real second date to paste into: an image, or a folder of images with the same names."""

    changed: str | None = None
    """Mask of real changes between the dates, or a folder of masks: they are not labelled, nor pasted over."""

    copies: int = 1
    """Pairs of each image."""

    outlines: str | None = field(default=None, metadata={"names": "layer"})
    """Layer of polygons around objects to cut out and paste elsewhere."""

    cut_from: str | None = field(default=None, metadata={"names": "raster"})
    """Image that the outlines lie on; None: each image itself."""

    pictures: str | None = field(default=None, metadata={"names": "folder"})
    """Folder of pictures of objects, with opacity, to paste."""

    label_kinds: bool = False
    """Label the kinds of change apart, 1 to 5 in their order; otherwise 1 is change."""

    seed: int = 0
    """Seed; another one gives other pairs from the same images."""

    bands: tuple[int | str, ...] | None = None
    """Bands to use: numbers from 1, or names; None: all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.copies <= MOST_COPIES:
            raise BadOption(f"copies {self.copies} must lie in 1..{MOST_COPIES}")
        if self.seed < 0:
            raise BadOption(f"seed {self.seed} must be at least 0")
        if self.changed is not None and self.after is None:
            raise BadOption("changed needs after: between one image and itself nothing has changed")
        if self.outlines is not None and self.pictures is not None:
            raise BadOption("outlines and pictures exclude each other: objects come from one of them")
        if self.cut_from is not None and self.outlines is None:
            raise BadOption("cut_from needs outlines: objects are cut out by them")
        if not 0 <= self.strength < float("inf"):
            raise BadOption(f"strength {self.strength} must be 0 or more")


def _span(pair: tuple[float, float]) -> str:
    return f"{pair[0]:g}:{pair[1]:g}"

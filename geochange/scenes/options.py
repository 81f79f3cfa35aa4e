"""Options of reading images and of cutting them into tiles. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from geochange.declarations import TILES, Options
from geochange.errors import BadOption
from geochange.scenes.lengths import parse_length
from geochange.scenes.mask_rules import parse_rule

NodataRule: TypeAlias = Literal["any", "all"] | float
"""What makes a pixel nodata: any band or all bands at the dataset's own nodata or mask, or all bands at a value."""

Values: TypeAlias = Literal["stored", "physical"]
"""Numbers as a file stores them, or the quantities that they stand for by its bands' scale and offset."""

STORED: Values = "stored"
PHYSICAL: Values = "physical"

MosaicOrder: TypeAlias = Literal["name", "newest"]
"""Which tile of a date counts where several hold data: the first by name, or the newest."""

NO_MASK = "off"
"""In place of a mask: none, also where an image comes with one."""

ResamplingName: TypeAlias = Literal["nearest", "bilinear", "cubic", "lanczos", "average"]

LARGEST_TILE = 1 << 14  # pixels per side
SMALLEST_TILE = 16


@dataclass(frozen=True, kw_only=True)
class NodataOptions(Options):
    """What counts as nodata."""

    panel: ClassVar[str] = "Images"

    nodata: NodataRule | None = None
    """Where a pixel is nodata: where any band is, where all bands are, or where all bands hold this value; None: where
    any band is if no measurement can have its nodata value (-9999, 65535), else where all are."""


@dataclass(frozen=True, kw_only=True)
class SceneOptions(NodataOptions):
    """Which part of the images is used, and how they are brought together."""

    bands: tuple[int | str, ...] | None = field(default=None, metadata={"names": "band"})
    """Bands to use: numbers from 1, as in 4,3,2, or names, as in red,green,blue,nir or B04,B8A; None: all of a file, of
    a product those that show the ground."""

    mosaic: MosaicOrder = "name"
    """Where tiles of one date overlap: the first by name counts (in a list the first), or the newest."""

    aoi: str | tuple[float, float, float, float] | None = field(default=None, metadata={"names": "extent"})
    """Area of interest: a vector layer, or left,bottom,right,top in BEFORE's CRS; None: all."""

    align: bool = False
    """Bring AFTER to BEFORE's grid, on their overlap, while it is read."""

    resampling: ResamplingName = "cubic"
    """How aligned images are interpolated."""

    mask_before: str | None = field(default=None, metadata={"names": "map"})
    """Raster or vector layer of what is to be left out of BEFORE, as clouds and their shadows, or off; None: the mask
    that comes with the image, as of Sentinel-2 and Landsat."""

    mask_after: str | None = field(default=None, metadata={"names": "map"})
    """Raster or vector layer of what is to be left out of AFTER, or off; None: the mask that comes with the image."""

    masks: tuple[str, ...] = field(default=(), metadata={"names": "map"})
    """Masks of all images of a series, in their order, in place of --mask-before and --mask-after; nothing between two
    commas is the image's own mask, if it has one, as in m1.tif,,m3.tif."""

    mask_values: str | None = None
    """Numbers of a raster that are left out, as in 3,8,9,10, or scl (Sentinel-2), qa-pixel (Landsat), fmask or udm2
    (Planet); None: all but 0."""

    mask_buffer: str | float = 0
    """How far around it pixels are left out too, in metres or pixels, as in 50m or 3px."""

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_rule(self.mask_values)
        parse_length("--mask-buffer", self.mask_buffer, least=0)
        if self.mask_values is not None and not self.mask_files:
            raise BadOption("--mask-values needs --mask-before or --mask-after, or --masks")
        if self.masks and (self.mask_before is not None or self.mask_after is not None):
            raise BadOption("--masks names the masks of all images; leave out --mask-before and --mask-after")

    @property
    def mask_files(self) -> list[str]:
        """Those that are given for any image."""
        return [mask for mask in (self.mask_before, self.mask_after, *self.masks) if mask and mask != NO_MASK]

    def masks_of(self, images: int) -> list[str | None]:
        """Return the mask of each of so many images; None where it is the image's own.

        Raises:
            BadOption: another number of masks is given.
        """
        if not self.masks:
            return [self.mask_before, *[None] * (images - 2), self.mask_after][:images]
        if len(self.masks) != images:
            raise BadOption(
                f"{len(self.masks)} masks are given for {images} images; give one for each, or nothing between commas"
            )
        return [mask or None for mask in self.masks]


@dataclass(frozen=True, kw_only=True)
class TileOptions(Options):
    """How a scene is cut for inference."""

    panel: ClassVar[str] = TILES

    tile_size: int | None = None
    """Pixels per side of a tile; None: the detector's own, mostly 512."""

    overlap: int | None = None
    """Pixels that neighbouring tiles share; None: the detector's own."""

    block_size: int | None = None
    """Pixels per side of a block, which is one task, rounded to whole tiles; None: about 64 MB."""

    def __post_init__(self) -> None:
        super().__post_init__()
        largest = LARGEST_TILE if self.tile_size is None else self.tile_size
        if not SMALLEST_TILE <= largest <= LARGEST_TILE:
            raise BadOption(f"tile size {largest} must lie in {SMALLEST_TILE}..{LARGEST_TILE} pixels")
        self.require_overlap_below(largest)
        if self.block_size is not None and self.block_size < 1:
            raise BadOption(f"block size {self.block_size} must be at least 1 pixel")

    def require_overlap_below(self, tile_size: int) -> None:
        """Refuse, with BadOption, an overlap as wide as a tile."""
        if self.overlap is not None and not 0 <= self.overlap < tile_size:
            raise BadOption(f"overlap {self.overlap} must lie in 0..{tile_size - 1}, below the tile size {tile_size}")


@dataclass(frozen=True, kw_only=True)
class FrameOptions(Options):
    """Which frames or slices are extracted."""

    every: float | None = None
    """Video: seconds between two frames; None: each one."""

    span: tuple[float, float] | None = None
    """First and last to take: seconds of a video, numbers of slices from 0; None: all."""

    axis: Literal[0, 1, 2] | None = None
    """NIfTI: axis that slices follow each other along; None: 2, of axial slices."""

    slice: int | None = None
    """NIfTI with time: the slice that is followed through time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every is not None and not 0 < self.every < float("inf"):
            raise BadOption(f"every {self.every} must be seconds, above 0")
        if self.span is not None and not 0 <= self.span[0] <= self.span[1]:
            raise BadOption(f"span {self.span[0]:g},{self.span[1]:g} must be first and last, from 0 on")

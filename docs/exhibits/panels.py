"""Panels of a picture: a square of the ground as an image, as probabilities, as outlines over an image."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from PIL import Image, ImageDraw, ImageFont
from rasterio import DatasetReader, windows
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning

from geochange.arrays import Array, Bools, Floats
from geochange.polygons.preview import CHANGE, INK, NODATA, PAPER

Colour = tuple[int, int, int]
SIDE = 300  # px of a panel
GAP = 8
LINE = 28  # px, the height of a line of captions
FINE = 4  # lines and pixel edges are drawn this much larger and then reduced
CASING: Colour = (20, 20, 28)
DARK_AND_LIGHT: tuple[Colour, Colour] = ((20, 11, 41), (225, 225, 225))  # of what is unchanged and changed in labels
# Dark to light in even steps of lightness (5 to 95 in CIELAB), so that equal steps of a value look equal.
RAMP = np.array(
    [
        (20, 11, 41),
        (42, 32, 84),
        (66, 51, 135),
        (134, 62, 145),
        (192, 77, 140),
        (238, 106, 114),
        (255, 150, 91),
        (255, 200, 106),
        (247, 243, 182),
    ]
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a sheet, and what stands over it."""

    caption: str
    picture: Image.Image
    ramp: float = 0.0
    """The value of the lightest colour, where the ramp is to stand beside the caption."""


Rows = Sequence[Sequence[Panel]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A square of the ground at two dates, on the grid of the earlier one. Files are named within a folder."""

    before: str
    after: str
    col: float
    row: float
    size: float
    """Pixels per side."""
    bands: tuple[int, int, int] = (1, 2, 3)
    """What is shown in red, green and blue."""

    def dates(self, folder: Path) -> list[Panel]:
        return [Panel("before", self.image(folder, self.before)), Panel("after", self.image(folder, self.after))]

    def outlined(self, folder: Path, caption: str, layer: str) -> Panel:
        """The polygons of a layer over the later date."""
        return Panel(caption, self.outline(folder, layer, self.image(folder, self.after)))

    def probability(self, folder: Path, caption: str, raster: str) -> Panel:
        values = self.values(folder, raster)
        return Panel(caption, _reduced(ramp_colours(np.nan_to_num(values)), np.isnan(values)), ramp=1.0)

    def labels(self, folder: Path, caption: str, raster: str, colours: Mapping[int, Colour]) -> Panel:
        """A colour for each value; those without one are grey."""
        values = self.values(folder, raster)
        picture = np.full((*values.shape, 3), NODATA)
        for value, colour in colours.items():
            picture[values == value] = colour
        return Panel(caption, _reduced(picture, np.isnan(values)))

    def heats(self, folder: Path, raster: str) -> list[Panel]:
        """A band for each date, over the dates in grey: the higher, the more it covers."""
        values = [np.nan_to_num(self.values(folder, raster, band)) for band in (1, 2)]
        top = max(float(heat.max()) for heat in values)
        panels = []
        for date, heat in zip(self.dates(folder), values, strict=True):
            cover = 0.9 * (heat / top)[..., None]
            grey = np.asarray(date.picture.convert("L").resize(heat.shape[::-1]), float)[..., None]
            picture = cover * ramp_colours(heat / top) + (1 - cover) * grey
            panels.append(Panel(f"heat {date.caption}", _reduced(picture, np.zeros(heat.shape, bool)), ramp=top))
        return panels

    def image(self, folder: Path, raster: str, bands: Sequence[int] | None = None) -> Image.Image:
        """Three bands in colour, brightened alike, from the darkest to the lightest values of the whole image."""
        chosen = list(bands or self.bands)
        with _opened(folder / raster) as dataset:
            seen = self._read(dataset, folder, chosen, (SIDE, Resampling.cubic))
            shape = (3, *(min(side, 512) for side in dataset.shape))
            low, high = np.percentile(dataset.read(chosen, out_shape=shape, masked=True).compressed(), (0.3, 99.7))
        picture = np.clip((seen.data - low) / (high - low), 0, 1) ** 0.85 * 255
        return _reduced(picture.transpose(1, 2, 0), np.ma.getmaskarray(seen).any(axis=0))

    def kinds(self, folder: Path, caption: str, layer: str, colours: Mapping[str, Colour]) -> Panel:
        """The polygons of a layer over the later date, filled by what their column `kind` says."""
        frame = geopandas.read_file(folder / layer, layer=0)
        picture = self.image(folder, self.after).resize((SIDE * FINE, SIDE * FINE), Image.Resampling.BICUBIC)
        ink = picture.copy()
        pen = ImageDraw.Draw(ink)
        for polygon, kind in zip(self._placed(folder, frame.geometry.to_numpy()), frame["kind"], strict=True):
            for part in shapely.get_parts(polygon):
                pen.polygon(shapely.get_coordinates(part.exterior).ravel().tolist(), colours[kind])
        return Panel(caption, Image.blend(picture, ink, 0.75).reduce(FINE))

    def _placed(self, folder: Path, polygons: Array) -> Array:
        """Map geometries in pixels of a panel that is drawn `FINE` times as large."""
        zoom = SIDE * FINE / self.size
        to_panel = Affine.scale(zoom) @ Affine.translation(-self.col, -self.row) @ ~self._grid(folder)
        return shapely.transform(polygons, lambda points: np.transpose(to_panel @ tuple(points.T)))

    def outline(self, folder: Path, layer: str, over: Image.Image) -> Image.Image:
        """The polygons of a layer as lines with a dark casing."""
        polygons = geopandas.read_file(folder / layer, layer=0).geometry.to_numpy()
        rings = self._placed(folder, shapely.get_rings(shapely.get_parts(polygons)))
        rings = rings[shapely.intersects(rings, shapely.box(0, 0, SIDE * FINE, SIDE * FINE))]
        picture = over.resize((SIDE * FINE, SIDE * FINE), Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(picture)
        for ink, width in ((CASING, 3.2), (CHANGE, 1.6)):
            for ring in rings:
                pen.line(shapely.get_coordinates(ring).ravel().tolist(), ink, round(width * FINE), joint="curve")
        return picture.reduce(FINE)

    def values(self, folder: Path, raster: str, band: int = 1) -> Floats:
        """(y, x) of one band, `FINE` times as large as a panel; NaN where there are no data."""
        with _opened(folder / raster) as dataset:
            read = self._read(dataset, folder, [band], (SIDE * FINE, Resampling.nearest))[0]
            return (read * np.float32(dataset.scales[band - 1])).filled(np.nan)

    def _read(
        self, dataset: DatasetReader, folder: Path, bands: Sequence[int], how: tuple[int, Resampling]
    ) -> np.ma.MaskedArray:
        """(band, y, x) of so many pixels a side, on whatever grid the dataset has."""
        side, resampling = how
        to_pixel = ~_map_transform(dataset) @ self._grid(folder)
        (left, top), (right, bottom) = (to_pixel @ (self.col + edge, self.row + edge) for edge in (0, self.size))
        window = windows.Window(left, top, right - left, bottom - top)
        shape = (len(bands), side, side)
        return dataset.read(list(bands), window=window, out_shape=shape, masked=True, resampling=resampling)

    def _grid(self, folder: Path) -> Affine:
        with _opened(folder / self.before) as dataset:
            return _map_transform(dataset)


def ramp_colours(values: Floats) -> Floats:
    """Colours (..., 3) of values 0 to 1."""
    steps = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(values, steps, channel) for channel in RAMP.T], axis=-1)


def sheet(rows: Rows) -> Image.Image:
    """Panels beside each other, with their captions, in rows."""
    strips = [_strip(row) for row in rows]
    width = max(strip.width for strip in strips)
    paper = Image.new("RGB", (width, sum(strip.height + GAP for strip in strips) - GAP), PAPER)
    top = 0
    for strip in strips:
        paper.paste(strip, (0, top))
        top += strip.height + GAP
    return paper


def _strip(row: Sequence[Panel]) -> Image.Image:
    width = sum(panel.picture.width + GAP for panel in row) - GAP
    strip = Image.new("RGB", (width, LINE + max(panel.picture.height for panel in row)), PAPER)
    pen, font, left = ImageDraw.Draw(strip), ImageFont.load_default(size=15), 0
    for panel in row:
        right = left + panel.picture.width
        if panel.ramp:
            right = _draw_ramp(strip, right, panel.ramp, font)
        if left + font.getlength(panel.caption) > right:
            raise ValueError(f"the caption {panel.caption!r} is wider than its panel")
        pen.text((left + 1, LINE // 2), panel.caption, INK, font=font, anchor="lm")
        strip.paste(panel.picture, (left, LINE))
        left += panel.picture.width + GAP
    return strip


def _draw_ramp(strip: Image.Image, right: int, top: float, font: ImageFont.FreeTypeFont) -> int:
    """0, the colours, and what the last one means, ending at `right`; where the room left of them ends."""
    length, space = 64, 5
    colours = ramp_colours(np.linspace(0, 1, length)[None].repeat(LINE // 2, axis=0))
    pen, name = ImageDraw.Draw(strip), f"{top:.2g}"
    pen.text((right - 1, LINE // 2), name, INK, font=font, anchor="rm")
    start = right - 1 - round(font.getlength(name)) - space - length
    strip.paste(Image.fromarray(colours.round().astype(np.uint8)), (start, LINE // 4))
    pen.text((start - space, LINE // 2), "0", INK, font=font, anchor="rm")
    return start - 4 * space


def _reduced(picture: Array, missing: Bools) -> Image.Image:
    """(y, x, 3) of 0 to 255 as a panel, grey where there are no data."""
    drawn = np.where(missing[..., None], NODATA, picture).round().astype(np.uint8)
    return Image.fromarray(drawn).resize((SIDE, SIDE), Image.Resampling.BOX)


def _opened(path: Path) -> DatasetReader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # plain images will do
        return rasterio.open(path)


def _map_transform(dataset: DatasetReader) -> Affine:
    """Pixels to map units; in plain images y is minus the row, as in the layers that geochange makes of them."""
    plain = dataset.crs is None and dataset.transform.e > 0
    return Affine.scale(1, -1) @ dataset.transform if plain else dataset.transform

"""The picture of a run: before, after, and the changes over the after image. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from geochange.arrays import Array, Bools, Floats, Ints

CHANGE = (255, 0, 144)  # stands out from soil, water, roofs and plants, in true and false colour
PAPER = (255, 255, 255)
INK = (40, 44, 52)
NODATA = (232, 232, 236)
PANEL_GAP = 14
PANEL = 900  # px; longest side of a panel
CUT = 2.0  # per cent of the pixels that are drawn black, and white
LEAST_SEEN = 0.1  # share of the range from black to white, of which a date that can be seen holds more
SPREAD = 1.0  # pixels, so that single ones can be seen
HEAT_STOPS = (0.0, 0.35, 0.7, 1.0)
HEAT_COLOURS = ((60, 0, 20), (200, 30, 30), (255, 140, 0), (255, 240, 120))
OWN_STRETCH = " · own stretch"
TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Captions:
    """What stands over the three panels."""

    before: str = "before"
    after: str = "after"
    changes: str = "changes"


def hectares(square_metres: float) -> str:
    """Write an area for people to read."""
    amount = square_metres / 1e4
    return f"{amount:,.0f} ha" if amount >= 100 else f"{amount:.3g} ha"


def render_preview(before: Floats, after: Floats, changed: Bools, captions: Captions) -> Image.Image:
    """Draw before, after and changes, beside each other or, for wide scenes, below each other.

    Args:
        before: (band, y, x) of one or three bands, NaN where not valid.
        after: as `before`.
        changed: (y, x).
        captions: texts over the panels.
    """
    factor = max(1, PANEL // max(changed.shape))
    limits = limits_of_dates(before, after)
    pictures = [enlarge_pixels(stretch(date, own), factor) for date, own in zip((before, after), limits, strict=True)]
    pictures.append(outline_changes(pictures[1], enlarge_pixels(changed, factor)))
    alone = OWN_STRETCH if (limits[0] != limits[1]).any() else ""
    columns = 1 if pictures[0].shape[1] > 1.7 * pictures[0].shape[0] else len(pictures)
    return _arrange(pictures, [captions.before + alone, captions.after + alone, captions.changes], columns)


def render_heat(dates: tuple[Floats, Floats], heat: Floats, explained: Bools, captions: Captions) -> Image.Image:
    """Draw both dates, and below each what raised a score there.

    Args:
        dates: (band, y, x) of one or three bands each, NaN where not valid.
        heat: (2, y, x) 0..1, NaN where not valid.
        explained: (y, x), outlined.
        captions: texts over the dates, and over what lies below the first of them.
    """
    factor = max(1, PANEL // (2 * max(explained.shape)))
    limits = limits_of_dates(*dates)
    pictures = [enlarge_pixels(stretch(date, own), factor) for date, own in zip(dates, limits, strict=True)]
    mask = enlarge_pixels(explained, factor)
    edge = mask & ~ndimage.binary_erosion(mask, border_value=1)
    spread = np.stack(
        [ndimage.gaussian_filter(np.nan_to_num(part), SPREAD) for part in heat]
    )  # single pixels show, too
    spread /= max(float(spread.max()), TINY)
    for picture, part in zip(tuple(pictures), spread, strict=True):
        glowing = glow(picture, enlarge_pixels(part, factor))
        glowing[edge] = PAPER
        pictures.append(glowing)
    alone = OWN_STRETCH if (limits[0] != limits[1]).any() else ""
    return _arrange(pictures, [captions.before + alone, captions.after + alone, captions.changes, ""], 2)


def glow(picture: Array, heat: Floats) -> Array:
    """Draw (y, x) heat of 0..1 over a dimmed (y, x, 3) picture: from dark red over orange to yellow."""
    grey: Floats = picture.mean(axis=-1, keepdims=True, dtype=np.float32)
    colours = np.stack([np.interp(heat, HEAT_STOPS, each) for each in zip(*HEAT_COLOURS, strict=True)], axis=-1)
    opacity = np.clip(heat, 0, 1)[..., None] ** 0.5 * 0.85
    drawn: Array = np.rint(0.6 * grey * (1 - opacity) + colours * opacity).astype(np.uint8)
    return np.repeat(drawn, 3, axis=-1) if drawn.shape[-1] == 1 else drawn


def limits_of_dates(before: Floats, after: Floats, cut: float = CUT) -> Floats:
    """(date, band, 2) values that are drawn black and white: common ones, unless a date could not be seen then.

    Args:
        before: (band, y, x), NaN where not valid.
        after: the same.
        cut: per cent of the pixels that are drawn black, and white.
    """
    common = common_limits(before, after, cut)
    return np.stack([band_limits(before, cut), band_limits(after, cut)] if common is None else [common, common])


def common_limits(before: Floats, after: Floats, cut: float = CUT) -> Floats | None:
    """(band, 2) values that are drawn black and white at both dates, so that equal ground looks equal.

    None where one date would be all black or all white, as where the sensors differ.
    """
    limits = band_limits(np.concatenate([before, after], axis=1), cut)
    width = np.maximum(limits[:, 1] - limits[:, 0], TINY)
    low, high = np.moveaxis(
        (np.stack([band_limits(before, cut), band_limits(after, cut)]) - limits[:, :1]) / width[:, None], -1, 0
    )
    lost = (high < LEAST_SEEN).all(axis=1) | (low > 1 - LEAST_SEEN).all(axis=1)
    return None if lost.any() else limits


def band_limits(date: Floats, cut: float = CUT) -> Floats:
    """(band, 2) percentiles of each band of a (band, y, x) date, `cut` and 100 - `cut`; 0, 1 where nothing is valid."""
    seen = [band[np.isfinite(band)] for band in date]
    return np.array([np.percentile(band, (cut, 100 - cut)) if band.size else (0.0, 1.0) for band in seen])


def stretch(date: Floats, limits: Floats) -> Array:
    """(y, x, 3) uint8 of a (band, y, x) date of one or three bands, from black to white at the (band, 2) limits."""
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    scaled = (np.where(np.isfinite(date), date, low) - low) / np.maximum(high - low, TINY)
    bands = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    picture: Array = np.moveaxis(bands if len(date) == 3 else bands[:1].repeat(3, axis=0), 0, -1).copy()
    picture[np.isnan(date).any(axis=0)] = NODATA
    return picture


def enlarge_pixels(picture: Array, factor: int) -> Array:
    """Each pixel of (y, x, ...) as a square of `factor` pixels."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def outline_changes(picture: Array, changed: Bools) -> Array:
    """Draw changes over a dimmed (y, x, 3) picture: filled lightly, outlined fully."""
    grey: Floats = picture.mean(axis=-1, keepdims=True, dtype=np.float32)
    dimmed = 0.55 * picture + 0.25 * grey + 0.2 * 255
    edge = changed & ~ndimage.binary_erosion(changed, border_value=1)
    dimmed[changed] = 0.45 * dimmed[changed] + 0.55 * np.array(CHANGE, np.float32)
    dimmed[edge] = CHANGE
    return np.rint(dimmed).astype(np.uint8)


def covered_cells(polygons: Array, size: tuple[int, int], step: int) -> Bools:
    """(rows, cols) whether the first pixel of each cell of `step` pixels lies in one of the polygons.

    Exact for polygons on pixel corners: their vertical edges are where a row of pixels enters or leaves them.

    Args:
        polygons: (n,) shapely polygons or multipolygons in pixels, x = column and y = row.
        size: (rows, cols) of cells.
        step: pixels per side of a cell.
    """
    points, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(polygons)), return_index=True)
    x, y = np.rint(points).astype(np.int64).T
    vertical = (ring[:-1] == ring[1:]) & (x[:-1] == x[1:])
    top, bottom = (
        np.ceil(y[where] / step).astype(int) for where in (np.flatnonzero(vertical), np.flatnonzero(vertical) + 1)
    )
    col = np.ceil(x[:-1][vertical] / step).astype(int)
    length = np.abs(bottom - top)
    rows = np.repeat(np.minimum(top, bottom), length) + _counted(length)
    turns = np.zeros((size[0], size[1] + 1), np.int64)
    np.add.at(turns, (rows, np.repeat(col, length)), 1)
    inside: Bools = np.cumsum(turns, axis=1)[:, :-1] % 2 == 1
    return inside


def _counted(lengths: Ints) -> Ints:
    """0, 1, ... for each of the lengths, one after the other."""
    starts = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) - np.repeat(starts, lengths)


def _arrange(pictures: list[Array], captions: list[str], columns: int) -> Image.Image:
    height, width = pictures[0].shape[:2]
    text = min(max(width // 32, 15), 28)
    font, band = ImageFont.load_default(size=text), 2 * text
    cell_width = max(width, *(int(font.getlength(caption)) for caption in captions))
    cell = cell_width + PANEL_GAP, height + band + PANEL_GAP
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (PANEL_GAP + columns * cell[0], PANEL_GAP + rows * cell[1]), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = PANEL_GAP + place % columns * cell[0], PANEL_GAP + place // columns * cell[1]
        draw.text((left, top + text // 4), caption, INK, font=font)
        sheet.paste(Image.fromarray(picture), (left, top + band))
    return sheet

"""The picture of hits, misses and false alarms. Pure: arrays in, an RGB array out."""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import IntEnum
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geochange.arrays import Array, Bools, Ints
from geochange.evaluation.bootstrap import require_one_shape
from geochange.polygons.preview import PAPER, enlarge_pixels
from geochange.qgis.style import Colour


class Outcome(IntEnum):
    """What became of a pixel."""

    NOT_SCORED = 0
    UNCHANGED = 1
    HIT = 2
    MISS = 3
    FALSE_ALARM = 4
    WRONG_CLASS = 5


# Distinct with every common colour blindness: 15 or more in CIEDE2000 for each pair, as Machado (2009) models them.
COLOURS: Mapping[Outcome, Colour] = {
    Outcome.HIT: (60, 190, 240),
    Outcome.MISS: (250, 230, 60),
    Outcome.FALSE_ALARM: (220, 40, 40),
    Outcome.WRONG_CLASS: (150, 90, 220),
    Outcome.UNCHANGED: (44, 48, 54),
    Outcome.NOT_SCORED: (128, 128, 128),
}
NAMES: Mapping[Outcome, str] = {
    Outcome.HIT: "hit",
    Outcome.MISS: "missed",
    Outcome.FALSE_ALARM: "false alarm",
    Outcome.WRONG_CLASS: "wrong class",
    Outcome.UNCHANGED: "unchanged in both",
    Outcome.NOT_SCORED: "not scored",
}
HATCH: Colour = (164, 164, 164)  # the lighter stripes of what is not scored
LEGEND_INK: Colour = (30, 30, 30)
_SMALLEST = 640  # pixels on the longer side, below which a small scene is enlarged


def classify_outcomes(predicted: Array, reference: Array, valid: Bools) -> Ints:
    """Outcome of each pixel.

    Args:
        predicted: (y, x) labels, 0 for no change.
        reference: as `predicted`, on the same grid.
        valid: (y, x), True where both are scored.

    Returns:
        (y, x) uint8 values of `Outcome`.

    Raises:
        GridMismatch: the arrays differ in shape.
    """
    require_one_shape(predicted, reference, valid)
    found, real = predicted != 0, reference != 0
    outcomes = np.full(predicted.shape, Outcome.UNCHANGED, np.uint8)
    outcomes[found & ~real] = Outcome.FALSE_ALARM
    outcomes[~found & real] = Outcome.MISS
    outcomes[found & real] = Outcome.WRONG_CLASS
    outcomes[found & real & (predicted == reference)] = Outcome.HIT
    outcomes[~valid] = Outcome.NOT_SCORED
    return outcomes


def count_outcomes(confusion: Ints) -> dict[Outcome, int]:
    """Pixels of each scored outcome in a confusion matrix (reference, predicted) whose first class is no change."""
    hits = int(np.trace(confusion)) - int(confusion[0, 0])
    return {
        Outcome.HIT: hits,
        Outcome.MISS: int(confusion[1:, 0].sum()),
        Outcome.FALSE_ALARM: int(confusion[0, 1:].sum()),
        Outcome.WRONG_CLASS: int(confusion[1:, 1:].sum()) - hits,
        Outcome.UNCHANGED: int(confusion[0, 0]),
    }


def draw_outcomes(outcomes: Ints, counts: Mapping[Outcome, int] | None = None) -> Array:
    """Paint outcomes in their colours, with a legend below.

    What is not scored is hatched. A small scene is enlarged by a whole number.

    Args:
        outcomes: (y, x) values of `Outcome`, at the size at which they are to be seen.
        counts: pixels of each outcome in the whole scene, where `outcomes` is a reduced picture of it; by default
            those of `outcomes`.

    Returns:
        (y, x, 3) uint8 RGB.
    """
    if counts is None:
        counts = {outcome: int(np.count_nonzero(outcomes == outcome)) for outcome in Outcome}
    picture = _paint(enlarge_pixels(outcomes, max(1, _SMALLEST // max(outcomes.shape))))
    return _stack(picture, _draw_legend(_entries(counts, set(np.unique(outcomes))), picture.shape[1]))


def _paint(outcomes: Ints) -> Array:
    """(y, x, 3) uint8 colours of (y, x) outcomes."""
    picture = np.array([COLOURS[outcome] for outcome in Outcome], np.uint8)[outcomes]
    missing = outcomes == Outcome.NOT_SCORED
    picture[missing] = _hatch(outcomes.shape)[missing]
    return picture


def _hatch(shape: tuple[int, ...]) -> Array:
    """Grey with lighter diagonal stripes: (y, x, 3)."""
    rows, cols = np.indices(shape, sparse=True)
    stripe = (rows + cols) % 10 < 3
    return np.where(stripe[..., None], HATCH, COLOURS[Outcome.NOT_SCORED])


def _entries(counts: Mapping[Outcome, int], seen: Set[int]) -> list[tuple[Outcome, str]]:
    """Write the legend's text of each outcome: its pixels, and their share of those scored."""
    scored = sum(count for outcome, count in counts.items() if outcome != Outcome.NOT_SCORED)
    always = {*Outcome} - {Outcome.WRONG_CLASS, Outcome.NOT_SCORED}
    entries = []
    for outcome, name in NAMES.items():
        count = counts.get(outcome, 0)
        pixels = f"  {count:,} px" if count or outcome in always else ""
        share = f" ({count / scored:.2%})" if pixels and scored and outcome != Outcome.NOT_SCORED else ""
        if pixels or outcome in seen:
            entries.append((outcome, name + pixels + share))
    return entries


def _draw_legend(entries: list[tuple[Outcome, str]], width: int) -> Array:
    """Swatches with their texts, flowing into as many lines as the width asks for: (y, x, 3) uint8."""
    font = cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=min(max(width // 64, 14), 22)))
    line = round(sum(font.getmetrics()) * 1.5)
    lengths = [round(font.getlength(text)) + 3 * line for _, text in entries]
    places = _flow(lengths, width)
    strip = Image.new("RGB", (max(width, *lengths), (places[-1][1] + 2) * line), PAPER)
    pen = ImageDraw.Draw(strip)
    for (left, row), (outcome, text) in zip(places, entries, strict=True):
        x, y = left + line // 2, row * line + line // 2
        strip.paste(Image.fromarray(_swatch(outcome, line)), (x, y + line // 6))
        pen.text((x + 2 * line, y + line // 2), text, fill=LEGEND_INK, font=font, anchor="lm")
    return np.asarray(strip)


def _flow(lengths: list[int], width: int) -> list[tuple[int, int]]:
    """(left, row) of boxes that are set one after the other and wrap at the width."""
    places, left, row = [], 0, 0
    for length in lengths:
        if left and left + length > width:
            left, row = 0, row + 1
        places.append((left, row))
        left += length
    return places


def _swatch(outcome: Outcome, line: int) -> Array:
    """Draw a small sample of an outcome, for a legend whose lines are `line` pixels high."""
    shape = (line * 2 // 3, line * 3 // 2)
    return _paint(np.full(shape, outcome, np.uint8))


def _stack(picture: Array, legend: Array) -> Array:
    """One above the other, each on paper as wide as the wider."""
    width = max(picture.shape[1], legend.shape[1])
    sheets = [np.full((part.shape[0], width, 3), PAPER, np.uint8) for part in (picture, legend)]
    for sheet, part in zip(sheets, (picture, legend), strict=True):
        sheet[:, : part.shape[1]] = part
    return np.concatenate(sheets)

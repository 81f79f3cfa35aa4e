"""The picture of a local shift: what windows show, and what a field leaves of it. Pure: an RGB image out."""

from __future__ import annotations

from math import ceil, hypot

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geochange.arrays import Floats
from geochange.scenes.shift_field import WINDOW, LocalShift

SIDE = 900  # pixels of the longer side of a panel
GAP, HEAD = 28, 64
SMOOTHING = 2  # times finer it is drawn than shown
LENGTH = 0.9  # of the room between windows, which the longest arrow takes
PAPER, PANEL, INK = (255, 255, 255), (244, 245, 247), (40, 44, 52)
USED, OUTLIER = (200, 0, 110), (176, 180, 188)


def draw_local_shift(local: LocalShift, shape: tuple[int, int]) -> Image.Image:
    """Draw the shifts of windows as arrows, and beside them what is left where the field is removed.

    Args:
        local: what was measured.
        shape: (rows, cols) of the scene.
    """
    zoom = SIDE / max(shape)
    rows, cols = (ceil(length * zoom) for length in shape)
    image = Image.new("RGB", (2 * cols + 3 * GAP, rows + HEAD + 2 * GAP), PAPER)
    left = local.shifts - local.predicted
    usual = max(float(np.quantile(np.hypot(*local.shifts[local.used].T), 0.98)), 0.1)
    room = max(WINDOW / 2, hypot(*shape) / hypot(*(2 * [local.windows_tried**0.5])))
    scale = LENGTH * room * zoom / usual
    titles = (
        f"shift of AFTER · median {local.length:.2f} px",
        f"left after --remove-local-shift · median {local.residual:.2f} px",
    )
    for place, (shifts, title) in enumerate(zip((local.shifts, left), titles, strict=True)):
        corner = GAP + place * (cols + GAP), HEAD + GAP
        image.paste(_panel(local, shifts, (rows, cols), zoom, scale), corner)
        ImageDraw.Draw(image).text((corner[0], GAP), title, INK, _font(22))
    _legend(image, scale, (GAP, GAP + 32), local)
    return image


def _panel(local: LocalShift, shifts: Floats, size: tuple[int, int], zoom: float, scale: float) -> Image.Image:
    fine = Image.new("RGB", (size[1] * SMOOTHING, size[0] * SMOOTHING), PANEL)
    draw = ImageDraw.Draw(fine)
    order = np.argsort(local.used)  # outliers below
    for place, shift, used in zip(local.places[order], shifts[order], local.used[order], strict=True):
        start = (place + 0.5) * zoom * SMOOTHING
        _arrow(draw, start, start + shift * scale * SMOOTHING, USED if used else OUTLIER)
    return fine.resize((size[1], size[0]), Image.Resampling.LANCZOS)


def _arrow(draw: ImageDraw.ImageDraw, start: Floats, tip: Floats, colour: tuple[int, int, int]) -> None:
    """Draw an arrow between (row, col) places, with a dot where it starts."""
    (top, left), (row, col) = start, tip
    dot, along = 2.5 * SMOOTHING, tip - start
    draw.ellipse((left - dot, top - dot, left + dot, top + dot), colour)
    length = float(np.hypot(*along))
    if length < 2 * dot:
        return
    draw.line((left, top, col, row), colour, round(1.6 * SMOOTHING))
    head = along / length * min(6.0 * SMOOTHING, length / 2)
    across = np.array([-head[1], head[0]]) / 2
    corners = [tip, tip - head + across, tip - head - across]
    draw.polygon([(float(x), float(y)) for y, x in corners], colour)


def _legend(image: Image.Image, scale: float, corner: tuple[int, int], local: LocalShift) -> None:
    draw, (left, top) = ImageDraw.Draw(image), corner
    length = scale
    middle = top + 11
    _arrow(draw, np.array([middle, left + 4.0]), np.array([middle, left + 4.0 + length]), INK)
    used, tried, measured = int(local.used.sum()), local.windows_tried, len(local.used)
    text = f"1 px    {used} of {tried} windows; grey: {measured - used} that contradict their neighbours"
    draw.text((left + length + 16, top), text, INK, _font(17))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

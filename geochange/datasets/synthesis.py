"""Synthetic changes: one image becomes a pair of dates with known changes between them. Pure.

Objects are pasted into one date or both, as in copy-paste augmentation (Dwibedi 2017; Ghiasi 2021), and both dates are
given looks of their own (`unchanged`), so that unchanged pixels differ too. Objects also stand at both dates as
they are, so that not everything that was pasted is change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from geochange.arrays import IGNORE, Bools, Floats, Ints
from geochange.datasets.options import CHANGE_KINDS, EFFECTS, Effect, SyntheticObjects
from geochange.datasets.sprites import Cutouts, Sprite, draw_cover, draw_texture, shortened, turned
from geochange.datasets.unchanged import (
    EFFECT_HALO,
    DateLook,
    Tone,
    apply_light,
    apply_sensor,
    draw_look,
    move_view,
    pack_jpeg,
)
from geochange.scenes.grid import Tile

SYNTHETIC_CELL = 256  # pixels per side of what is synthesized at once, always the same: blocks do not change the result
SPACING = 3  # pixels between objects, and from the edge of a cell
TRIES = 30  # for a free place
SMALLEST_CHANGE = 3  # pixels
DARK = 0.55  # of the light that a shadow takes
COLOUR = 0.3  # how much bands differ, of a synthetic difference in brightness
SHADOW = 0.25  # cover from which a pixel counts as shadow


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPlan:
    """How the pair of one image is synthesized."""

    seed: int
    tone: Tone
    looks: tuple[DateLook, DateLook]
    sun: tuple[tuple[float, float], tuple[float, float]]
    """For each date the rows and columns of a shadow for a height of 1."""
    objects: SyntheticObjects = field(default_factory=SyntheticObjects)
    cutouts: Cutouts | None = None


@dataclass(frozen=True, slots=True)
class SyntheticChange:
    """One change."""

    kind: str
    box: tuple[int, int, int, int]
    """First row and column, and those behind the last, of its changed pixels in the scene."""
    area: int
    """Changed pixels."""
    contrast: float
    """Root mean square over the bands of its difference between the dates, in the scene's standard deviations."""


@dataclass(frozen=True, slots=True)
class SyntheticCell:
    """A cell of a synthetic pair."""

    dates: tuple[Floats, Floats]
    """(band, y, x) each."""
    labels: Ints
    """(y, x) uint8: 0 unchanged, k for the k-th of `CHANGE_KINDS`, 255 in the shadow of a change."""
    objects: tuple[SyntheticChange, ...]


def plan_pair(
    seed: int,
    tone: Tone,
    objects: SyntheticObjects | None = None,
    *,
    effects: tuple[Effect, ...] = EFFECTS,
    strength: float = 1.0,
    cutouts: Cutouts | None = None,
) -> PairPlan:
    """Draw how the two dates of an image differ.

    Args:
        seed: the image's own.
        tone: of the image.
        objects: what is pasted.
        effects: names of effects that are not change, see `draw_look`.
        strength: of the effects.
        cutouts: where objects are cut from; None: all are drawn.
    """
    rng, bands = np.random.default_rng([seed, 0]), len(tone.mean)
    plain = tuple(effect for effect in effects if effect in ("noise", "jpeg"))
    looks = [draw_look(rng, bands, effects, strength), draw_look(rng, bands, plain, strength)]
    if rng.random() < 0.5:
        looks.reverse()
    angles, lengths = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.4, 2), rng.uniform(0.5, 1.5, 2)
    (a, b), (c, d) = np.stack([np.sin(angles), np.cos(angles)], axis=1) * lengths[:, None]
    return PairPlan(
        seed=seed,
        tone=tone,
        looks=(looks[0], looks[1]),
        sun=((float(a), float(b)), (float(c), float(d))),
        objects=objects or SyntheticObjects(),
        cutouts=cutouts,
    )


def synthesize_cell(images: Sequence[Floats], free: Bools, cell: Tile, plan: PairPlan) -> SyntheticCell:
    """Synthesize one cell of a pair.

    Law: a cell depends on its own pixels, and on `EFFECT_HALO` more for the view and the blur; nothing else matters.

    Args:
        images: (band, y, x) of the cell and `EFFECT_HALO` pixels on each side, of one date for both, or of two.
        free: (y, x) of the same pixels, True where there are data and something may be pasted.
        cell: its place in the scene, at multiples of `SYNTHETIC_CELL`.
        plan: of the pair.
    """
    around = cell.grow(EFFECT_HALO)
    rng = np.random.default_rng([plan.seed, 1, cell.row // SYNTHETIC_CELL, cell.col // SYNTHETIC_CELL])
    grounds = images[0], images[-1]
    dates = [move_view(ground, around, look).copy() for ground, look in zip(grounds, plan.looks, strict=True)]
    canvas = _Canvas(dates, free, rng, plan)
    canvas.fill()
    inner = cell.slices((around.row, around.col))
    finished = []
    for date, look in zip(canvas.dates, plan.looks, strict=True):
        seen = apply_sensor(apply_light(date, around, look, plan.tone), around, look, plan.tone)[:, *inner]
        finished.append(seen if look.quality is None else pack_jpeg(seen, look.quality, plan.tone))
    labels, objects = canvas.labels[inner].copy(), []
    for found in canvas.changes:
        objects += _objects_of(found, labels, (around.row, around.col), inner, cell)
    return SyntheticCell((finished[0], finished[1]), labels, tuple(objects))


@dataclass(frozen=True, slots=True)
class _Change:
    """Pixels that were changed, as one object."""

    kind: str
    at: tuple[slice, slice]
    mask: Bools
    contrast: float


@dataclass
class _Canvas:
    """Two dates of a cell while objects are pasted into them."""

    dates: list[Floats]
    free: Bools
    rng: np.random.Generator
    plan: PairPlan
    taken: Bools = field(init=False)
    labels: Ints = field(init=False)
    changes: list[_Change] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        rim = EFFECT_HALO + SPACING
        self.taken = ~self.free
        self.taken[:rim] = self.taken[-rim:] = True
        self.taken[:, :rim] = self.taken[:, -rim:] = True
        self.labels = np.zeros(self.free.shape, np.uint8)

    def fill(self) -> None:
        """Paste as many objects as the density asks for."""
        options, rng = self.plan.objects, self.rng
        area = (self.free.shape[0] - 2 * EFFECT_HALO) * (self.free.shape[1] - 2 * EFFECT_HALO)
        for _ in range(rng.poisson(options.density * area / 1e6)):
            self._change(options.kinds[rng.integers(len(options.kinds))])
        for _ in range(rng.poisson(options.standing * options.density * area / 1e6)):
            self._stand()

    def _change(self, kind: str) -> None:
        sprite = self._draw()
        at = None if sprite is None else self._place(sprite)
        if sprite is None or at is None:
            return
        height = self._height(sprite)
        if kind == "moved":
            there = self._place(sprite, near=at)
            if there is not None:
                self._paste(kind, at, {0: sprite}, height)
                self._paste(kind, there, {1: sprite}, height)
        elif kind == "deformed":
            smaller = Sprite(shortened(sprite.cover, self.rng), sprite.texture)
            self._paste(kind, at, dict(zip(self.rng.permutation(2).tolist(), (sprite, smaller), strict=True)), height)
        elif kind == "recoloured":
            self._paste(kind, at, {0: sprite, 1: sprite}, height)
        else:
            self._paste(kind, at, {int(kind == "appeared"): sprite}, height)

    def _stand(self) -> None:
        """Paste something that stands at both dates as it is, but for its shadow."""
        sprite = self._draw()
        at = None if sprite is None else self._place(sprite)
        if sprite is None or at is None:
            return
        height = self._height(sprite)
        for date in (0, 1):
            self._shade(date, at, sprite.cover, height)
            self._blend(date, at, sprite)

    def _draw(self) -> Sprite | None:
        """Draw an object at random; None where the one that was drawn cannot be cut out."""
        options, rng, plan = self.plan.objects, self.rng, self.plan
        if plan.cutouts is not None and rng.random() < options.cut:
            sprite = plan.cutouts.draw(rng)
            return None if sprite is None else turned(sprite, rng)
        size = float(np.exp(rng.uniform(*np.log(options.sizes))))
        shape = options.shapes[rng.integers(len(options.shapes))]
        cover = draw_cover(shape, size, float(rng.uniform(0, options.softness)), rng)
        if any(need > length for need, length in zip(cover.shape, self.free.shape, strict=True)):
            return None
        texture = draw_texture(self.dates[0], (cover.shape[0], cover.shape[1]), plan.tone.spread, options.textured, rng)
        return Sprite(cover, texture)

    def _height(self, sprite: Sprite) -> float:
        """Draw its height in pixels, for its shadow; 0 where it throws none."""
        tall = self.rng.random() < self.plan.objects.shadows
        return float(self.rng.uniform(0.2, 0.7) * np.sqrt(sprite.mask.sum())) if tall else 0.0

    def _place(self, sprite: Sprite, near: tuple[slice, slice] | None = None) -> tuple[slice, slice] | None:
        """Find a free place, which then is taken; None where none is found."""
        rows, cols = sprite.cover.shape
        for _ in range(TRIES):
            room = self.free.shape[0] - rows, self.free.shape[1] - cols
            if min(room) < 0 or not sprite.mask.any():
                return None
            corner = np.array([self.rng.integers(each + 1) for each in room])
            if near is not None:
                step = self.rng.uniform(-1, 1, 2) * (6 + 4 * max(rows, cols))
                corner = np.clip(np.array([near[0].start, near[1].start]) + step.astype(int), 0, room)
            row, col = (int(each) for each in corner)
            around = np.s_[max(row - SPACING, 0) : row + rows + SPACING, max(col - SPACING, 0) : col + cols + SPACING]
            if not self.taken[around].any():
                at = np.s_[row : row + rows, col : col + cols]
                self.taken[at] = True
                return at
        return None

    def _paste(self, kind: str, at: tuple[slice, slice], sprites: dict[int, Sprite], height: float) -> None:
        """Paste into one date or both, so that a difference is seen, and note what has changed."""
        ground = [date[:, *at].copy() for date in self.dates]
        covers = [sprites[date].cover if date in sprites else np.zeros_like(ground[0][0]) for date in (0, 1)]
        mask = np.maximum(*covers) >= 0.5 if kind == "recoloured" else (covers[0] >= 0.5) != (covers[1] >= 0.5)
        if mask.sum() < SMALLEST_CHANGE:
            return
        last = max(sprites)
        other = sprites[0].texture if kind == "recoloured" else ground[1 - last]
        texture = self._strengthen(sprites[last].texture, other, mask)
        for date, sprite in sprites.items():
            kept = kind == "recoloured" and date != last
            self._shade(date, at, sprite.cover, height, changed=kind != "recoloured")
            self._blend(date, at, sprite if kept else Sprite(sprite.cover, texture))
        self.labels[at][mask] = CHANGE_KINDS.index(kind) + 1
        difference = (self.dates[1][:, *at] - self.dates[0][:, *at])[:, mask].mean(axis=1)
        contrast = float(np.sqrt(np.mean((difference / self.plan.tone.spread) ** 2)))
        self.changes.append(_Change(kind, at, mask, contrast))

    def _strengthen(self, texture: Floats, other: Floats, mask: Bools) -> Floats:
        """Shift a texture so that it differs from what is seen at the other date as much as the options ask for.

        Where black or white stand in the way it goes to the other side.
        """
        tone, (least, greatest) = self.plan.tone, self.plan.objects.contrast
        spread = tone.spread[:, None, None]
        difference = ((texture - other) / spread)[:, mask].mean(axis=1)
        size = float(np.sqrt(np.mean(difference**2)))
        if least <= size <= greatest:
            return texture
        wanted = float(np.exp(self.rng.uniform(*np.log((least, greatest)))))
        way = difference / max(size, least) + self.rng.choice([-1, 1]) * self.rng.normal(1, COLOUR, len(difference))
        way = difference if size > greatest else way
        way = way / max(float(np.sqrt(np.mean(way**2))), 1e-9) * wanted
        low, high = tone.low[:, None, None], tone.high[:, None, None]
        tried: list[Floats] = [
            np.clip(texture + (way * sign - difference)[:, None, None] * spread, low, high) for sign in (1, -1)
        ]
        reached = [np.sqrt(np.mean(((each - other) / spread)[:, mask].mean(axis=1) ** 2)) for each in tried]
        return tried[0] if reached[0] >= min(0.7 * wanted, reached[1]) else tried[1]

    def _blend(self, date: int, at: tuple[slice, slice], sprite: Sprite) -> None:
        seen = self.dates[date][:, *at]
        self.dates[date][:, *at] = seen + (sprite.texture - seen) * sprite.cover

    def _shade(
        self, date: int, at: tuple[slice, slice], cover: Floats, height: float, *, changed: bool = False
    ) -> None:
        """Throw a shadow; that of a change is not labelled."""
        if height <= 0:
            return
        length = np.array(self.plan.sun[date]) * height
        reach = int(np.ceil(np.abs(length).max())) + 1
        rows, cols = at
        wide = np.s_[max(rows.start - reach, 0) : rows.stop + reach, max(cols.start - reach, 0) : cols.stop + reach]
        before = (rows.start - wide[0].start, cols.start - wide[1].start)
        shape = self.labels[wide].shape
        around = [(before[k], shape[k] - before[k] - cover.shape[k]) for k in (0, 1)]
        if min(min(pair) for pair in around) < 0:
            return
        padded = np.pad(cover, around)
        steps = np.linspace(0, 1, 2 * reach + 1)
        shadow = np.max([ndimage.shift(padded, length * step, order=1) for step in steps], axis=0)
        shadow = np.clip(shadow - padded, 0, 1)
        tone = self.plan.tone
        low = tone.low[:, None, None]
        self.dates[date][:, *wide] = low + (self.dates[date][:, *wide] - low) * (1 - DARK * shadow)
        self.taken[wide] |= shadow > 0
        if changed:
            unsure = (shadow >= SHADOW) & (self.labels[wide] == 0)
            self.labels[wide][unsure] = IGNORE


def _objects_of(
    change: _Change, labels: Ints, origin: tuple[int, int], inner: tuple[slice, slice], cell: Tile
) -> list[SyntheticChange]:
    """Return the parts of a change as objects; parts of a pixel or two are not labelled."""
    kept = []
    regions, _ = ndimage.label(change.mask)
    row, col = (part.start - inside.start for part, inside in zip(change.at, inner, strict=True))
    for k, (rows, cols) in enumerate(ndimage.find_objects(regions), start=1):
        area = int((regions[rows, cols] == k).sum())
        if area < SMALLEST_CHANGE:
            own = labels[row : row + change.mask.shape[0], col : col + change.mask.shape[1]]
            own[regions == k] = IGNORE
            continue
        top, left = cell.row + row, cell.col + col
        box = (top + rows.start, left + cols.start, top + rows.stop, left + cols.stop)
        kept.append(SyntheticChange(change.kind, box, area, change.contrast))
    return kept

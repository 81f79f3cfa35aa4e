"""Small parts of probability rasters for tests, and steps applied to them in blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

from geochange.arrays import Array, Bools, Ints
from geochange.probability.refinement import ScorePart, Step, apply_steps
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition


def part_of(codes: Ints, valid: Bools | None = None, guide: Ints | None = None, **settings: int) -> ScorePart:
    """A part of uint8 codes (class, y, x) or (y, x), by default all valid and without a guide."""
    codes = codes if codes.ndim == 3 else codes[np.newaxis]
    shape = codes.shape[1:]
    guide = np.zeros((0, *shape), np.int32) if guide is None else guide
    valid = np.ones(shape, bool) if valid is None else valid
    return ScorePart(codes=codes, valid=valid, guide=guide, **{"steps": 254, "cutoff": 127, **settings})


@st.composite
def parts(draw: st.DrawFn, classes: int = 2, bands: int = 3, max_side: int = 24) -> ScorePart:
    """Smooth or noisy probabilities with holes in the data, and a guide with edges."""
    shape = draw(st.tuples(st.integers(1, max_side), st.integers(1, max_side)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    smooth = draw(st.sampled_from([0, 1, 3]))
    count = draw(st.integers(1, classes))
    noise = ndimage.gaussian_filter(rng.standard_normal((count, *shape)), (0, smooth, smooth))
    codes = np.clip(127 + 90 * noise / max(noise.std(), 1e-9), 0, 254).astype(np.uint8)
    patches = rng.normal(0, 256, (bands, -(-shape[0] // 5), -(-shape[1] // 5))).repeat(5, axis=1).repeat(5, axis=2)
    guide = (patches[:, : shape[0], : shape[1]] + rng.normal(0, 20, (bands, *shape))).astype(np.int32)
    valid = rng.random(shape) < draw(st.sampled_from([0.9, 1.0]))
    return part_of(codes * valid, valid, guide * valid)


def crop(part: ScorePart, tile: Tile) -> ScorePart:
    """A tile of a part, which may reach beyond it: nothing is valid there."""
    wide = max(tile.height, tile.width)
    rows, cols = tile.slices((-wide, -wide))

    def cut(values: Array) -> Array:
        around = [(0, 0)] * (values.ndim - 2) + [(wide, wide)] * 2
        return np.pad(values, around)[..., rows, cols]

    return replace(part, codes=cut(part.codes), valid=cut(part.valid), guide=cut(part.guide))


def in_blocks(part: ScorePart, steps: tuple[Step, ...], block: int) -> Ints:
    """Refined codes, block by block with a halo."""
    reach, result = sum(step.reach for step in steps), np.empty_like(part.codes)
    for tile in partition(part.valid.shape, (block, block)):
        around = apply_steps(crop(part, tile.grow(reach)), steps)
        rows, cols = tile.slices()
        result[:, rows, cols] = around[:, reach : reach + tile.height, reach : reach + tile.width]
    return result

"""How far and in which steps a program sees, found by running it on images that differ in one part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from geochange.arrays import Floats
from geochange.detectors.models.guessing import dates_of, size_that_runs, with_validity
from geochange.detectors.models.manifest import Manifest
from geochange.detectors.models.programs import Program
from geochange.detectors.models.tiles import TileModel
from geochange.detectors.preparation import Preparation
from geochange.errors import BadOption

STRIDES = (1, 2, 4, 8, 16, 32, 64, 128)
SIDES = (512, 1024)  # pixels; the second where the first is too small to see the end of what a score depends on
SAME = 1e-5  # of the output's range, where an image is the same but moved


def measure(program: Program, manifest: Manifest) -> Manifest:
    """Find the stride and the receptive radius of a program.

    Args:
        program: the model.
        manifest: complete.

    Returns:
        With both; the radius is None, and the tile fixed, where a score depends on all of a tile, as with global
        pooling, or where the program takes one size alone.
    """
    if manifest.fixed:
        return replace(manifest, receptive_radius=None)
    for side in SIDES:
        try:
            found = _measured(program, manifest, side)
        except BadOption:  # more than it takes
            found = None
        if found is not None:
            return replace(manifest, stride=found[0], receptive_radius=found[1])
    return replace(manifest, tile=manifest.tile or size_that_runs(program, manifest), fixed=True)


def _measured(program: Program, manifest: Manifest, side: int) -> tuple[int, int] | None:
    """(stride, receptive radius); None where something reaches as far as the image does."""
    model = TileModel(program, manifest, Preparation(gain=((1.0,),), offset=((0.0,),)))
    image = _image(program, manifest, side + STRIDES[-1])
    first = _scored(model, image[..., :side, :side])
    reach = 0
    for flip in ((), (-1,), (-2,), (-2, -1)):
        for edge in (side // 4 - 1, side // 4, side // 4 + 1):  # the part begins at any stride
            reach = max(reach, _reach(model, np.flip(image[..., :side, :side], flip), edge))
            if reach >= side // 2 - STRIDES[-1]:
                return None
    inside = slice(reach, side - reach - STRIDES[-1])
    limit = SAME * max(float(np.ptp(first)), 1e-6)
    for stride in STRIDES:
        moved = _scored(model, image[..., stride : side + stride, stride : side + stride])
        expected = first[..., stride:, stride:][..., inside, inside]
        if np.abs(moved[..., inside, inside] - expected).max() <= limit:
            return stride, reach
    return None


def _reach(model: TileModel, image: Floats, edge: int) -> int:
    """Return how many pixels beyond a part that is replaced, all but the last rows and columns, scores differ."""
    other = image[..., ::-1, ::-1].copy()
    other[..., edge:, edge:] = image[..., edge:, edge:]
    differing = (_scored(model, other) != _scored(model, image))[..., edge:, edge:].any(axis=(0, 1))
    rows, cols = np.nonzero(differing)
    return int(np.minimum(rows, cols).max(initial=-1)) + 1


def _image(program: Program, manifest: Manifest, side: int) -> Floats:
    """(1, time, band, side, side) noise, as the program takes it."""
    assert manifest.bands is not None
    shape = 1, dates_of(program, manifest), len(manifest.bands), side, side
    noise = np.random.default_rng(0).standard_normal(shape)
    return with_validity(noise.astype(np.float32), manifest)


def _scored(model: TileModel, image: Floats) -> Floats:
    """Run the program on the part of an image; (1, k, y, x)."""
    return model.output(np.ascontiguousarray(image))


def dates_without_effect(program: Program, manifest: Manifest) -> list[int]:
    """List the dates, from 0, that a program does not look at."""
    model = TileModel(program, manifest, Preparation(gain=((1.0,),), offset=((0.0,),)))
    image = _image(program, manifest, size_that_runs(program, manifest))
    found, without = _scored(model, image), []
    for date in range(dates_of(program, manifest)):
        other = image.copy()
        other[:, date] = image[:, date, :, ::-1, ::-1]
        if np.array_equal(_scored(model, other), found):
            without.append(date)
    return without

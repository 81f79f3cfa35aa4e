"""A picture of training samples: items as they lie, and as training draws them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from geochange.arrays import IGNORE, Array, Floats
from geochange.datasets.collection import Collection, Sample, evenly
from geochange.datasets.variation import NO_GEOMETRY, NO_LOOK, parse_variation
from geochange.errors import NothingValid
from geochange.files import appearing
from geochange.learning.samples import SampleOptions, TrainingSamples, measure_normalisation

ITEMS, DRAWS = 4, 5
SIDE, GAP, HEADER = 176, 4, 18  # pixels
SEARCHED = 60  # items, for some with change
PAPER, INK = 255, 40


def write_sheet(path: Path, collections: Sequence[Collection], augmentation: Mapping[str, str]) -> None:
    """Write a PNG with a block of rows for each of some items: its dates and labels, once as they lie, then varied.

    Args:
        path: the PNG.
        collections: with one number of bands.
        augmentation: see `variation.parse_variation`.

    Raises:
        NothingValid: there is no item.
        BandMismatch: images differ in bands.
    """
    chosen = list(_with_change(collections))
    if not chosen:
        raise NothingValid("there are no images to show")
    normalisation, _ = measure_normalisation(collections)
    geometry, look = parse_variation(augmentation)
    plain = SampleOptions(size=SIDE, geometry=replace(NO_GEOMETRY, centred=1.0), look=NO_LOOK)
    varied = SampleOptions(size=SIDE, geometry=replace(geometry, centred=1.0), look=look)
    blocks = []
    for number, (collection, sample) in enumerate(chosen):
        draws = []
        for draw, options in enumerate([plain, *[varied] * DRAWS]):
            rng = np.random.default_rng([number, draw])
            samples = TrainingSamples(collections, normalisation, options)
            dates, labels = samples.vary(sample, collection.zoom(None), rng)
            draws.append((dates.numpy(), labels.numpy()))
        blocks.append(_block(draws))
    with appearing(path) as temporary:
        _with_header(np.concatenate(blocks)).save(temporary, format="PNG")


def _with_change(collections: Sequence[Collection]) -> Iterator[tuple[Collection, Sample]]:
    """Yield some items, spread over the collections, those with change first."""
    places = [(each, index) for each in collections for index in range(len(each))]
    searched = [places[k] for k in evenly(len(places), SEARCHED)]
    changed: list[tuple[Collection, int]] = []
    others: list[tuple[Collection, int]] = []
    for collection, index in searched:
        labels = collection.read_labels(index)
        (changed if ((labels > 0) & (labels != IGNORE)).any() else others).append((collection, index))
        if len(changed) == ITEMS:
            break
    for collection, index in [*changed, *others][:ITEMS]:
        yield collection, collection.read(index)


def _block(draws: Sequence[tuple[Floats, Array]]) -> Array:
    """(time + 1 rows of tiles, draws, 3) bytes: a row for each date and one for the labels, a column for each draw."""
    low, high = np.percentile(draws[0][0], (2, 98))
    columns = []
    for dates, labels in draws:
        grey = np.where(labels == IGNORE, 0.5, labels > 0)[None]
        tiles = [_as_colour((date - low) / max(high - low, 1e-6)) for date in dates]
        columns.append(np.concatenate([_framed(tile) for tile in (*tiles, _as_colour(grey))]))
    whole = np.concatenate(columns, axis=1)
    rule: Array = np.full((GAP, whole.shape[1], 3), PAPER, np.uint8)
    return np.concatenate([whole, rule])


def _as_colour(image: Floats) -> Array:
    """(band, y, x) in 0..1 -> (y, x, 3) bytes: the first three bands, or the first as grey."""
    bands = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, axis=0)
    colour: Array = (np.clip(bands, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    return colour


def _framed(tile: Array) -> Array:
    framed: Array = np.pad(tile, ((0, GAP), (0, GAP), (0, 0)), constant_values=PAPER)
    return framed


def _with_header(whole: Array) -> Image.Image:
    """Write above each column what it shows."""
    sheet = Image.new("RGB", (whole.shape[1], whole.shape[0] + HEADER), (PAPER,) * 3)
    sheet.paste(Image.fromarray(whole), (0, HEADER))
    pen = ImageDraw.Draw(sheet)
    for draw in range(DRAWS + 1):
        text = "as it lies" if draw == 0 else f"sample {draw}"
        pen.text((draw * (SIDE + GAP) + 3, 3), text, fill=(INK,) * 3)
    return sheet

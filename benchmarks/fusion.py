"""What fusing brings on labelled tiles: sources alone and fused, on scenes that nothing was chosen on. A table.

    python benchmarks/fusion.py CACHE [--pairs val_512px_1m]

The pairs of LEVIR-CD are named after their scenes (`val004_0_3`, `val004`). Weights, models and
thresholds are chosen on scenes with an even number, and all figures are of those with an odd one. Each source is
detected once, by `geochange.detect` with its defaults, and kept in CACHE: the buildings network (`weights/buildings`)
on the tiles as they are, at half and at one and a half times their size, `landscape`, `ir-mad` and `change-vector`.
Probabilities are used as `detect` stores them, in one byte, and brought to the tiles' own pixels as `fuse` does.

Intervals are of 95 %, from a bootstrap over scenes; the gain is over the source that is best on the even scenes.
Boundary F is that of outlines within 2 pixels of each other (Csurka 2013), pooled over the tiles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from affine import Affine
from imagery import parser_with_data
from PIL import Image
from rasterio.enums import Resampling
from scipy import ndimage

import geochange
from geochange.arrays import Bools, Floats, Ints
from geochange.evaluation.bootstrap import Bootstrap, hit_rates, resample_sums
from geochange.probability.fusion import (
    FusionRule,
    best_threshold,
    maximum,
    noisy_or,
    stacked,
    vote_share,
    weighted_mean,
)
from geochange.probability.raster import LEVELS
from geochange.probability.stacking import LabelledPixels, fit_sample
from geochange.scenes.grid import Grid
from geochange.scenes.warped import warp_pixels

SOURCES = {
    "buildings": ("buildings", 1.0),
    "half size": ("buildings", 0.5),
    "1.5 times": ("buildings", 1.5),
    "landscape": ("landscape", 1.0),
    "ir-mad": ("ir-mad", 1.0),
    "change-vector": ("change-vector", 1.0),
}
"""Name -> (detector, size of the images beside their own)."""

GROUPS = (
    ("buildings", "half size"),
    ("buildings", "1.5 times"),
    ("buildings", "half size", "1.5 times"),
    ("buildings", "landscape"),
    ("buildings", "ir-mad"),
    ("buildings", "change-vector"),
    ("landscape", "ir-mad", "change-vector"),
    tuple(SOURCES),
)
TOLERANCE = 2  # px between outlines
WEIGHTS = 0.25, 0.5, 1.0, 2.0, 4.0  # of a source, beside the first one's 1: tried on the even scenes
QUOTA = 100_000  # pixels with and without change that a model is fitted on
BOOTSTRAP = Bootstrap(replicates=2000)


@dataclass(frozen=True)
class Tiles:
    """Labelled tiles."""

    images: tuple[tuple[Path, Path], ...]
    changed: Bools  # (tile, y, x)
    scenes: Ints  # (tile,) number of the scene that each was cut from

    @property
    def even(self) -> Bools:
        return self.scenes % 2 == 0


def open_tiles(data: Path) -> Tiles:
    labels = sorted((data / "label").iterdir())
    images = [tuple(next((data / side).glob(f"{label.stem}.*")) for side in "AB") for label in labels]
    changed = [np.asarray(Image.open(label).convert("L")) > 127 for label in labels]
    scenes = [int(re.search(r"\d+", label.stem)[0]) for label in labels]
    return Tiles(tuple(images), np.stack(changed), np.array(scenes))


def detect(tiles: Tiles, detector: str, zoom: float) -> Floats:
    """(tile, y, x) float32 probabilities, in the pixels of the resized images."""
    found = []
    for pair in tiles.images:
        with TemporaryDirectory() as folder:
            resized = [write_resized(image, Path(folder) / f"{k}.tif", zoom) for k, image in enumerate(pair)]
            run = geochange.detect(
                *resized, Path(folder) / "out", detector=detector, dtype="float32", formats=("geojson",), threads=1
            )
            with rasterio.open(run.probability) as dataset:
                found.append(dataset.read(1))
    return np.stack(found)


def write_resized(image: Path, path: Path, zoom: float) -> Path:
    with Image.open(image) as opened:
        size = tuple(round(side * zoom) for side in opened.size)
        values = np.asarray(opened.convert("RGB").resize(size, Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    profile = {"driver": "GTiff", "count": 3, "height": values.shape[1], "width": values.shape[2], "dtype": "uint8"}
    with rasterio.open(path, "w", transform=Affine(1 / zoom, 0, 0, 0, -1 / zoom, 0), **profile) as dataset:
        dataset.write(values)
    return path


def read_sources(tiles: Tiles, data: Path, cache: Path) -> dict[str, Floats]:
    """Name -> (tile, y, x) probabilities in the tiles' own pixels; what the cache lacks is detected."""
    cache.mkdir(parents=True, exist_ok=True)
    sources = {}
    for name, (detector, zoom) in SOURCES.items():
        path = cache / f"{data.name}-{detector}-{zoom:g}.npz"
        if not path.exists():
            np.savez_compressed(path, probability=detect(tiles, detector, zoom))
        with np.load(path) as stored:
            codes = np.rint(stored["probability"] * LEVELS)
        sources[name] = on_tiles((codes / LEVELS).astype(np.float32), zoom, tiles.changed.shape[1:])
    return sources


def on_tiles(probability: Floats, zoom: float, shape: tuple[int, int]) -> Floats:
    if zoom == 1:
        return probability
    grid = Grid(None, Affine(1 / zoom, 0, 0, 0, -1 / zoom, 0), probability.shape[1:])
    target = Grid(None, Affine(1, 0, 0, 0, -1, 0), shape)
    everywhere = np.ones(grid.shape, bool)
    return np.concatenate(
        [warp_pixels(tile[None], everywhere, grid, target, Resampling.bilinear)[0] for tile in probability]
    )


def fuse(sources: Sequence[Floats], fusion: FusionRule) -> Floats:
    """(tile, y, x) fused probability in steps of one byte, tile by tile."""
    present = np.ones((len(sources), *sources[0].shape[1:]), bool)
    tiles = [fusion(np.stack(parts)[:, None], present)[0] for parts in zip(*sources, strict=True)]
    return (np.rint(np.stack(tiles) * LEVELS) / LEVELS).astype(np.float32)


def even_threshold(probability: Floats, tiles: Tiles) -> float:
    """That of the best F1 on the even scenes."""
    chosen, changed = probability[tiles.even].ravel(), tiles.changed[tiles.even].ravel()
    return best_threshold(chosen, changed, np.ones(chosen.size))


def outcomes(predicted: Bools, tiles: Tiles, *, even: bool) -> Ints:
    """(scene, 3) hits, false alarms and misses of the even scenes, or the odd ones."""
    counts = np.stack(
        [
            part.sum(axis=(1, 2))
            for part in (predicted & tiles.changed, predicted & ~tiles.changed, ~predicted & tiles.changed)
        ],
        axis=1,
    )
    return np.stack([counts[tiles.scenes == s].sum(axis=0) for s in np.unique(tiles.scenes[tiles.even == even])])


def f1_of(counts: Floats) -> Floats:
    return hit_rates(*np.asarray(counts, float).reshape(-1, 3).T)[2]


def outline(mask: Bools) -> Bools:
    """The pixels of a (y, x) mask beside one that is not in it; the tile's border is no outline."""
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def boundary_f(predicted: Bools, changed: Bools) -> float:
    """F-score of the outlines of (tile, y, x) masks, within the tolerance."""
    near, total = np.zeros(2), np.zeros(2)
    for pair in zip(predicted, changed, strict=True):
        lines = [outline(mask) for mask in pair]
        for k, (line, other) in enumerate((lines, lines[::-1])):
            total[k] += line.sum()
            if other.any():
                near[k] += (ndimage.distance_transform_edt(~other)[line] <= TOLERANCE).sum()
    precision, recall = near / total
    return float(2 * precision * recall / (precision + recall))


def methods_of(sources: Sequence[Floats], tiles: Tiles) -> Iterator[tuple[str, FusionRule]]:
    """Every way to fuse some sources; what is to be chosen is chosen on the even scenes."""
    even = [source[tiles.even] for source in sources]
    yield "mean", partial(weighted_mean, weights=(1.0,) * len(sources))
    yield "weighted", best_weights(even, tiles)
    yield "maximum", maximum
    yield "vote", partial(vote_share, thresholds=[even_threshold(source, tiles) for source in sources])
    yield "noisy-or", noisy_or
    yield "stacking", fit(even, tiles.changed[tiles.even])


def best_weights(even: Sequence[Floats], tiles: Tiles, skip: int = 3) -> FusionRule:
    """The weights of the best F1 on every so many-th row and column of the even scenes; at most two differ from 1."""
    part = [source[:, ::skip, ::skip] for source in even]
    changed = tiles.changed[tiles.even][:, ::skip, ::skip]
    best, fusion = -1.0, None
    choices = product(WEIGHTS, repeat=len(even) - 1) if len(even) <= 3 else ((w,) * (len(even) - 1) for w in WEIGHTS)
    for others in choices:
        tried = partial(weighted_mean, weights=(1.0, *others))
        fused = fuse(part, tried)
        predicted = fused >= best_threshold(fused.ravel(), changed.ravel(), np.ones(fused.size))
        f1 = 2 * (predicted & changed).sum() / (predicted.sum() + changed.sum())
        if f1 > best:
            best, fusion = f1, tried
    assert fusion is not None
    return fusion


def fit(even: Sequence[Floats], changed: Bools) -> FusionRule:
    """A stacking model of the even scenes, as `geochange fuse` fits it."""
    rng, labels = np.random.default_rng(0), changed.ravel().astype(int)
    places = [np.flatnonzero(labels == k) for k in (0, 1)]
    drawn = [rng.choice(place, min(QUOTA, len(place)), replace=False) for place in places]
    weights = np.concatenate(
        [np.full(len(part), len(place) / len(part)) for part, place in zip(drawn, places, strict=True)]
    )
    at = np.concatenate(drawn)
    probability = np.stack([source.ravel()[at] for source in even])[:, None]
    sample = LabelledPixels(probability, np.ones((len(even), len(at)), bool), labels[at])
    model = fit_sample(sample, weights, sources=tuple(map(str, range(len(even)))), classes=("change",))
    return partial(stacked, model=model)


def note_of(fusion: FusionRule) -> str:
    """The numbers that were chosen, where there are some."""
    settings: Mapping = getattr(fusion, "keywords", {})
    if "model" in settings:
        return " ".join(f"{weight:+.2f}" for weight in settings["model"].weights[0])
    chosen = settings.get("weights", ())
    return " ".join(f"{weight:g}" for weight in chosen) if len(set(chosen)) > 1 else ""


@dataclass(frozen=True)
class Scores:
    """What a threshold of the even scenes reaches."""

    probability: Floats
    tiles: Tiles

    @cached_property
    def threshold(self) -> float:
        return even_threshold(self.probability, self.tiles)

    @cached_property
    def predicted(self) -> Bools:
        return self.probability >= self.threshold

    @cached_property
    def even(self) -> float:
        """F1."""
        return f1_of(outcomes(self.predicted, self.tiles, even=True).sum(axis=0)).item()

    @cached_property
    def odd(self) -> Ints:
        """(scene, 3) outcomes."""
        return outcomes(self.predicted, self.tiles, even=False)


def print_row(sources: Sequence[str], method: str, scores: Scores, best: Scores | None, note: str = "") -> None:
    """A row of the table, with the gain over the best of the sources alone."""
    drawn = resample_sums(np.concatenate([scores.odd, (best or scores).odd], axis=1), BOOTSTRAP)
    f1, gain = f1_of(drawn[:, :3]), f1_of(drawn[:, :3]) - f1_of(drawn[:, 3:])
    odd = f1_of(scores.odd.sum(axis=0)).item()
    change = "" if best is None else f"{odd - f1_of(best.odd.sum(axis=0)).item():+.3f} ({ends(gain, '+')})"
    place = ~scores.tiles.even
    edges = boundary_f(scores.predicted[place], scores.tiles.changed[place])
    print(
        f"| {' + '.join(sources)} | {method} | {scores.threshold:.2f} | {scores.even:.3f} | {odd:.3f} ({ends(f1)}) | "
        f"{change} | {edges:.3f} | {note} |",
        flush=True,
    )


def ends(drawn: Floats, sign: str = "") -> str:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{low:{sign}.3f} to {high:{sign}.3f}"


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--pairs", default="val_256px_0.5m", help="a folder of LEVIR-CD")
    chosen = parser.parse_args()
    pairs = chosen.data / "levir" / chosen.pairs
    tiles = open_tiles(pairs)
    sources = read_sources(tiles, pairs, chosen.cache)
    print("| sources | method | threshold | F1, even | F1, odd (95 %) | gain (95 %) | boundary F | chosen |")
    print("|---|---|---|---|---|---|---|---|")
    alone = {name: Scores(source, tiles) for name, source in sources.items()}
    for name, scores in alone.items():
        print_row((name,), "alone", scores, None)
    for group in GROUPS:
        parts, best = (
            [sources[name] for name in group],
            max((alone[name] for name in group), key=lambda each: each.even),
        )
        for method, fusion in methods_of(parts, tiles):
            print_row(group, method, Scores(fuse(parts, fusion), tiles), best, note_of(fusion))


if __name__ == "__main__":
    main()

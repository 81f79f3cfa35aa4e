"""What each way to choose a threshold brings, on real labels: methods, haze in a corner, few labels. Prints JSON.

    pip install ./weights/buildings
    python benchmarks/thresholds.py

Scored are the `buildings` network on LEVIR-CD's validation tiles with an odd scene number, side by side as one scene,
and `ir-mad` on Landsat of Taizhou and on the synthetic sample. Haze is simulated: in one corner the log-odds of all
pixels are compressed, and raised.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas
import numpy as np
import rasterio
from affine import Affine
from imagery import parser_with_data
from PIL import Image
from rasterio.features import rasterize
from scipy import ndimage

import geochange
from geochange.arrays import Array, Floats
from geochange.detectors.mixture import robit
from geochange.errors import BadOption, NothingValid
from geochange.probability.label_thresholds import choose_threshold, label_counts
from geochange.probability.local_thresholds import LocalThreshold, cell_threshold
from geochange.probability.thresholds import HISTOGRAM_METHODS
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition

ROOT = Path(__file__).parents[1]
TILES, TILE = Path("levir") / "val_256px_0.5m", 256
BINS = 1024
HAZE = (0, 4, 6)  # log-odds
PLACES = (20, 50, 100, 200)
DRAWS = 100


@dataclass(frozen=True)
class Case:
    """A scored scene and its truth: codes 0..254, labels 0, 1 and 255; both 255 where not known."""

    name: str
    codes: Array
    labels: Array
    cell: int

    @property
    def bins(self) -> Array:
        return np.rint(np.minimum(self.codes, 254) / 254 * (BINS - 1)).astype(int)

    @property
    def known(self) -> Array:
        return (self.codes != 255) & (self.labels != 255)

    def f1(self, threshold: Floats | float) -> float:
        predicted, changed = (self.codes / 254 >= threshold)[self.known], self.labels[self.known] == 1
        return round(float(2 * (predicted & changed).sum() / (predicted.sum() + changed.sum())), 3)


def levir(folder: Path, data: Path) -> Case:
    tiles = data / TILES
    names = sorted(each.stem for each in (tiles / "A").iterdir() if int(each.stem[3:6]) % 2)
    side = int(np.ceil(np.sqrt(len(names))))
    for part, bands in (("A", 3), ("B", 3), ("label", 1)):
        scene = np.full((bands, side * TILE, side * TILE), 255 if part == "label" else 0, np.uint8)
        for place, name in enumerate(names):
            row, col = (TILE * index for index in divmod(place, side))
            image = np.asarray(Image.open(next((tiles / part).glob(f"{name}.*"))))
            scene[:, row : row + TILE, col : col + TILE] = image.transpose(2, 0, 1) if bands == 3 else image[None] > 0
        write(folder / f"{part}.tif", scene)
    found = geochange.detect(folder / "A.tif", folder / "B.tif", folder / "out", detector="buildings")
    return Case("buildings, LEVIR-CD val", read(found.probability), read(folder / "label.tif"), 512)


def taizhou(folder: Path, data: Path) -> Case:
    place = data / "landsat_taizhou"
    found = geochange.detect(place / "T1.tif", place / "T2.tif", folder / "taizhou", detector="ir-mad")
    return Case("ir-mad, Taizhou", read(found.probability), read(place / "label.tif"), 128)


def sample(folder: Path) -> Case:
    place = ROOT / "sample_data"
    found = geochange.detect(place / "before.tif", place / "after.tif", folder / "sample")
    with rasterio.open(found.probability) as dataset:
        truth = geopandas.read_file(place / "truth.gpkg").geometry
        return Case(
            "ir-mad, sample", dataset.read(1), rasterize(truth, dataset.shape, transform=dataset.transform), 128
        )


def read(path: Path) -> Array:
    with rasterio.open(path) as dataset:
        return dataset.read(1)


def write(path: Path, scene: Array) -> None:
    count, height, width = scene.shape
    profile = {"driver": "GTiff", "crs": "EPSG:32614", "transform": Affine(0.5, 0, 0, 0, -0.5, 0), "dtype": "uint8"}
    with rasterio.open(path, "w", count=count, height=height, width=width, **profile) as dataset:
        dataset.write(scene)


def hazy(case: Case, strength: float) -> Case:
    """The case with haze in its upper left corner."""
    probability = np.clip(case.codes / 254, 0.5 / 254, 1 - 0.5 / 254)
    odds = 2 * (2 * probability - 1) / np.sqrt(1 - (2 * probability - 1) ** 2)  # the inverse of `robit`
    rows, cols = np.indices(odds.shape)
    depth = np.clip(2 - 2 * np.hypot(rows / odds.shape[0], cols / odds.shape[1]) / 0.7, 0, 1)
    noise = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=odds.shape), 1)
    codes = np.rint(254 * robit(odds * (1 - 0.6 * depth) + (strength + 2 * noise) * depth)).astype(np.uint8)
    return Case(case.name, np.where(case.codes == 255, 255, codes), case.labels, case.cell)


def local(case: Case) -> Floats:
    """Thresholds as `local` finds them."""
    tiles = partition(case.codes.shape, (case.cell, case.cell))
    parts = ((tile.slices(), case.bins, case.codes != 255) for tile in tiles)
    counts = (np.bincount(bins[at][valid[at]], minlength=BINS) for at, bins, valid in parts)
    cells = np.array([cell_threshold(each, np.linspace(0, 1, BINS), 0.5) for each in counts])
    rows = -(-case.codes.shape[0] // case.cell)
    return LocalThreshold(cells.reshape(rows, -1), case.cell, 0.5).at(Tile(0, 0, *case.codes.shape))


def by_method(case: Case) -> dict[str, float]:
    counts = np.bincount(case.bins[case.codes != 255], minlength=BINS)
    found = {name: case.f1(method(counts, np.linspace(0, 1, BINS))) for name, method in HISTOGRAM_METHODS.items()}
    return {"0.5": case.f1(0.5), **found, "local": case.f1(local(case))}


def by_few_labels(case: Case, wanted: str) -> Iterator[dict[str, float]]:
    """Of places drawn among all regions over 0.1: how often what was wanted holds on the whole scene."""
    regions = ndimage.label(case.codes / 254 >= 0.1)[0]
    pixels = ndimage.value_indices(np.where(case.known, regions, 0), ignore_value=0)
    places = [np.ravel_multi_index(at, case.codes.shape) for at in pixels.values() if at[0].size >= 4]
    reached = [np.bincount(case.bins[case.known & (case.labels == k)], minlength=BINS) for k in (0, 1)]
    false, right = (each[::-1].cumsum()[::-1] for each in reached)
    truth = right / np.maximum(false + right, 1) if wanted.startswith("precision") else right / right[0]
    rows, cols = np.indices(case.codes.shape) // 256
    flat = [each.ravel() for each in (case.bins, case.labels, rows * 1000 + cols)]
    for many in PLACES:
        outcomes = {"held": 0, "missed": 0, "refused": 0, "missed as counted": 0}
        for seed in range(DRAWS):
            drawn = np.random.default_rng(seed).choice(len(places), many, replace=False)
            at = np.concatenate([places[index] for index in drawn])
            counts = label_counts(*(each[at] for each in flat), BINS)
            share = counts.changed / np.maximum(counts.called if wanted[0] == "p" else counts.changed[0], 1)
            fits = np.flatnonzero(share >= float(wanted.partition("=")[2]))
            counted = fits[0 if wanted[0] == "p" else -1] if len(fits) else None
            outcomes["missed as counted"] += counted is not None and bool(truth[counted] < float(wanted[-3:]))
            try:
                place = round(choose_threshold(counts, wanted).threshold * (BINS - 1) + 0.5)
            except (BadOption, NothingValid):
                outcomes["refused"] += 1
            else:
                outcomes["held" if truth[place] >= float(wanted[-3:]) else "missed"] += 1
        yield {"places": many, **outcomes}


def main() -> None:
    data = parser_with_data(__doc__).parse_args().data
    with TemporaryDirectory() as folder:
        cases = [levir(Path(folder), data), taizhou(Path(folder), data), sample(Path(folder))]
    report = {
        "f1": {
            case.name: {f"haze {each}": by_method(hazy(case, each) if each else case) for each in HAZE}
            for case in cases
        },
        "few labels": {
            wanted: list(by_few_labels(cases[0], wanted)) for wanted in ("precision=0.8", "precision=0.9", "recall=0.8")
        },
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

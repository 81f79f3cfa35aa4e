"""What detectors find where unchanged covers differ by more than noise, at known changes. Prints JSON lines.

    python benchmarks/heavy_tails.py [--detectors ir-mad,slow-features,change-vector]

Changes are pasted into real pairs, and into one image taken twice: its second date has another gain and offset, and
noise with Student's tails whose spread differs from cover to cover. A paste is other land of the second date itself, so
that its light fits. A pixel is labelled as change where it departs from what was there by a deviation of the bands or
more; where a pair already differed most before the paste, and where a paste hardly differs, it has no label.

A line gives F1 at the default threshold, at `em` and at `otsu`, predicted over true change at the default (`ratio`),
and F1 at the threshold that is best on the labels: the statistic's own limit. The labels of Taizhou are not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from imagery import parser_with_data
from rasterio.enums import Resampling
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from scipy.stats import chi2, norm
from without_labels import write

import geochange
from geochange.arrays import Array, Bools, Floats, Ints

DETECTORS = ("ir-mad", "slow-features", "change-vector")
SIDE = 400  # pixels
COVERS = 7
UNLABELLED = 0.05  # share of a real pair, which differed most before the paste
SIZES = (4, 25)  # pixels of a paste, along rows and columns
ATTEMPTS = 20_000
SHARES = (0.03, 0.2)
TAILS = ((np.inf, 1.5, 0.1), (4.0, 3.0, 0.05), (4.0, 4.0, 0.12))
"""Degrees of freedom, largest spread of a cover over the least, and share of change."""
SENTINEL_BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")


@dataclass(frozen=True)
class Pair:
    """Two dates (2, band, y, x) and labels (y, x): 0, 1, and 255 where there is none."""

    name: str
    dates: Floats
    labels: Array


def read(path: Path, start: int = 0) -> Floats:
    with rasterio.open(path) as source:
        return source.read()[: 3 if path.suffix == ".png" else None, start:, start:][:, :SIDE, :SIDE].astype(np.float32)


def sentinel(folder: Path) -> Floats:
    """Six bands of a date on the grid of 10 m."""
    files = [next(folder.glob(f"*_{band}.tif")) for band in SENTINEL_BANDS]
    with rasterio.open(files[0]) as first:
        shape = first.shape
    bands = []
    for file in files:
        with rasterio.open(file) as source:
            bands.append(source.read(1, out_shape=shape, resampling=Resampling.average)[:SIDE, :SIDE])
    return np.stack(bands).astype(np.float32)


def real_pairs(data: Path) -> Iterator[tuple[str, Floats]]:
    yield "Pucallpa 2010-2015", np.stack([read(data / "landsat_pucallpa" / f"{year}.tif") for year in (2010, 2015)])
    for first, second in ((2009, 2012), (2012, 2017)):
        files = [next((data / "naip_wetlands").glob(f"naip_{year}*.tif")) for year in (first, second)]
        yield f"NAIP {first}-{second}", np.stack([read(file, 200) for file in files])
    for place in ("bordeaux", "nantes", "rio"):
        yield (
            place.capitalize(),
            np.stack([sentinel(data / "sentinel2_oscd" / place / date) for date in ("imgs_1", "imgs_2")]),
        )
    files = [data / "landsat_eros_1986_1992" / f"conifer_{year}.png" for year in (1986, 1992)]
    yield "EROS conifer", np.stack([read(file) for file in files])


def images(data: Path) -> Iterator[tuple[str, Floats]]:
    yield "Taizhou 2000", read(data / "landsat_taizhou" / "T1.tif")
    yield "Pennsylvania", read(data / "landsat_pennsylvania_seasons" / "etm_2002-11-25.tif")
    yield "Nantes", sentinel(data / "sentinel2_oscd" / "nantes" / "imgs_2")


def covers(image: Floats, draw: np.random.Generator) -> Ints:
    """(y, x) clusters of the smoothed bands."""
    smooth = ndimage.uniform_filter(image, (0, 3, 3)).reshape(len(image), -1).T
    values = (smooth - smooth.mean(axis=0)) / smooth.std(axis=0)
    centres, _ = kmeans2(draw.permutation(values)[:5000], COVERS, minit="++", seed=draw)
    return ((values[:, None] - centres) ** 2).sum(axis=-1).argmin(axis=1).reshape(image.shape[1:])


def taken_twice(image: Floats, tails: float, spread: float, draw: np.random.Generator) -> Floats:
    """Both dates of an image in which nothing has changed but light, season and noise."""
    bands, *shape = image.shape
    deviation = image.std(axis=(1, 2), keepdims=True)
    noise = smoothed(draw, (bands, *shape), 1.5) + draw.normal(size=image.shape)
    mixing = np.linalg.cholesky(0.7 * np.corrcoef(image.reshape(bands, -1)) + 0.3 * np.eye(bands))
    noise = 0.7 * np.einsum("ij,jyx->iyx", mixing, noise)
    if np.isfinite(tails):  # the same scale for all bands, alike nearby
        noise /= np.sqrt(chi2.ppf(norm.cdf(smoothed(draw, shape, 1)).clip(1e-6, 1 - 1e-6), tails) / tails)
    spreads = np.exp(draw.uniform(0, np.log(spread), COVERS))
    season = draw.normal(0, 0.15, (COVERS, bands)) * spreads[:, None]
    cover = covers(image, draw)
    departure = 0.15 * spreads[cover] * noise + np.moveaxis(season[cover], -1, 0)
    gain, offset = draw.uniform(0.7, 1.3, (bands, 1, 1)), draw.normal(0, 0.5, (bands, 1, 1))
    first = image + 0.05 * deviation * draw.normal(size=image.shape)
    return np.stack([first, image * gain + deviation * (offset + departure)]).astype(np.float32)


def smoothed(draw: np.random.Generator, shape: tuple[int, ...] | list[int], reach: float) -> Floats:
    """Noise of variance 1 that is alike nearby, along the last two axes."""
    noise = ndimage.gaussian_filter(draw.normal(size=shape), (0,) * (len(shape) - 2) + (reach, reach))
    return noise / noise.std()


def pasted(name: str, dates: Floats, share: float, unlabelled: float, draw: np.random.Generator) -> Pair:
    """The pair with other land of the second date in places, until a share of the scene has changed."""
    before, other = dates
    after, shape = other.copy(), other.shape[1:]
    unit = dates.std(axis=(2, 3), keepdims=True)
    standard = (dates - dates.mean(axis=(2, 3), keepdims=True)) / unit
    distance = ((standard[1] - standard[0]) ** 2).sum(axis=0)
    labels = np.where(distance > np.quantile(distance, 1 - unlabelled), 255, 0).astype(np.uint8)
    for _ in range(ATTEMPTS):
        if (labels == 1).sum() >= share * labels.size:
            break
        size = draw.integers(*SIZES, 2)
        here, there = (tuple(map(slice, at, at + size)) for at in draw.integers(0, np.array(shape) - size, (2, 2)))
        moved = np.sqrt((((other[:, *there] - other[:, *here]) / unit[1]) ** 2).mean(axis=0)) > 1
        inside = disc(size) if draw.random() < 0.5 else np.ones(size, bool)
        if moved[inside].mean() < 0.6 or (labels[here][inside] == 1).any():
            continue
        after[:, *here][:, inside] = other[:, *there][:, inside]
        labels[here][inside] = np.where(moved, 1, 255)[inside]
    return Pair(f"{name}, {share:.0%}", np.stack([before, after]), labels)


def disc(size: Ints) -> Bools:
    rows, cols = np.ogrid[: size[0], : size[1]]
    middle = (size - 1) / 2
    inside: Bools = ((rows - middle[0]) / (size[0] / 2)) ** 2 + ((cols - middle[1]) / (size[1] / 2)) ** 2 <= 1
    return inside


def pairs(data: Path) -> Iterator[Pair]:
    for name, dates in real_pairs(data):
        for share in SHARES:
            yield pasted(name, dates, share, UNLABELLED, np.random.default_rng(1))
    for name, image in images(data):
        for tails, spread, share in TAILS:
            draw = np.random.default_rng(2)
            dates = taken_twice(image, tails, spread, draw)
            yield pasted(f"{name} twice, t {tails:g}, spread {spread:g}", dates, share, 0, draw)


def scores(codes: Array, thresholds: dict[str, float], labels: Array) -> dict[str, float]:
    """F1 at each threshold, predicted over true change at the default, and F1 at the best threshold."""
    known, changed = labels != 255, labels == 1
    hits, called = (np.bincount(codes[at], minlength=256)[::-1].cumsum()[::-1] for at in (changed, known))
    f1 = 2 * hits / (called + changed.sum())
    at = {name: min(int(np.ceil(254 * value)), 254) for name, value in thresholds.items()}
    report = {name: float(f1[code]) for name, code in at.items()}
    return {**report, "ratio": float(called[at["default"]] / changed.sum()), "best": float(f1[1:255].max())}


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("--detectors", default=",".join(DETECTORS), help="by comma")
    chosen = parser.parse_args()
    for pair in pairs(chosen.data):
        with TemporaryDirectory() as folder:
            files = Path(folder) / "before.tif", Path(folder) / "after.tif"
            for path, date in zip(files, pair.dates, strict=True):
                write(path, date, 30.0)
            for detector in chosen.detectors.split(","):
                found = geochange.detect(*files, Path(folder) / detector, detector=detector)
                with rasterio.open(found.probability) as result:
                    figures = scores(result.read(1), found.record["detector"]["thresholds"], pair.labels)
                rounded = {key: round(value, 3) for key, value in figures.items()}
                print(json.dumps({"pair": pair.name, "detector": detector, **rounded}), flush=True)


if __name__ == "__main__":
    main()

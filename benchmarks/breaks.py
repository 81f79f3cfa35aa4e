"""When did it change: `breaks` on made series with known dates.

    python benchmarks/breaks.py [--seed 0] [--pixels 10000] [--reference] [--network OUT/run/best.pt]

First, patches that change for good by some multiple of the noise, in each band, at any date: which share is found, with
the right interval between dates, and which share of the unchanged rest is predicted as change. All options are at their
defaults; `alone` is with `context=0`, which judges each pixel by itself. Second, unchanged series, as they are in
practice: of bands whose noise is related, uneven over the scene, that follows itself from date to date, with gaps, with
heavy tails; and single clouds in them. Third, with `--reference`, series of six years with an image every 16 days, a
season and at most one break, beside COLD of pyxccd (Zhu et al. 2020; `pip install pyxccd`, with its defaults), which
needs as many dates. A break within five dates counts as near, since COLD dates by the first of six. Last, with
`--network`, the eight dates of Pucallpa beside a `conv-gru` that `benchmarks/series.py OUT` has trained: how much each
predicts as change, and how often both name the same interval where both do.

Prints JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from imagery import parser_with_data
from scipy.ndimage import gaussian_filter

from geochange.arrays import Bools, Floats, Ints
from geochange.detectors.breaks import Breaks
from geochange.detectors.detector import Kernel, R
from geochange.scenes.grid import Tile

NOISE = 3.0
SHARE = 0.15  # of the pixels that change
SIXTEEN_DAYS = 16 / 365.25
NEAR = 5  # dates
REFERENCE_PIXELS = 1000


@dataclass(frozen=True)
class SeriesInMemory:
    """A scene of (time, band, y, x) values with (time, y, x) validity, as detectors see it."""

    pixels: Floats
    valid: Bools
    times: tuple[float, ...] | None = None
    gsd: float | None = None
    largest: float = float("inf")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.valid.shape[1], self.valid.shape[2]

    @property
    def dates(self) -> int:
        """How many."""
        return len(self.valid)

    @property
    def bands(self) -> tuple[int, ...]:
        """Their numbers."""
        return tuple(range(1, self.pixels.shape[1] + 1))

    def map_blocks(self, kernel: Kernel[R], halo: int = 0) -> Iterator[R]:
        """Run a kernel over all of it; those of `breaks` need no halo."""
        yield kernel(*self.read(), Tile(0, 0, *self.shape))

    def read(self) -> tuple[Floats, Bools]:
        """All of it as float32, 0 where there are no data."""
        return np.where(self.valid[:, None], self.pixels, 0).astype(np.float32), self.valid


@dataclass(frozen=True)
class Made:
    """A scene of series, where it changes, and in which interval, from 1."""

    scene: SeriesInMemory
    changed: Bools
    interval: Ints


def made(dates: int, bands: int, sizes: tuple[float, float], *, ends: int, side: int, rng: np.random.Generator) -> Made:
    """Patches that change by multiples of the noise in each band, and at least so many dates from either end."""
    fields = gaussian_filter(rng.normal(size=(3, side, side)), (0, 3, 3))
    changed = fields[0] > np.quantile(fields[0], 1 - SHARE)
    ranks = fields[1].argsort(axis=None).argsort().reshape(side, side) / side**2
    interval = ends + (ranks * (dates - 2 * ends + 1)).astype(int)
    after = (np.arange(dates)[:, None, None] >= interval) & changed
    step = NOISE * rng.uniform(*sizes, (bands, side, side)) * rng.choice([-1, 1], (bands, 1, 1)) * np.sign(fields[2])
    pixels = rng.uniform(80, 160, (bands, side, side)) + after[:, None] * step
    pixels = pixels + NOISE * rng.normal(size=(dates, bands, side, side))
    return Made(SeriesInMemory(pixels, np.ones((dates, side, side), bool)), changed, interval)


def scored(detector: Breaks, scene: SeriesInMemory) -> tuple[Bools, Ints, Bools]:
    """(y, x) predicted as change, the interval from 1, and where there are dates enough."""
    fitted = detector.fit(scene, scene.map_blocks)
    pixels, valid = scene.read()
    scores = fitted.score(pixels[None], valid[None], ("interval",))
    return scores.probability[0, 0] >= 0.5, scores.layers["interval"][0].argmax(axis=0) + 1, fitted.comparable(valid)


def known_breaks(side: int, seed: int) -> list[dict[str, Any]]:
    """Share of breaks found and dated, and of the rest predicted as change."""
    rows = []
    for dates, ends in ((8, 1), (20, 2), (50, 3)):
        for bands in (1, 4):
            for sizes in ((2.0, 2.0), (2.5, 2.5), (3.0, 3.0), (4.0, 4.0), (6.0, 6.0), (2.0, 6.0)):
                truth = made(dates, bands, sizes, ends=ends, side=side, rng=np.random.default_rng(seed))
                row: dict[str, Any] = {"dates": dates, "bands": bands, "sizes": sizes}
                for name, detector in (("", Breaks()), (" alone", Breaks(context=0))):
                    hit, interval, _ = scored(detector, truth.scene)
                    right = hit & (interval == truth.interval)
                    row[f"found{name}"] = share(hit[truth.changed])
                    row[f"dated{name}"] = share(right[truth.changed])
                    row[f"false{name}"] = share(hit[~truth.changed])
                rows.append(row)
    return rows


def unchanged(side: int, seed: int) -> dict[str, dict[str, float]]:
    """Share of unchanged series that are predicted as change."""
    rng, shape = np.random.default_rng(seed), (24, 4, side, side)
    plain = rng.normal(size=shape)
    following = plain.copy()
    for place in range(1, len(following)):
        following[place] = 0.4 * following[place - 1] + np.sqrt(1 - 0.4**2) * following[place]
    clouds = plain + 30 * (rng.random((24, 1, side, side)) < 0.03)
    series = {
        "plain": plain,
        "3 dates": plain[:3],
        "related bands": 0.4 * plain + 0.9 * rng.normal(size=(24, 1, side, side)),
        "uneven": plain * np.exp(0.5 * rng.normal(size=(side, side))),
        "heavy tails": rng.standard_t(4, shape),
        "correlated dates": following,
        "clouds in 3 %": clouds,
    }
    found = {name: false_share(noise, np.ones(noise[:, 0].shape, bool)) for name, noise in series.items()}
    return found | {"40 % gaps": false_share(plain, rng.random(plain[:, 0].shape) > 0.4)}


def false_share(noise: Floats, valid: Bools) -> dict[str, float]:
    """Share predicted as change, with the default context and alone."""
    scene = SeriesInMemory(100 + NOISE * noise, valid)
    found = {}
    for name, detector in (("default", Breaks()), ("alone", Breaks(context=0))):
        hit, _, known = scored(detector, scene)
        found[name] = share(hit[known])
    return found


def beside_cold(seed: int) -> dict[str, Mapping[str, float]]:
    """Found, dated and false of `breaks` (each pixel alone) and of COLD on the same series."""
    from pyxccd import cold_detect

    rng, dates = np.random.default_rng(seed), 137
    times = 2015.0 + SIXTEEN_DAYS * np.arange(dates)
    days = np.array([date(2015, 1, 1).toordinal() + 16 * place for place in range(dates)])
    side = int(np.sqrt(REFERENCE_PIXELS))
    changed = rng.random((side, side)) < 0.5
    interval = rng.integers(35, dates - 35, (side, side))
    after = (np.arange(dates)[:, None, None] >= interval) & changed
    season = np.cos(2 * np.pi * times)[:, None, None, None] * rng.uniform(100, 500, (6, side, side))
    level = rng.uniform(1000, 3000, (6, side, side))
    answer: dict[str, Mapping[str, float]] = {}
    for size in (2.0, 4.0):
        noise = 100 * rng.normal(size=(dates, 6, side, side))
        pixels = level + season + after[:, None] * size * 100 * rng.choice([-1, 1], (6, side, side)) + noise
        scene = SeriesInMemory(pixels, np.ones((dates, side, side), bool), tuple(times))
        hit, found, _ = scored(Breaks(context=0), scene)
        answer[f"breaks, {size:g}"] = rates(hit, np.abs(found - interval), changed)
        first = np.full((side, side), -(10**6))
        for row, col in np.ndindex(side, side):
            bands = [np.ascontiguousarray(band, np.int64) for band in np.rint(pixels[:, :, row, col]).T]
            segments = cold_detect(days, *bands, np.full(dates, 3000, np.int64), np.zeros(dates, np.int64))
            broken = [int(each["t_break"]) for each in segments if each["change_prob"] == 100 and each["t_break"] > 0]
            first[row, col] = np.searchsorted(days, broken[0]) if broken else -(10**6)
        answer[f"COLD, {size:g}"] = rates(first > 0, np.abs(first - interval), changed)
    return answer


def rates(hit: Bools, off: Ints, changed: Bools) -> dict[str, float]:
    """Shares found, dated within `NEAR` dates, and exactly, of the changed; and of the others found."""
    return {
        "found": share(hit[changed]),
        f"within {NEAR} dates": share((hit & (off <= NEAR))[changed]),
        "exact": share((hit & (off == 0))[changed]),
        "false": share(hit[~changed]),
    }


def beside_network(checkpoint: str, data: Path) -> dict[str, float]:
    """Shares predicted as change in Pucallpa, and agreement of the intervals."""
    import geochange

    first, *between, last = sorted((data / "landsat_pucallpa").glob("*.tif"))
    hits, intervals = [], []
    with TemporaryDirectory() as folder:
        for name, settings in (("breaks", {"detector": "breaks"}), ("network", {"checkpoint": checkpoint})):
            options = geochange.DetectOptions(layers=("interval",), **settings)
            found = geochange.detect(first, last, Path(folder) / name, options, between=between)
            with rasterio.open(found.probability) as dataset:
                hits.append(dataset.read(1) * dataset.scales[0] >= found.record["threshold"])
            with rasterio.open(found.file("interval.tif")) as dataset:
                intervals.append(dataset.read().argmax(axis=0))
    both, off = hits[0] & hits[1], np.abs(intervals[0] - intervals[1])
    return {
        "breaks": share(hits[0]),
        "network": share(hits[1]),
        "both": share(both),
        "same interval": share(off[both] == 0),
        "within one": share(off[both] <= 1),
    }


def share(which: Bools) -> float:
    """Share of True, rounded."""
    return round(float(which.mean()), 4)


def main() -> None:
    """Print all figures."""
    parser = parser_with_data(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pixels", type=int, default=10_000)
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--network", metavar="FILE")
    chosen = parser.parse_args()
    side = int(np.sqrt(chosen.pixels))
    answer: dict[str, Any] = {"known": known_breaks(side, chosen.seed), "unchanged": unchanged(side, chosen.seed)}
    if chosen.reference:
        answer["beside COLD"] = beside_cold(chosen.seed)
    if chosen.network:
        answer["beside conv-gru"] = beside_network(chosen.network, chosen.data)
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()

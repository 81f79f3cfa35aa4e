"""When did it change: `conv-gru` on the eight Landsat dates of Pucallpa, with synthetic changes of known date.

    python benchmarks/series.py OUT [--steps 4000] [--seed 0] [--kinds sudden] [--other-way]

Changes are synthesized by pasting, into every date after a drawn interval, what lies elsewhere on the same date: other
ground under the same light, of 2 to 18 pixels radius, that stays as it is from there on. Water, forest, fields and
built-up ground are pasted equally often. A third come at once; a third spread from their middle over two intervals and
more, as towns do; in a third all pixels pass over slowly, and are dated by the interval in which they are halfway.
Where the real dates differ most from each other, a pixel is labelled only where its series is one plain step: two
levels far apart explain it, and no other date of the step does so nearly as well. The rest is left out of training.

The network is trained on the western three fifths of the scene (crops with fresh changes, in OUT/crops) and scored on
the eastern two fifths: a synthetic change counts as dated right where most of its pixels are predicted as change and
most of these get the right interval; plain steps of the real dates, pixel by pixel. With `--other-way` it is trained on
the eastern three fifths. Prints JSON; leaves OUT/intervals.png, the real series beside the intervals found in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from imagery import parser_with_data
from PIL import Image
from scipy import ndimage
from sklearn.cluster import KMeans

import geochange
from geochange.arrays import IGNORE, Array, Bools, Floats, Ints
from geochange.engine.progress import Relay, Silent
from geochange.learning.options import TrainRunOptions
from geochange.learning.run_options import options_from
from geochange.pipeline.train import train

PUCALLPA = "landsat_pucallpa"
YEARS = ("1985", "1990", "1995", "2000", "2005", "2010", "2015", "2020")
LEARNED = 0.6  # of the columns
SIDE = 128
RADII = 2.0, 18.0  # pixels
KINDS = "sudden", "spreading", "gradual"
RESTLESS = 0.25  # share of pixels that differ most over the real dates
GROUNDS = 6  # classes of ground, each pasted as often as the others
EXPLAINED = 0.7  # of a pixel's variance over the dates, by one step
STEP = 0.8  # of a plain step, in standard deviations of the scene, root mean square over the bands
LEAD = 1.2  # by which the variance left is larger for every other date of the step


def read_series(folder: Path) -> tuple[Array, Bools]:
    """(time, band, y, x) and (y, x) validity at every date."""
    dates, valid = [], []
    for year in YEARS:
        with rasterio.open(folder / f"{year}.tif") as dataset:
            dates.append(dataset.read())
            valid.append(dataset.dataset_mask() > 0)
    return np.stack(dates), np.all(valid, axis=0)


def standardized(series: Array) -> Floats:
    """(time, band, y, x), each band of each date brought to one mean and deviation."""
    values = series.astype(float)
    found: Floats = (values - values.mean(axis=(2, 3), keepdims=True)) / values.std(axis=(2, 3), keepdims=True)
    return found


def unrest(values: Floats) -> Floats:
    """(interval, y, x) difference of two dates that follow each other."""
    smooth: Floats = ndimage.uniform_filter(np.abs(np.diff(values, axis=0)).mean(axis=1), (0, 3, 3))
    return smooth


def plain_steps(values: Floats) -> Ints:
    """(y, x) interval, from 1, of pixels whose series is one plain step from one level to another; else 0."""
    smooth = ndimage.uniform_filter(values, (0, 0, 3, 3))
    halves = [(smooth[:k], smooth[k:]) for k in range(1, len(smooth))]
    left = np.stack([spread(early) + spread(late) for early, late in halves])  # (interval, y, x)
    sizes = np.stack([np.sqrt(np.mean((late.mean(0) - early.mean(0)) ** 2, axis=0)) for early, late in halves])
    best, second = np.sort(left, axis=0)[:2]
    which = left.argmin(axis=0)
    size = np.take_along_axis(sizes, which[None], axis=0)[0]
    plain = (best <= (1 - EXPLAINED) * spread(smooth)) & (size >= STEP) & (second >= LEAD * best)
    return np.where(plain, which + 1, 0).astype(np.uint8)


def spread(values: Floats) -> Floats:
    """(y, x) sum of squares around the mean over the dates."""
    squares: Floats = ((values - values.mean(axis=0)) ** 2).sum(axis=(0, 1))
    return squares


def grounds(values: Floats) -> Ints:
    """(y, x) class of the ground at the last date, by k-means."""
    pixels = ndimage.uniform_filter(values[-1], (0, 3, 3))
    flat = pixels.reshape(len(pixels), -1).T
    found: Ints = KMeans(GROUNDS, n_init=3, random_state=0).fit(flat[::7]).predict(flat).reshape(pixels.shape[1:])
    return found


def blob(rng: np.random.Generator, radius: float) -> Bools:
    """(y, x) of a round shape with an uneven border."""
    side = int(4 * radius) + 3
    rows, cols = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.arctan2(rows, cols)
    uneven = 1 + sum(rng.uniform(-0.2, 0.2) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 5))
    shape: Bools = np.hypot(rows, cols) <= radius * uneven
    return shape


def schedule(kind: str, shape: Bools, interval: int, times: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """When a change comes.

    Args:
        kind: of `KINDS`: at once; a shape that spreads from its middle, each pixel at once; or pixels that pass over
            slowly, the whole shape together.
        shape: (y, x).
        interval: from 1, the first in which something happens.
        times: number of dates.
        rng: the series' own.

    Returns:
        (time, y, x) share of the new ground at each date, and (y, x) the interval in which it passes one half.
    """
    lasting = 1 if kind == "sudden" else int(rng.integers(2, max(3, times - interval + 1)))
    after = np.arange(times)[:, None, None] - (interval - 1)  # intervals gone by at each date
    if kind == "spreading":
        distance = ndimage.distance_transform_edt(shape)
        rank = 1 - distance / distance.max()  # 0 in the middle, 1 at the border
        begun = interval + np.minimum((rank * lasting).astype(int), lasting - 1)
        return (np.arange(times)[:, None, None] >= begun).astype(float), np.where(shape, begun, 0)
    share = np.clip(after / lasting, 0, 1) * shape
    return share, np.where(shape, (share >= 0.5).argmax(axis=0), 0)


@dataclass(frozen=True)
class Stock:
    """The part of the scene that changes are pasted from."""

    series: Array
    """(time, band, y, x)."""

    calm: Bools
    """(interval, y, x) where two dates that follow each other agree."""

    grounds: Ints
    """(y, x) class of the ground."""

    def draw(self, side: int, rng: np.random.Generator) -> tuple[slice, slice]:
        """Draw a window of so many pixels per side, around ground of any class as often as of any other."""
        rows, cols = np.nonzero(self.grounds == rng.integers(GROUNDS))
        k = rng.integers(len(rows))
        middle = np.array([rows[k], cols[k]])
        row, col = np.clip(middle - side // 2, 0, np.array(self.grounds.shape) - side)
        return slice(row, row + side), slice(col, col + side)


def insert_changes(  # noqa: PLR0917, a series and what is done to it
    series: Array, quiet: Bools, stock: Stock, count: int, rng: np.random.Generator, kinds: Sequence[str]
) -> tuple[Array, Ints, Ints]:
    """Paste changes where the real dates are quiet.

    Args:
        series: (time, band, y, x).
        quiet: (y, x) where all dates agree.
        stock: where the new ground comes from.
        count: of changes.
        rng: the series' own.
        kinds: of changes, see `schedule`; in turn.

    Returns:
        The series, (y, x) interval of each pixel from 1 (0: none), and (y, x) number of each change from 1; change k
        is of the kind (k - 1) modulo their number.
    """
    made, intervals, numbers = series.copy(), np.zeros(quiet.shape, np.uint8), np.zeros(quiet.shape, np.int32)
    number = 0
    for _ in range(100 * count):
        if number == count:
            break
        kind = kinds[number % len(kinds)]
        shape = blob(rng, float(np.exp(rng.uniform(*np.log(RADII)))))
        # what lasts must be able to end within the series
        interval = int(rng.integers(1, len(series) if kind == "sudden" else len(series) - 1))
        side = len(shape)
        row, col = (int(rng.integers(0, length - side)) for length in quiet.shape)
        into, source = (slice(row, row + side), slice(col, col + side)), stock.draw(side, rng)
        unchanged_since = stock.calm[(slice(interval, None), *source)].all(axis=0)
        if not quiet[into][shape].all() or numbers[into][shape].any() or not unchanged_since[shape].all():
            continue
        moved = stock.series[(interval, slice(None), *source)].astype(float) - series[(interval, slice(None), *into)]
        if np.abs(moved.mean(axis=(1, 2))).max() < 25:  # the same ground again is no change
            continue
        number += 1
        shares, when = schedule(kind, shape, interval, len(series), rng)
        for k in range(interval, len(series)):
            old, new = made[(k, slice(None), *into)], stock.series[(k, slice(None), *source)]
            mixed = np.rint(old + shares[k] * (new.astype(float) - old)).astype(made.dtype)
            made[(k, slice(None), *into)] = np.where(shape, mixed, old)
        intervals[into][shape], numbers[into][shape] = when[shape], number
    return made, intervals, numbers


def write_data(  # noqa: PLR0917, a folder and what goes into it
    folder: Path, stock: Stock, steps: Ints, rng: np.random.Generator, count: int, kinds: Sequence[str]
) -> Path:
    """Folders A to H and label, of crops with synthetic changes; `steps` dates real ones, see `plain_steps`."""
    for name in (*"ABCDEFGH"[: len(stock.series)], "label"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    known = np.where(steps > 0, steps, IGNORE)
    for number in range(count):
        row, col = (int(rng.integers(0, length - SIDE)) for length in steps.shape)
        part = (slice(row, row + SIDE), slice(col, col + SIDE))
        quiet = stock.calm[(..., *part)].all(axis=0)
        made, intervals, _ = insert_changes(stock.series[(..., *part)], quiet, stock, 14, rng, kinds)
        labels = np.where(quiet, intervals, known[part]).astype(np.uint8)
        for name, values in zip("ABCDEFGH", made, strict=False):
            write(folder / name / f"{number:03d}.tif", values)
        write(folder / "label" / f"{number:03d}.tif", labels[None])
    return folder


def write(path: Path, values: Array) -> None:
    profile = {"driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", dtype=values.dtype, **profile) as dataset:
        dataset.write(values)


def detect(series: list[str], checkpoint: Path, out: Path) -> tuple[Floats, Floats]:
    """(y, x) probability, and (interval, y, x)."""
    found = geochange.detect(
        series[0], series[-1], out, between=series[1:-1], detector="network", layers=("interval",), dtype="float32",
        detector_options={"checkpoint": str(checkpoint)}, overwrite=True, nodata="any",
    )  # fmt: skip
    with rasterio.open(found.probability) as scores, rasterio.open(out / "interval.tif") as intervals:
        return scores.read(1), intervals.read()


def dated_right(
    probability: Floats, intervals: Floats, truth: Ints, numbers: Ints, threshold: float
) -> dict[str, dict[str, float]]:
    """For each kind of synthetic change: how many are found, and how many of all get their interval.

    Slow changes have no sharp date: `near` counts those of which most predicted pixels lie within one interval of the
    truth.
    """
    which = intervals.argmax(axis=0) + 1
    answer = {}
    for first, kind in enumerate(KINDS, start=1):
        found = right = near = 0
        each = range(first, int(numbers.max()) + 1, len(KINDS))
        for number in each:
            pixels = numbers == number
            predicted = pixels & (probability >= threshold)
            if predicted.sum() * 2 > pixels.sum():
                found += 1
                off = np.abs(which[predicted] - truth[predicted].astype(int))
                right += bool((off == 0).mean() > 0.5)
                near += bool((off <= 1).mean() > 0.5)
        answer[kind] = {"changes": len(each), "found": found, "right": right, "near": near}
    return answer


def draw(series: Array, probability: Floats, intervals: Floats, threshold: float, path: Path) -> None:
    """The first and the last date (SWIR, NIR, red), and the interval of what changed, a colour each."""
    colours = np.array(
        [[68, 1, 84], [70, 50, 126], [54, 92, 141], [39, 127, 142], [31, 161, 135], [74, 193, 109], [253, 231, 37]],
        np.uint8,
    )
    panels = []
    for date in (series[0], series[-1]):
        low, high = np.percentile(date[:3], (2, 98), axis=(1, 2), keepdims=True)
        panels.append((np.clip((date[:3] - low) / (high - low), 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))
    grey = panels[1].mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2) // 2 + 110
    changed = probability >= threshold
    grey[changed] = colours[intervals.argmax(axis=0)[changed]]
    legend = np.full((24, grey.shape[1], 3), 255, np.uint8)
    step = grey.shape[1] // len(colours)
    for k, colour in enumerate(colours):
        legend[4:20, k * step + 4 : (k + 1) * step - 4] = colour
    Image.fromarray(np.concatenate([*panels, grey, legend], axis=0)).save(path)


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="of changes to train on, by comma")
    parser.add_argument("--other-way", action="store_true", help="train on the eastern three fifths")
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    source = chosen.data / PUCALLPA
    series, valid = read_series(source)
    values = standardized(series)
    steps, unquiet = np.where(valid, plain_steps(values), 0), unrest(values)
    calm = valid & (unquiet < np.quantile(unquiet.max(axis=0)[valid], 1 - RESTLESS))
    learned, held = halves(series.shape[-1], other_way=chosen.other_way)
    ground = grounds(values)
    stocks = [Stock(series[..., part], calm[..., part], ground[..., part]) for part in (learned, held)]
    crops, run = chosen.out / "crops", chosen.out / "run"
    if not crops.exists():
        write_data(crops, stocks[0], steps[:, learned], rng, 60, chosen.kinds.split(","))
    settings = {
        "network": "conv-gru", "network_options": {"dated": True}, "size": 64, "steps": chosen.steps, "batch": 4,
        "every": max(chosen.steps // 5, 1), "seed": chosen.seed, "average": 0.99,
    }  # fmt: skip
    options = options_from(TrainRunOptions, settings)
    trained = train([str(crops)], run, options, resume=run.exists(), listener=Relay(Silent(), print))
    checkpoint, threshold = trained.folder / "best.pt", trained.record["best"]["threshold"]

    quiet = calm[..., held].all(axis=0)
    made, truth, numbers = insert_changes(series[..., held], quiet, stocks[1], 90, np.random.default_rng(99), KINDS)
    paths = [chosen.out / f"synthetic-{year}.tif" for year in YEARS]
    for path, date in zip(paths, made, strict=True):
        write(path, date)
    scores = detect([str(path) for path in paths], checkpoint, chosen.out / "synthetic")
    answer: dict[str, Any] = dated_right(*scores, truth, numbers, threshold)
    answer["predicted_of_quiet"] = float((scores[0] >= threshold)[quiet & (numbers == 0)].mean())
    probability, intervals = detect([str(source / f"{year}.tif") for year in YEARS], checkpoint, chosen.out / "real")
    plain = np.where(quiet, 0, steps[:, held])
    answer["plain_steps"] = steps_found(probability[:, held], intervals[..., held], plain, threshold)
    draw(series, probability, intervals, threshold, chosen.out / "intervals.png")
    print(json.dumps(answer, indent=1))


def halves(columns: int, *, other_way: bool) -> tuple[slice, slice]:
    """Columns to learn from, and those that are held back."""
    border = round(columns * (1 - LEARNED if other_way else LEARNED))
    west, east = slice(0, border), slice(border, columns)
    return (east, west) if other_way else (west, east)


def steps_found(probability: Floats, intervals: Floats, steps: Ints, threshold: float) -> dict[str, float]:
    """Of the pixels whose real series is one plain step: how many are found, and how many of these dated right."""
    found = (steps > 0) & (probability >= threshold)
    off = np.abs(intervals.argmax(axis=0) + 1 - steps.astype(int))[found]
    return {
        "pixels": int((steps > 0).sum()), "found": float(found.sum() / (steps > 0).sum()),
        "right": float((off == 0).mean()), "near": float((off <= 1).mean()),
    }  # fmt: skip


if __name__ == "__main__":
    main()

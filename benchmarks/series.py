"""When did it change: `conv-gru` on the eight Landsat dates of Pucallpa, with synthetic changes of known date.

    python benchmarks/series.py OUT [--steps 3000] [--seed 0] [--kinds sudden]

Changes are synthesized by pasting, into every date after a drawn interval, what lies elsewhere on the same date: other
ground under the same light, of 2 to 18 pixels radius, that stays as it is from there on. A third come at once; a third
spread from their middle over two intervals and more, as towns do; in a third all pixels pass over slowly, and are dated
by the interval in which they are halfway. The network is trained on the western three fifths of the scene (crops with
fresh changes, in OUT/crops) and scored on the eastern two fifths. Where the real dates differ most from each other,
labels are left out: the truth is unknown there. A synthetic change counts as dated right where most of its pixels are
predicted as change and most of these get the right interval. Prints JSON; leaves OUT/intervals.png, the real series
beside the intervals found in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from imagery import parser_with_data
from PIL import Image
from scipy import ndimage

import geochange
from geochange.arrays import IGNORE, Array, Bools, Floats, Ints
from geochange.engine.progress import Relay, Silent
from geochange.learning.options import TrainRunOptions
from geochange.learning.run_options import options_from
from geochange.pipeline.train import train

PUCALLPA = "landsat_pucallpa"
YEARS = ("1985", "1990", "1995", "2000", "2005", "2010", "2015", "2020")
WEST = 0.6  # of the columns, to learn from
SIDE = 128
RADII = 2.0, 18.0  # pixels
KINDS = "sudden", "spreading", "gradual"
RESTLESS = 0.25  # share of pixels that differ most over the real dates


def read_series(folder: Path) -> tuple[Array, Bools]:
    """(time, band, y, x) and (y, x) validity at every date."""
    dates, valid = [], []
    for year in YEARS:
        with rasterio.open(folder / f"{year}.tif") as dataset:
            dates.append(dataset.read())
            valid.append(dataset.dataset_mask() > 0)
    return np.stack(dates), np.all(valid, axis=0)


def unrest(series: Array) -> Floats:
    """(interval, y, x) difference of two dates that follow each other, each band brought to one mean and deviation."""
    values = series.astype(float)
    mean, deviation = values.mean(axis=(2, 3), keepdims=True), values.std(axis=(2, 3), keepdims=True)
    steps = np.abs(np.diff((values - mean) / deviation, axis=0)).mean(axis=1)
    smooth: Floats = ndimage.uniform_filter(steps, (0, 3, 3))
    return smooth


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


def insert_changes(
    series: Array, calm: Bools, count: int, rng: np.random.Generator, kinds: Sequence[str]
) -> tuple[Array, Ints, Ints]:
    """Paste changes where the real dates are quiet.

    Args:
        series: (time, band, y, x).
        calm: (interval, y, x) where two dates that follow each other agree.
        count: of changes.
        rng: the series' own.
        kinds: of changes, see `schedule`; in turn.

    Returns:
        The series, (y, x) interval of each pixel from 1 (0: none), and (y, x) number of each change from 1; change k
        is of the kind (k - 1) modulo their number.
    """
    quiet = calm.all(axis=0)
    made, intervals, numbers = series.copy(), np.zeros(quiet.shape, np.uint8), np.zeros(quiet.shape, np.int32)
    number = 0
    for _ in range(50 * count):
        if number == count:
            break
        kind = kinds[number % len(kinds)]
        shape = blob(rng, float(np.exp(rng.uniform(*np.log(RADII)))))
        # what lasts must be able to end within the series
        interval = int(rng.integers(1, len(series) if kind == "sudden" else len(series) - 1))
        side = len(shape)
        places = [rng.integers(0, length - side, 2) for length in quiet.shape]
        into, source = (tuple(slice(axis[k], axis[k] + side) for axis in places) for k in (0, 1))
        unchanged_since = calm[(slice(interval, None), *source)].all(axis=0)
        if not quiet[into][shape].all() or numbers[into][shape].any() or not unchanged_since[shape].all():
            continue
        moved = series[(interval, slice(None), *source)].astype(float) - series[(interval, slice(None), *into)]
        if np.abs(moved.mean(axis=(1, 2))).max() < 25:  # the same ground again is no change
            continue
        number += 1
        shares, when = schedule(kind, shape, interval, len(series), rng)
        for k in range(interval, len(series)):
            old, new = made[(k, slice(None), *into)], series[(k, slice(None), *source)]
            mixed = np.rint(old + shares[k] * (new.astype(float) - old)).astype(made.dtype)
            made[(k, slice(None), *into)] = np.where(shape, mixed, old)
        intervals[into][shape], numbers[into][shape] = when[shape], number
    return made, intervals, numbers


def write_data(  # noqa: PLR0917, a folder and what goes into it
    folder: Path, series: Array, calm: Bools, rng: np.random.Generator, count: int, kinds: Sequence[str]
) -> Path:
    """Folders A to H and label, of crops with synthetic changes."""
    for name in (*"ABCDEFGH"[: len(series)], "label"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        row, col = (int(rng.integers(0, length - SIDE)) for length in calm.shape[1:])
        part = (slice(row, row + SIDE), slice(col, col + SIDE))
        made, intervals, _ = insert_changes(series[(..., *part)], calm[(..., *part)], 14, rng, kinds)
        labels = np.where(calm[(..., *part)].all(axis=0), intervals, IGNORE).astype(np.uint8)
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
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="of changes to train on, by comma")
    chosen = parser.parse_args()
    rng = np.random.default_rng(chosen.seed)
    source = chosen.data / PUCALLPA
    series, valid = read_series(source)
    steps = unrest(series)
    calm = valid & (steps < np.quantile(steps.max(axis=0)[valid], 1 - RESTLESS))
    west = int(WEST * series.shape[-1])
    training = write_data(chosen.out / "crops", series[..., :west], calm[..., :west], rng, 60, chosen.kinds.split(","))
    settings = {
        "network": "conv-gru", "network_options": {"dated": True}, "size": 64, "steps": chosen.steps, "batch": 4,
        "every": max(chosen.steps // 5, 1), "seed": chosen.seed, "average": 0.99,
    }  # fmt: skip
    options = options_from(TrainRunOptions, settings)
    run = train([str(training)], chosen.out / "run", options, overwrite=True, listener=Relay(Silent(), print))
    checkpoint, threshold = run.folder / "best.pt", run.record["best"]["threshold"]

    made, truth, numbers = insert_changes(series[..., west:], calm[..., west:], 90, np.random.default_rng(99), KINDS)
    paths = [chosen.out / f"synthetic-{year}.tif" for year in YEARS]
    for path, date in zip(paths, made, strict=True):
        write(path, date)
    scores = detect([str(path) for path in paths], checkpoint, chosen.out / "synthetic")
    answer: dict[str, Any] = dated_right(*scores, truth, numbers, threshold)
    unchanged = calm[..., west:].all(axis=0) & (numbers == 0)
    answer["predicted_of_quiet"] = float((scores[0] >= threshold)[unchanged].mean())
    real = detect([str(source / f"{year}.tif") for year in YEARS], checkpoint, chosen.out / "real")
    draw(series, *real, threshold, chosen.out / "intervals.png")
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()

"""Make the picture of docs/series.md, from eight dates that are put together from the sample: `make pictures`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas
import numpy as np
import rasterio
from exhibits.panels import Panel, ramp_colours, sheet
from make_pictures import ROOT, SAMPLE, shrink
from PIL import Image
from rasterio.features import rasterize
from rasterio.windows import Window

import geochange
from geochange.arrays import Array, Floats, Ints

PART = Window(col_off=560, row_off=380, width=400, height=400)
YEARS = tuple(range(2017, 2025))
CLOUDED = 3  # the date with a cloud
CLOUD = (110, 250, 55)  # row, column and radius
NOISE, HAZE = 5.0, 8.0
SIDE = 440  # px of a panel
UNCHANGED = (235, 235, 235)


def read_part() -> tuple[Array, Array, Ints, dict[str, Any]]:
    """(band, y, x) of both dates, (y, x) interval in which each change is made to come, 0 for none, and the profile."""
    with rasterio.open(SAMPLE / "before.tif") as before, rasterio.open(SAMPLE / "after.tif") as after:
        transform = before.window_transform(PART)
        profile = {"transform": transform, "crs": before.crs, "width": int(PART.width), "height": int(PART.height)}
        dates = before.read(window=PART), after.read(window=PART)
    truth = geopandas.read_file(SAMPLE / "truth.gpkg").geometry
    numbered = ((shape, 1 + number % (len(YEARS) - 1)) for number, shape in enumerate(truth))
    return *dates, rasterize(numbered, dates[0].shape[1:], transform=transform, dtype=np.uint8), profile


def write_dates(folder: Path) -> tuple[list[Path], Path, Array, Ints]:
    """Write eight dates and the mask of one; return their paths, that of the mask, the dates, and the intervals."""
    before, after, interval, profile = read_part()
    rng, rows, cols = np.random.default_rng(0), *np.indices(interval.shape)
    cloud = np.hypot(rows - CLOUD[0], cols - CLOUD[1]) < CLOUD[2]
    dates, paths, mask = [], [], folder / "cloud.tif"
    for place, year in enumerate(YEARS):
        date = np.where((interval > 0) & (interval <= place), after, before) + rng.normal(0, NOISE, before.shape)
        date += rng.normal(0, HAZE, (len(before), 1, 1))
        date[:, cloud & (place == CLOUDED)] = 250
        dates.append(np.clip(date, 1, 255).astype(np.uint8))
        paths.append(folder / f"{year}.tif")
        with rasterio.open(paths[-1], "w", driver="GTiff", count=len(before), dtype="uint8", **profile) as dataset:
            dataset.write(dates[-1])
    with rasterio.open(mask, "w", driver="GTiff", count=1, dtype="uint8", **profile) as dataset:
        dataset.write(cloud.astype(np.uint8), 1)
    return paths, mask, np.stack(dates), interval


def coloured(years: Floats) -> Image.Image:
    """Picture of years, NaN where nothing changed: from dark, early, to light."""
    known, span = np.isfinite(years), (YEARS[-1] - YEARS[0]) * 1.1
    colours = ramp_colours(np.where(known, (years - YEARS[0] - 0.5) / span, 0))
    picture = np.where(known[..., None], colours, UNCHANGED).astype(np.uint8)
    return enlarged(Image.fromarray(picture))


def enlarged(picture: Image.Image) -> Image.Image:
    """Return a picture as wide as a panel."""
    return picture.resize((SIDE, SIDE), Image.Resampling.NEAREST)


def main() -> None:
    with TemporaryDirectory() as name:
        paths, mask, dates, interval = write_dates(Path(name))
        masks = tuple(str(mask) if place == CLOUDED else "" for place in range(len(YEARS)))
        options = geochange.DetectOptions(detector="breaks", layers=("break-date",), masks=masks)
        found = geochange.detect(paths[0], paths[-1], Path(name) / "out", options, between=paths[1:-1])
        with rasterio.open(found.file("break-date.tif")) as dataset:
            years = dataset.read(1)
        true_years = np.where(interval > 0, YEARS[0] + interval.astype(float), np.nan)
        panels = [
            Panel(str(YEARS[place]), enlarged(Image.fromarray(dates[place, :3].transpose(1, 2, 0))))
            for place in (0, CLOUDED, -1)
        ]
        panels.append(Panel("when it changed: dark early, light late", coloured(true_years)))
        panels.append(Panel("what `breaks` finds, with a mask of the cloud", coloured(years)))
        sheet([panels]).save(Path(name) / "series.png")
        shrink(Path(name) / "series.png", ROOT / "docs" / "series.jpg", 1800)


if __name__ == "__main__":
    main()

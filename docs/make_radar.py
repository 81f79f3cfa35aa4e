"""Make the picture of the page on radar from a synthetic pair under speckle: `make pictures`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from PIL import Image, ImageDraw
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

import geochange
from geochange.arrays import Bools, Floats
from geochange.detectors.looks import speckled

ROOT = Path(__file__).parents[1]
SIDE = 360  # px
LOOKS = (4.0, 2.0)
BRIGHTNESS = 75  # grey level of an amplitude of 1
GAP = 8  # px between two pictures
TITLES = ("before", "after, flooded", "the flood", "change-vector", "log-ratio")


def valley(rng: np.random.Generator) -> tuple[Floats, Floats, Bools]:
    """Draw the backscatter of fields along a river before and during a flood, and where it lies."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    fields = np.exp(rng.normal(0, 0.45, (SIDE // 30, SIDE // 30)))
    land = fields[rows // 30, cols // 30] * np.exp(gaussian_filter(rng.normal(size=(SIDE, SIDE)), 12) * 4)
    middle = SIDE / 2 + 60 * np.sin(rows / 70) + gaussian_filter(rng.normal(size=SIDE), 8)[:, None] * 9
    meadows = 34 + gaussian_filter(rng.normal(size=(SIDE, SIDE)), 18) * 900
    flood = (np.abs(cols - middle) < meadows) & (np.abs(cols - middle) >= 9)
    before = np.where(np.abs(cols - middle) < 9, 0.06, land)
    return before, np.where(flood, 0.08, before), flood


def write_date(path: Path, intensity: Floats) -> Path:
    """Write amplitudes of 8 bits."""
    amplitude = np.clip(np.rint(np.sqrt(intensity) * BRIGHTNESS), 1, 255).astype(np.uint8)
    place = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_400_000, 10, 10)}
    with rasterio.open(path, "w", driver="GTiff", width=SIDE, height=SIDE, count=1, dtype="uint8", **place) as out:
        out.write(amplitude, 1)
    return path


def found_by(detector: str, dates: list[Path], folder: Path) -> Bools:
    """Return where a detector at its defaults finds change."""
    found = geochange.detect(*dates, folder / detector, detector=detector, dtype="float32")
    with rasterio.open(found.probability) as probability:
        changed: Bools = probability.read(1) >= 0.5
        return changed


def side_by_side(pictures: list[Floats | Bools]) -> Image.Image:
    """Put pictures in a row, each with its title."""
    strip = Image.new("L", (len(pictures) * (SIDE + GAP) - GAP, SIDE + 22), 255)
    for number, (title, picture) in enumerate(zip(TITLES, pictures, strict=True)):
        grey = picture.astype(np.uint8) * 255 if picture.dtype == bool else picture
        strip.paste(Image.fromarray(grey), (number * (SIDE + GAP), 22))
        ImageDraw.Draw(strip).text((number * (SIDE + GAP), 2), title, 0, font_size=15)
    return strip


def main() -> None:
    rng = np.random.default_rng(1)
    before, after, flood = valley(rng)
    with TemporaryDirectory() as name:
        folder = Path(name)
        dates = [
            write_date(folder / f"{number}.tif", speckled(ground, looks, rng))
            for number, (ground, looks) in enumerate(zip((before, after), LOOKS, strict=True))
        ]
        shown = [rasterio.open(date).read(1) for date in dates]
        found = [found_by(detector, dates, folder) for detector in TITLES[3:]]
        side_by_side([*shown, flood, *found]).save(ROOT / "docs" / "radar.jpg", quality=80, optimize=True)


if __name__ == "__main__":
    main()

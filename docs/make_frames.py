"""Make the pictures of docs/frames.md, from a scan and a circuit board that do not exist: `make pictures`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from make_pictures import ROOT, shrink
from scipy import ndimage

import geochange
from geochange.arrays import Array, Floats

SIDE = 320
WIDTH = 1200


def ellipse(shape: tuple[int, int], middle: tuple[float, float], radii: tuple[float, float], angle: float = 0) -> Array:
    """(y, x) whether a pixel lies in an ellipse."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    row, col = rows - middle[0], cols - middle[1]
    along, across = col * np.cos(angle) + row * np.sin(angle), row * np.cos(angle) - col * np.sin(angle)
    return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1


def scan(seed: int, *, later: bool) -> Array:
    """(1, y, x) uint16: a slice through a head, later with two lesions, brighter and noisy in its own way."""
    shape, rng = (SIDE, SIDE), np.random.default_rng(seed)
    brain = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=shape), 4) * 900
    image: Floats = np.full(shape, 300.0)
    image[ellipse(shape, (160, 160), (118, 146))] = 9000  # skull
    image[ellipse(shape, (160, 160), (108, 136))] = 5200
    image += brain * ellipse(shape, (160, 160), (108, 136))
    for side in (-1, 1):
        image[ellipse(shape, (150, 160 + side * 26), (11, 40), side * 0.25)] = 2100  # ventricles
        image[ellipse(shape, (235, 160 + side * 42), (26, 18), side * -0.4)] = 6100
    if later:
        image[ellipse(shape, (105, 215), (14, 11), 0.5)] = 7900
        image[ellipse(shape, (206, 112), (7, 6))] = 7700
    image = ndimage.gaussian_filter(image, 1.0) * (1.08 if later else 1.0) + rng.normal(0, 160, shape)
    return np.clip(image, 0, 65535).astype(np.uint16)[None]


def board(seed: int, *, later: bool) -> Array:
    """(3, y, x) uint8: a circuit board, later without a part, with another one turned, and with a bridge of solder."""
    rng, parts = np.random.default_rng(seed), np.random.default_rng(11)
    image = np.empty((3, SIDE, 2 * SIDE))
    image[:] = np.array([22, 84, 52])[:, None, None]
    for row in range(14, SIDE, 26):
        start, stop = sorted(parts.integers(0, 2 * SIDE, 2))
        image[:, row : row + 3, start:stop] = np.array([58, 128, 84])[:, None, None]
    places = [(row, col) for row in range(30, SIDE - 40, 62) for col in range(30, 2 * SIDE - 50, 74)]
    for number, (row, col) in enumerate(places):
        wide, high = (34, 18) if number % 3 else (22, 36)
        if later and number == 9:
            continue
        if later and number == 20:
            wide, high = high, wide
        colour = ((28, 28, 32), (176, 148, 96), (150, 40, 34))[number % 3]
        image[:, row : row + high, col : col + wide] = np.array(colour)[:, None, None]
        for end in (col - 4, col + wide):
            image[:, row + 3 : row + high - 3, end : end + 4] = 205
    if later:
        image[:, 214:218, 396:412] = 215
    image = ndimage.gaussian_filter(image, (0, 0.8, 0.8)) * (0.93 if later else 1.0) + rng.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def main() -> None:
    with TemporaryDirectory() as made:
        for name, draw in (("scan", scan), ("board", board)):
            folder = Path(made) / name
            folder.mkdir()
            for number, later in enumerate((False, True)):
                write(folder / f"{number}.tif", draw(number, later=later))
            pair = (folder / "0.tif", folder / "1.tif")
            found = geochange.detect(
                *pair, folder / "out", detector="change-vector", min_area="20px", remove_shift=True
            )
            shrink(found.folder / "preview.png", ROOT / "docs" / f"{name}.jpg", WIDTH)
            print(name, found.record["changes"])


def write(path: Path, image: Array) -> None:
    """Write an image without a CRS."""
    count, height, width = image.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": image.dtype}
    with rasterio.open(path, "w", **profile) as out:
        out.write(image)


if __name__ == "__main__":
    main()

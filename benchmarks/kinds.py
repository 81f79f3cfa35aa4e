"""How reliable kinds of change are: lakes, a river, houses, and the synthetic sample. Prints JSON.

    pip install '.[indices]' ./weights/buildings
    python benchmarks/kinds.py

- `water`: changes that `ir-mad` finds, cut by kind, against masks of their own: where the water index of each date is
  in the highest of three classes (Otsu's, of that date: crops, bare ground, water). `precision`: share of the area
  classified as water gain (or loss) that the masks confirm; `recall`: share of what the masks hold, within changes,
  that is classified so.
- `vegetation`: likewise, against NDVI fallen or risen by 0.2 where neither date is water.
- `objects`: on LEVIR-CD's validation scenes with an odd number. Nearly all labelled buildings are new ones. Shares of
  kinds among labelled objects of at least 50 pixels, and with the dates swapped; then of polygons that the `buildings`
  network finds and that overlap a labelled object by half.
- `sample`: kinds of the synthetic sample's true changes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas
import numpy as np
import rasterio
from affine import Affine
from imagery import parser_with_data
from PIL import Image
from rasterio.features import rasterize, shapes
from shapely.geometry import shape
from skimage.filters import threshold_multiotsu

import geochange
from geochange.arrays import Array, Bools, Floats

ROOT = Path(__file__).parents[1]
NAIP, PUCALLPA = Path("naip_wetlands"), Path("landsat_pucallpa")
PAIRS = {
    "NAIP 2009 to 2012": (NAIP / "naip_20090818.tif", NAIP / "naip_20120731.tif", "red=1,green=2,blue=3,nir=4"),
    "NAIP 2012 to 2017": (NAIP / "naip_20120731.tif", NAIP / "naip_20170827.tif", "red=1,green=2,blue=3,nir=4"),
    "Landsat, Pucallpa 1985 to 2020": (PUCALLPA / "1985.tif", PUCALLPA / "2020.tif", "swir1=1,nir=2,red=3,green=4"),
}
LEVIR = {"0.5 m": "val_256px_0.5m", "1 m": "val_512px_1m"}
RGB = "red=1,green=2,blue=3"


def normalised(first: Array, second: Array) -> Floats:
    return (first - second) / np.maximum(first + second, 1e-6)


def by_area(folder: Path, data: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """Scores of water and vegetation, pair by pair."""
    for name, (*dates, roles) in PAIRS.items():
        before, after = (data / date for date in dates)
        found = geochange.detect(before, after, folder / name, align=True, min_area=20, formats=("gpkg",))
        options = geochange.KindOptions(band_roles=roles, split_kinds=True)
        written = geochange.kinds(found.layer, before, after, folder / f"{name}.gpkg", options)
        with rasterio.open(found.probability) as dataset:
            place, extent = dataset.transform, dataset.shape
        frame = geopandas.read_file(written.path, layer="changes")
        predicted = {kind: burnt(frame[frame["kind"] == kind], extent, place) for kind in frame["kind"].unique()}
        inside, nowhere = burnt(frame, extent, place), np.zeros(extent, bool)
        gained, lost, greener, barer = masks(before, after, roles)
        truth = {"water gain": gained, "water loss": lost, "vegetation gain": greener, "vegetation loss": barer}
        yield (
            name,
            {
                "pieces": dict(written.counts),
                **{kind: agreement(predicted.get(kind, nowhere), mask & inside) for kind, mask in truth.items()},
            },
        )


def masks(before: Path, after: Path, roles: str) -> list[Bools]:
    """(y, x) water gained and lost, vegetation gained and lost, by thresholds of their own."""
    numbers = {role: int(number) for role, number in (each.split("=") for each in roles.split(","))}
    dates = [date.values.astype(float) for date in geochange.open_pair(before, after, align=True)]
    valid = np.logical_and(*((date > 0).any(axis=0) for date in dates))
    wet, green = [], []
    for date in dates:
        bands = {role: date[number - 1] for role, number in numbers.items()}
        index = normalised(bands["green"], bands.get("swir1", bands["nir"]))
        wet.append(index > threshold_multiotsu(index[valid], 3)[1])
        green.append(normalised(bands["nir"], bands["red"]))
    change = green[1] - green[0]
    change -= np.median(change[valid])
    land = valid & ~wet[0] & ~wet[1]
    return [valid & wet[1] & ~wet[0], valid & wet[0] & ~wet[1], land & (change >= 0.2), land & (change <= -0.2)]


def burnt(frame: geopandas.GeoDataFrame, extent: tuple[int, int], place: Affine) -> Bools:
    if not len(frame):
        return np.zeros(extent, bool)
    return rasterize(frame.geometry, extent, transform=place).astype(bool)


def agreement(predicted: Bools, truth: Bools) -> dict[str, float | int | None]:
    hits = int((predicted & truth).sum())
    return {
        "pixels": int(predicted.sum()),
        "precision": round(hits / predicted.sum(), 3) if predicted.any() else None,
        "recall": round(hits / truth.sum(), 3) if truth.any() else None,
    }


def of_objects(folder: Path, tiles: Path, gsd: str) -> dict[str, object]:
    """Kinds of labelled objects, and of those that the network finds."""
    size = float(gsd.removesuffix(" m"))
    found: dict[str, Counter[str]] = {name: Counter() for name in ("labelled", "dates swapped", "found by buildings")}
    for label in sorted((tiles / "label").iterdir()):
        if int(label.stem[3:6]) % 2 == 0:
            continue
        images = [georeferenced(tiles / date / f"{label.stem}.jpg", folder, date, size) for date in "AB"]
        mask = (np.asarray(Image.open(label)) > 0).astype(np.uint8)
        with rasterio.open(images[0]) as dataset:
            place, crs = dataset.transform, dataset.crs
        parts = [shape(each) for each, _ in shapes(mask, mask=mask > 0, transform=place)]
        large = [part for part in parts if part.area >= 50 * place.a**2]
        if not large:
            continue
        frame = geopandas.GeoDataFrame(geometry=large, crs=crs)
        frame.to_file(folder / "labels.gpkg", layer="changes")
        for name, order in (("labelled", images), ("dates swapped", images[::-1])):
            found[name].update(classified(folder / "labels.gpkg", order, folder))
        if gsd == "0.5 m":
            run = geochange.detect(*images, folder / "run", detector="buildings", formats=("gpkg",), overwrite=True)
            polygons = run.changes()
            right = polygons[polygons.intersection(frame.union_all()).area >= polygons.area / 2]
            if len(right):
                right[["geometry"]].to_file(folder / "right.gpkg", layer="changes")
                found["found by buildings"].update(classified(folder / "right.gpkg", images, folder))
    return {name: {"objects": sum(each.values()), **shares(each)} for name, each in found.items() if each}


def georeferenced(image: Path, folder: Path, date: str, gsd: float) -> Path:
    path, pixels = folder / f"{date}.tif", np.asarray(Image.open(image)).transpose(2, 0, 1)
    profile = {"driver": "GTiff", "crs": "EPSG:32614", "transform": Affine(gsd, 0, 0, 0, -gsd, 0), "dtype": "uint8"}
    with rasterio.open(path, "w", count=3, height=pixels.shape[1], width=pixels.shape[2], **profile) as dataset:
        dataset.write(pixels)
    return path


def classified(layer: Path, images: list[Path], folder: Path) -> list[str]:
    out = folder / "classified.gpkg"
    geochange.kinds(layer, *images, out, geochange.KindOptions(band_roles=RGB), overwrite=True)
    return geopandas.read_file(out, layer="changes")["kind"].tolist()


def shares(counts: Counter[str]) -> dict[str, float]:
    return {kind: round(count / sum(counts.values()), 3) for kind, count in counts.most_common()}


def of_sample(folder: Path) -> dict[str, dict[str, int]]:
    place = ROOT / "sample_data"
    geochange.kinds(place / "truth.gpkg", place / "before.tif", place / "after.tif", folder / "sample.gpkg")
    truth = geopandas.read_file(place / "truth.gpkg")["kind"]
    found = geopandas.read_file(folder / "sample.gpkg", layer="changes")["kind"]
    return {kind: dict(Counter(found[truth == kind])) for kind in sorted(truth.unique())}


def main() -> None:
    data = parser_with_data(__doc__).parse_args().data
    with TemporaryDirectory() as text:
        folder = Path(text)
        report = {
            "water and vegetation": dict(by_area(folder, data)),
            "objects": {gsd: of_objects(folder, data / "levir" / tiles, gsd) for gsd, tiles in LEVIR.items()},
            "sample": of_sample(folder),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

"""What detectors find that need no labels of yours, at their defaults, on real and synthetic pairs. Prints JSON lines.

    python benchmarks/without_labels.py OUT [--detectors landscape,ir-mad,change-vector] [--sets dsifn,levir-1m]

Each pair is written to OUT as GeoTIFF with its pixel size, so that `--match-gsd` applies to networks; red, green and
blue only, 8 bits. Pixels called change are counted over a data set, at the threshold that each run chose. A line
gives precision, recall and F1 with the interval of 95 % from a bootstrap over pairs. What OUT holds is not done again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import numpy as np
import rasterio
from affine import Affine
from imagery import parser_with_data

import geochange
from geochange.arrays import Array
from geochange.errors import BadOption

ROOT = Path(__file__).parents[1]
DETECTORS = ("landscape", "ir-mad", "change-vector")
NETWORKS = ("landscape",)
SEEDS = range(500, 510)  # of synthetic scenes; landscape was trained on seeds from 7000
DRAWS = 1000
REFLECTANCE_SHOWN = 3500.0  # Sentinel-2's stored values that become 255


@dataclass(frozen=True)
class Pair:
    """Two dates (band, y, x) and their labels (y, x): 0, 1, and 255 where not labelled; pixels in metres."""

    dates: tuple[Array, Array]
    labels: Array
    pixel: float


def read(path: Path, bands: tuple[int, ...] = (1, 2, 3)) -> Array:
    with rasterio.open(path) as source:
        return np.asarray(source.read(list(bands)))


def folders(folder: Path, pixel: float) -> Iterator[tuple[str, Pair]]:
    """Pairs in folders A, B and label."""
    for label in sorted((folder / "label").iterdir()):
        dates = tuple(read(next((folder / date).glob(f"{label.stem}.*"))) for date in "AB")
        yield label.stem, Pair((dates[0], dates[1]), (read(label, (1,))[0] > 0).astype(np.uint8), pixel)


def airchange(data: Path) -> Iterator[tuple[str, Pair]]:
    for place in sorted((data / "airchange").glob("*/*")):
        labels = (read(place / "gt.png", (1,))[0] >= 127).astype(np.uint8)
        yield f"{place.parent.name}{place.name}", Pair((read(place / "im1.png"), read(place / "im2.png")), labels, 1.5)


def taizhou(data: Path) -> Iterator[tuple[str, Pair]]:
    place = data / "landsat_taizhou"
    first, second = (read(place / name, (3, 2, 1)) for name in ("T1.tif", "T2.tif"))
    yield "taizhou", Pair((first, second), read(place / "label.tif", (1,))[0], 30.0)


def sentinel2(data: Path) -> Iterator[tuple[str, Pair]]:
    for labels in sorted((data / "sentinel2_oscd").glob("*/*-cm.tif")):
        dates = []
        for date in ("imgs_1", "imgs_2"):
            files = [next((labels.parent / date).glob(f"*_{band}.tif")) for band in ("B04", "B03", "B02")]
            stored = np.concatenate([read(file, (1,)) for file in files])
            dates.append(np.clip(np.rint(stored / REFLECTANCE_SHOWN * 255), 0, 255).astype(np.uint8))
        yield labels.parent.name, Pair((dates[0], dates[1]), (read(labels, (1,))[0] == 2).astype(np.uint8), 10.0)


def synthetic(folder: Path) -> Iterator[tuple[str, Pair]]:
    """Scenes of seeds that nothing was trained on, at 0.5 and 1 m in turn."""
    for seed in SEEDS:
        made, pixel = folder / str(seed), (0.5, 1.0)[seed % 2]
        if not made.exists():
            begun = made.with_suffix(".part")
            script = [sys.executable, str(ROOT / "sample_data" / "make_scene.py"), str(begun)]
            asked = ["--size", "1024", "--seed", str(seed), "--pixel", str(pixel), "--changes", "300", "--truth-raster"]
            subprocess.run([*script, *asked], check=True, stdout=subprocess.DEVNULL)
            begun.rename(made)
        dates = read(made / "before.tif"), read(made / "after.tif")
        yield str(seed), Pair(dates, read(made / "truth.tif", (1,))[0], pixel)


def write(path: Path, image: Array, pixel: float) -> None:
    profile = {"driver": "GTiff", "dtype": image.dtype, "count": len(image), "crs": "EPSG:32631"}
    place = Affine(pixel, 0, 400000, 0, -pixel, 5000000)
    with rasterio.open(path, "w", **profile, height=image.shape[1], width=image.shape[2], transform=place) as out:
        out.write(image)


def count(pair: Pair, folder: Path, detector: str) -> list[int]:
    """Hits, false alarms and misses of a detector on a pair."""
    rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = folder / "before.tif", folder / "after.tif"
    for path, date in zip(files, pair.dates, strict=True):
        write(path, date, pair.pixel)
    network = {"match_gsd": True} if detector in NETWORKS else {}
    found = geochange.detect(*files, folder / "run", detector=detector, **network)
    with rasterio.open(found.probability) as scores:
        codes = scores.read(1)
    called, known, changed = (
        codes >= np.ceil(254 * found.record["threshold"]),
        (codes != 255) & (pair.labels != 255),
        pair.labels == 1,
    )
    return [int((each & known).sum()) for each in (called & changed, called & ~changed, ~called & changed)]


def figures(hits: float, false: float, missed: float) -> tuple[float, float, float]:
    f1 = 2 * hits / max(2 * hits + false + missed, 1)
    return hits / max(hits + false, 1), hits / max(hits + missed, 1), f1


def report(name: str, detector: str, counts: Array) -> str:
    """A line of figures, from counts (pair, 3)."""
    precision, recall, f1 = figures(*counts.sum(axis=0))
    drawn = np.random.default_rng(0).integers(len(counts), size=(DRAWS, len(counts)))
    interval = np.quantile([figures(*counts[each].sum(axis=0))[2] for each in drawn], (0.025, 0.975))
    line = {"set": name, "detector": detector, "pairs": len(counts), "precision": precision, "recall": recall, "f1": f1}
    rounded = {key: round(float(value), 3) if isinstance(value, float) else value for key, value in line.items()}
    return json.dumps({**rounded, "interval": [round(float(each), 3) for each in interval]})


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--detectors", default=",".join(DETECTORS), help="by comma")
    parser.add_argument("--sets", help="by comma; all without it")
    chosen = parser.parse_args()
    data = chosen.data
    sets = {
        "synthetic": lambda: synthetic(chosen.out / "scenes"),
        "taizhou": lambda: taizhou(data),
        "sentinel2": lambda: sentinel2(data),
        "airchange": lambda: airchange(data),
        "dsifn": lambda: folders(data / "dsifn_256px", 2.0),
        "levir-1m": lambda: folders(data / "levir" / "val_512px_1m", 1.0),
        "levir-0.5m": lambda: folders(data / "levir" / "val_256px_0.5m", 0.5),
    }
    for name in chosen.sets.split(",") if chosen.sets else sets:
        for detector in chosen.detectors.split(","):
            kept = chosen.out / "counts" / f"{name}.{detector}.json"
            if not kept.exists():
                try:
                    counts = [count(pair, chosen.out / "work", detector) for _, pair in sets[name]()]
                except BadOption as refused:
                    print(json.dumps({"set": name, "detector": detector, "refused": str(refused)}))
                    continue
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(counts))
            print(report(name, detector, np.array(json.loads(kept.read_text()))), flush=True)


if __name__ == "__main__":
    main()

"""Other tools on the same pixels in the same run, and the machine's own limits.

    python benchmarks/peers.py OUT [--network-side 4096] [--mad-side 6000] [--mask-side 10000] [--repeats 3]

Each way is a process of its own, from its start to the files that it leaves; ways take turns, and medians are printed,
as JSON, and in OUT/peers.md as a table. What is not installed is named with its error. Wanted: the commands of the
Orfeo ToolBox (otb-bin in Debian) and gdal_polygonize.py (gdal-bin, python3-gdal), and torchgeo from PyPI.

The network is that of `landscape`. `tutorial` is the loop that one finds in tutorials: both images in memory, eager
torch as it comes, tile after tile of 512 pixels without overlap, then rasterio's shapes; `torchgeo` has its
datasets, its GridGeoSampler and torch's data loader in place of the loop. `forward` is the forward pass of the same
network by the engine, on the same pixels in memory, with nothing read or written.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rasterio
from large_scene import made_scene
from network_speed import forward
from polygons import make_mask

import geochange
from geochange.detectors.catalogue import find_checkpoint
from geochange.scenes.grid import Tile
from geochange.scenes.tiling import partition

HERE = Path(__file__)
TILE = 512
PLACE = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)


@dataclass(frozen=True)
class Way:
    """How something is done."""

    name: str
    command: list[str]


def own(*arguments: str) -> list[str]:
    """Return a command of geochange."""
    return [sys.executable, "-m", "geochange", *arguments, "-q", "--overwrite"]


def here(name: str, *arguments: str) -> list[str]:
    """Return a command that runs a function below."""
    return [sys.executable, str(HERE), "-", "--only", name, *arguments]


def network_ways(out: Path, side: int) -> list[Way]:
    """Return ways to run a network over a pair, to a raster and polygons."""
    before, after = three_bands(out, side)
    landscape = ["detect", before, after, "-o", str(out / "network"), "-d", "landscape"]
    return [
        Way("geochange", own(*landscape)),
        Way("geochange, tiles as tutorial", own(*landscape, "--tile-size", str(TILE), "--overlap", "0")),
        Way("geochange, OpenVINO", own(*landscape, "--engine", "openvino")),
        Way("forward", here("forward", before, after)),
        Way("tutorial", here("tutorial", before, after, str(out))),
        Way("torchgeo", here("torchgeo", before, after, str(out))),
    ]


def mad_ways(out: Path, side: int) -> list[Way]:
    """Return ways to the multivariate alteration detection of a pair of four bands."""
    before, after = made_scene(side)
    once = ["-d", "ir-mad", "--option", "iterations=1", "--shift-tolerance", "0"]
    otb = [
        "otbcli_MultivariateAlterationDetector",
        "-in1",
        before,
        "-in2",
        after,
        "-out",
        str(out / "mad.tif"),
        "float",
    ]
    return [
        Way("geochange", own("detect", before, after, "-o", str(out / "mad"), *once)),
        Way("geochange, raster alone", here("raster", before, after, str(out / "raster"))),
        Way("Orfeo ToolBox", otb),
        Way("sequential read", here("read", before, after)),
        Way("sequential write", here("write", str(out / "written.tif"), str(side))),
    ]


def mask_ways(out: Path, side: int) -> list[Way]:
    """Return ways to the polygons of a mask."""
    mask = out / f"mask-{side}.tif"
    if not mask.exists():
        profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint8", "tiled": True}
        with rasterio.open(
            mask, "w", **profile, compress="DEFLATE", nodata=0, crs="EPSG:32633", transform=PLACE
        ) as dataset:
            dataset.write(make_mask(side), 1)
    gdal = ["gdal_polygonize.py", "-q", str(mask), "-f", "GPKG", str(out / "gdal.gpkg")]
    return [
        Way("geochange", own("vectorize", str(mask), "-o", str(out / "own.gpkg"), "--min-area", "1px")),
        Way("gdal_polygonize", gdal),
        Way("rasterio shapes", here("shapes", str(mask), str(out / "shapes.gpkg"))),
    ]


def three_bands(out: Path, side: int) -> tuple[str, str]:
    """Return the paths of the synthetic pair with red, green and blue alone."""
    paths = []
    for path in made_scene(side):
        target = out / f"{Path(path).stem}-rgb-{side}.tif"
        if not target.exists():
            with rasterio.open(path) as source:
                profile = source.profile | {"count": 3, "photometric": "RGB"}
                with rasterio.open(target, "w", **profile) as dataset:
                    for tile in partition(source.shape, (1024, 1024)):
                        dataset.write(source.read((1, 2, 3), window=tile.window), window=tile.window)
        paths.append(str(target))
    return paths[0], paths[1]


def plain_network() -> Callable[[Any], Any]:
    """Return the network as a function of (n, 2, band, y, x) tensors, as torch runs it."""
    import torch

    from geochange.detectors.networks.checkpoint import load_checkpoint

    loaded = load_checkpoint(find_checkpoint("landscape"))
    network, values = loaded.build(), loaded.about.normalisation
    network = network.to(memory_format=torch.contiguous_format)
    network.encoder.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(),))
    mean, spread = (torch.tensor(each)[:, None, None] for each in (values.mean, values.spread))

    def score(dates: Any) -> Any:
        rows, cols = dates.shape[-2:]
        below, right = -rows % network.stride, -cols % network.stride
        filled = torch.nn.functional.pad(dates.float(), (0, right, 0, below, 0, 0), mode="replicate")
        with torch.no_grad():
            return torch.sigmoid(network((filled - mean) / spread)[:, 0, :rows, :cols])

    return score


def tutorial(before: str, after: str, out: str) -> None:
    """Score tile after tile, write a raster, outline what is above a half."""
    import torch

    with rasterio.open(before) as first, rasterio.open(after) as second:
        profile, dates = first.profile, torch.from_numpy(np.stack([first.read(), second.read()]))
    score, scores = plain_network(), np.zeros(dates.shape[-2:], np.float32)
    for tile in partition(scores.shape, (TILE, TILE)):
        scores[tile.slices()] = score(dates[None, :, :, *tile.slices()])[0].numpy()
    write_scores(scores, profile, Path(out) / "tutorial.tif")
    outline(scores > 0.5, profile, Path(out) / "tutorial.gpkg")


def torchgeo(before: str, after: str, out: str) -> None:
    """Score what torchgeo's sampler gives, write a raster, outline what is above a half."""
    import torch
    from torch.utils.data import DataLoader
    from torchgeo.datasets import RasterDataset
    from torchgeo.samplers import GridGeoSampler

    score = plain_network()
    with rasterio.open(before) as source:
        profile = source.profile
    first, second = (RasterDataset([path]) for path in (before, after))
    scores = np.zeros((profile["height"], profile["width"]), np.float32)
    left, top, size = profile["transform"].c, profile["transform"].f, profile["transform"].a

    class Pairs(torch.utils.data.Dataset[Any]):
        def __getitem__(self, query: Any) -> Any:
            dates = torch.stack([first[query]["image"], second[query]["image"]])
            return dates, round((top - query[1].stop) / size), round((query[0].start - left) / size)

    sampler = GridGeoSampler(first, size=TILE, stride=TILE)
    for dates, row, col in DataLoader(Pairs(), batch_size=None, sampler=sampler):
        scored = score(dates[None])[0].numpy()
        tile = Tile(row, col, *scored.shape)
        place = tile.intersect(Tile(0, 0, *scores.shape))
        scores[place.slices()] = scored[place.slices((tile.row, tile.col))]
    write_scores(scores, profile, Path(out) / "torchgeo.tif")
    outline(scores > 0.5, profile, Path(out) / "torchgeo.gpkg")


def write_scores(scores: Any, profile: Mapping[str, Any], path: Path) -> None:
    """Write probabilities as most do."""
    kept = {name: profile[name] for name in ("driver", "width", "height", "crs", "transform")}
    with rasterio.open(path, "w", **kept, count=1, dtype="float32", compress="deflate") as dataset:
        dataset.write(scores, 1)


def outline(changed: Any, profile: Mapping[str, Any], path: Path) -> None:
    """Write polygons as most do."""
    import geopandas
    from rasterio import features
    from shapely.geometry import shape

    path.unlink(missing_ok=True)
    found = features.shapes(changed.astype(np.uint8), mask=changed, transform=profile["transform"])
    polygons = [shape(geometry) for geometry, _ in found]
    geopandas.GeoDataFrame(geometry=polygons, crs=profile["crs"]).to_file(path)


def shapes(mask: str, out: str) -> None:
    """Outline a mask, all of it in memory."""
    with rasterio.open(mask) as dataset:
        outline(dataset.read(1) > 0, dataset.profile, Path(out))


def raster(before: str, after: str, out: str) -> None:
    """Find changes by MAD, and write no polygons, as the Orfeo ToolBox writes none."""
    once: dict[str, Any] = {"detector_options": {"iterations": "1"}, "shift_tolerance": 0}
    geochange.detect(before, after, out, detector="ir-mad", formats=(), overwrite=True, **once)


def read(*paths: str) -> None:
    """Read all pixels, a row of blocks after the other."""
    for path in paths:
        with rasterio.open(path) as dataset:
            for row in range(0, dataset.height, TILE):
                dataset.read(window=((row, min(row + TILE, dataset.height)), (0, dataset.width)))


def write(path: str, side: str) -> None:
    """Write as many bytes as there are pixels, and have them on the disk."""
    with Path(path).open("wb") as file:
        for _ in range(int(side)):
            file.write(bytes(int(side)))
        file.flush()
        os.fsync(file.fileno())


def only_forward(before: str, after: str) -> None:
    """Print the seconds of the forward pass alone."""
    print(forward((before, after), find_checkpoint("landscape"), os.cpu_count() or 1))


ONLY: dict[str, Callable[..., None]] = {
    "forward": only_forward,
    "tutorial": tutorial,
    "torchgeo": torchgeo,
    "shapes": shapes,
    "raster": raster,
    "read": read,
    "write": write,
}


def seconds_of(way: Way) -> float | str:
    """Run a way: its seconds, those that it prints where it does, or why it cannot be run."""
    for path in [Path(part) for part in way.command[1:] if part.endswith(".gpkg")]:
        path.unlink(missing_ok=True)
    begun = time.perf_counter()
    try:
        done = subprocess.run(way.command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{error}"
    spent = time.perf_counter() - begun
    if done.returncode:
        return (done.stderr.strip() or done.stdout.strip() or f"status {done.returncode}").splitlines()[-1]
    return float(done.stdout) if way.name == "forward" else spent


def measure(ways: list[Way], repeats: int) -> dict[str, float | str]:
    """Return the median seconds of each way, run in turns."""
    found: dict[str, list[float | str]] = {way.name: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            if not any(isinstance(each, str) for each in found[way.name]):
                found[way.name].append(seconds_of(way))
                print(way.name, found[way.name][-1], file=sys.stderr, flush=True)
    return {
        name: next((each for each in turns if isinstance(each, str)), None) or median(turns)
        for name, turns in found.items()
    }


def table(answer: Mapping[str, Mapping[str, float | str]]) -> str:
    """Return the answer as a table, in times of geochange's."""
    lines = ["| the same work | by | time, in times of geochange's |", "|---|---|---|"]
    for work, ways in answer.items():
        base = ways["geochange"]
        for name, each in ways.items():
            shown = f"{each / base:.2f}" if isinstance(each, float) and isinstance(base, float) else str(each)
            lines.append(f"| {work} | {name} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--network-side", type=int, default=4096)
    parser.add_argument("--mad-side", type=int, default=6000)
    parser.add_argument("--mask-side", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.only:
        ONLY[chosen.only[0]](*chosen.only[1:])
        return
    out = chosen.out.absolute()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    answer = {
        f"network, {chosen.network_side:,}²": measure(network_ways(out, chosen.network_side), chosen.repeats),
        f"MAD, {chosen.mad_side:,}²": measure(mad_ways(out, chosen.mad_side), chosen.repeats),
        f"polygons of a mask, {chosen.mask_side:,}²": measure(mask_ways(out, chosen.mask_side), chosen.repeats),
    }
    (out / "peers.md").write_text(table(answer))
    print(json.dumps({"cores": os.cpu_count(), "seconds": answer}, indent=1, default=lambda value: round(value, 3)))


if __name__ == "__main__":
    main()

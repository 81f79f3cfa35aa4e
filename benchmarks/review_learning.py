"""What decisions of a reviewer are worth: F1 of the other half of a scene after a fine-tune, or another threshold.

    python benchmarks/review_learning.py FOLDER [--dsifn DSIFN] [--steps 150]

A simulated reviewer, who knows the truth, keeps or rejects changes that were found in the left half of a scene; the
right half is scored. Scenes are drawn by `sample_data/make_scene.py` with other seeds than the weights were trained on,
and, where DSIFN is given, joined out of its tiles (folders A, B, label). FOLDER keeps scenes, runs and `rows.jsonl`, so
that an interrupted benchmark goes on; weights are removed. Prints one table: F1 of pixels, and its interval of 95 %.

- `network`: `landscape` on three bands, fine-tuned for so many steps on what was decided;
- `threshold`: the default detector of the scene, at the threshold that the same decisions choose;
- `network, cells` and `threshold, cells`: the reviewer has also looked at the cells that hold these changes, and drawn
  what was missed there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import rasterio
import shapely
from affine import Affine
from PIL import Image

import geochange
from geochange.errors import BadOption
from geochange.review.actions import read_request
from geochange.review.queue import ORDERS
from geochange.review.saved import SavedReview
from geochange.review.store import ReviewStore

ROOT = Path(__file__).parents[1]
COUNTS = (50, 100, 200)
SEEDS = (0, 1)
QUEUES = ("doubtful", "random")
LOOPS: dict[str, dict[str, Any]] = {"network": {"detector": "landscape", "bands": (1, 2, 3)}, "threshold": {}}
LOOKING = ", cells"
SMALLEST = 16  # px of what is drawn
SIZE = 3072  # of drawn scenes, px
TILES = 12  # of DSIFN, a side
SIDE = 256  # of a tile of DSIFN, px


@dataclass(frozen=True)
class Row:
    """One figure."""

    scene: str
    loop: str
    order: str
    decisions: int
    looked: int
    """Cells that were looked at."""
    drawn: int
    """Changes that were drawn in them."""
    seed: int
    f1: float
    low: float
    high: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Halves:
    """A scene, of which the left half is reviewed and the right one scored."""

    name: str
    before: Path
    after: Path
    truth: Path
    """A raster, 1 where it has changed."""
    folder: Path
    steps: int

    @property
    def aois(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Left, bottom, right, top of both halves."""
        with rasterio.open(self.before) as dataset:
            left, bottom, right, top = dataset.bounds
            middle = (dataset.transform @ (dataset.width // 2, 0))[0]
        return (left, bottom, middle, top), (middle, bottom, right, top)

    def detect(self, half: int, name: str, **settings: Any) -> Path:
        """Detect in a half, unless it was done before."""
        out = self.folder / name
        settings = {"formats": ("gpkg",), "aoi": self.aois[half], **settings}
        return geochange.detect(self.before, self.after, out, resume=out.exists(), **settings).folder

    def score(self, out: Path) -> dict[str, float]:
        """Score the layer of a run against the truth of its half."""
        with rasterio.open(self.truth) as dataset, rasterio.open(out / "probability.tif") as half:
            window = rasterio.windows.from_bounds(*half.bounds, transform=dataset.transform)
            truth = out / "truth.tif"
            with rasterio.open(truth, "w", **{**half.profile, "count": 1, "dtype": "uint8", "nodata": None}) as file:
                file.write(dataset.read(1, window=window), 1)
        pixels = geochange.evaluate(out / "changes.gpkg", truth).to_dict()["pixels"]
        low, high = pixels["intervals"]["f1"]
        return {"f1": pixels["f1"], "low": low, "high": high, **{n: pixels[n] for n in ("precision", "recall")}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dsifn", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = given.folder / "rows.jsonl"
    done = [Row(**json.loads(line)) for line in rows.read_text().splitlines()] if rows.exists() else []
    for scene in scenes(given):
        for row in measure(scene, done):
            done.append(row)
            with rows.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            print(row, file=sys.stderr, flush=True)
    table(done)


def scenes(given: argparse.Namespace) -> Iterator[Halves]:
    """Yield the scenes, made where they are missing."""
    folder = given.folder / "synthetic"
    if not (folder / "truth.tif").exists():
        script = ROOT / "sample_data" / "make_scene.py"
        command = [script, folder, "--size", SIZE, "--seed", 2025, "--truth-raster"]
        subprocess.run([sys.executable, *map(str, command)], check=True)
    yield Halves("synthetic", *(folder / f"{name}.tif" for name in ("before", "after", "truth")), folder, given.steps)
    if given.dsifn is None:
        return
    folder = given.folder / "dsifn"
    if not (folder / "truth.tif").exists():
        join(given.dsifn, folder)
    yield Halves("dsifn", *(folder / f"{name}.tif" for name in ("before", "after", "truth")), folder, given.steps)


def join(dsifn: Path, folder: Path) -> None:
    """Join tiles of DSIFN, in the order of their names, to a scene; they have no place, and get pixels of a metre."""
    folder.mkdir(parents=True, exist_ok=True)
    names = sorted(path.stem for path in (dsifn / "A").iterdir())[: TILES * TILES]
    for part, name, mode in (("A", "before", "RGB"), ("B", "after", "RGB"), ("label", "truth", "L")):
        tiles = [np.asarray(Image.open(next((dsifn / part).glob(f"{each}.*"))).convert(mode)) for each in names]
        whole = np.zeros((TILES * SIDE, TILES * SIDE, *tiles[0].shape[2:]), np.uint8)
        for place, tile in enumerate(tiles):
            row, col = (SIDE * each for each in divmod(place, TILES))
            whole[row : row + SIDE, col : col + SIDE] = tile if part != "label" else (tile > 127)
        bands = whole[None] if whole.ndim == 2 else whole.transpose(2, 0, 1)
        profile = {"driver": "GTiff", "width": whole.shape[1], "height": whole.shape[0], "count": len(bands)}
        place = {"crs": "EPSG:32650", "transform": Affine(1, 0, 400000, 0, -1, 4000000)}
        with rasterio.open(folder / f"{name}.tif", "w", dtype="uint8", **profile, **place) as dataset:
            dataset.write(bands)


def measure(scene: Halves, done: list[Row]) -> Iterator[Row]:
    """Yield the rows of a scene that are not done."""
    known = {(row.scene, row.loop, row.order, row.decisions, row.seed) for row in done}

    def missing(*key: Any) -> bool:
        return (scene.name, *key) not in known

    for loop, settings in LOOPS.items():
        if missing(loop, "none", 0, 0):
            yield Row(scene.name, loop, "none", 0, 0, 0, 0, **scene.score(scene.detect(1, f"{loop}-start", **settings)))
    for order in QUEUES:
        for count in COUNTS:
            for loop in (f"{each}{look}" for look in ("", LOOKING) for each in LOOPS):
                seeds = [seed for seed in SEEDS[: 2 if "network" in loop else 1] if missing(loop, order, count, seed)]
                if not seeds:
                    continue
                start = loop.removesuffix(LOOKING)
                left = scene.detect(0, f"{start}-left", **LOOPS[start])
                reviewed, looked, drawn = decide(scene, left, order, count, look=loop.endswith(LOOKING))
                for seed in seeds:
                    yield Row(
                        scene.name, loop, order, count, looked, drawn, seed, **learn(scene, start, reviewed, seed)
                    )
                shutil.rmtree(reviewed)


def decide(scene: Halves, left: Path, order: str, count: int, *, look: bool) -> tuple[Path, int, int]:
    """Decide on the first changes of an order by the truth, in a copy of a run.

    Where `look`, the cells that hold them are looked at, all that was found there is decided on, and what was missed is
    drawn. Returns the copy, how many cells were looked at, and how many changes drawn.
    """
    reviewed = left.with_name(f"{left.name}-reviewed")
    shutil.rmtree(reviewed, ignore_errors=True)
    shutil.copytree(left, reviewed)
    saved = SavedReview.open(reviewed, beginning=True)
    grid = saved.run.scene.grid.transform
    with rasterio.open(scene.truth) as dataset:
        row, col = (round(each) for each in reversed(~dataset.transform @ (grid.c, grid.f)))
        truth = dataset.read(1, window=((row, row + saved.cells.shape[0]), (col, col + saved.cells.shape[1])))
    columns = saved.base.columns
    first = ORDERS[order](columns)[:count]
    cells = np.unique(saved.cells.holding(columns.boxes[first])) if look else np.array([], np.int64)
    looked = np.zeros(truth.shape, bool)
    for cell in cells.tolist():
        looked[saved.cells.tiles[cell].slices()] = True
    within = np.isin(saved.cells.holding(columns.boxes), cells)
    within[first] = True
    shapes = saved.base.shapes(columns.ids.tolist())
    items, missed = [], looked & (truth > 0)
    for number, asked in zip(columns.ids.tolist(), within.tolist(), strict=True):
        inside = mask(shapely.from_wkb(shapes[number]), grid, truth.shape)
        kept = truth[inside].mean() >= 0.5
        if asked:
            items.append({"key": str(number), "rev": 0, "after": {"status": "kept" if kept else "rejected"}})
        if kept or not asked:
            missed &= ~inside
    outlines = [
        shapely.geometry.shape(outline)
        for outline, value in rasterio.features.shapes(missed.astype(np.uint8), mask=missed, transform=grid)
    ]
    drawn = [
        {"key": "", "rev": 0, "after": {"geometry": shapely.to_wkb(outline, hex=True), "label": "change"}}
        for outline in outlines
        if outline.area >= SMALLEST * abs(grid.determinant)
    ]
    looks = [{"key": saved.cells.key(cell), "rev": 0, "after": {"looked": True}} for cell in cells.tolist()]
    with ReviewStore(saved.truth, saved.untouched, saved.facts(), top=saved.changes.top) as store:
        for kind, told in (("decide", items), ("look", looks), ("draw", drawn)):
            if told:
                sent = {"op": str(uuid4()), "kind": kind, "items": told}
                store.act(read_request(sent, "x", ("change",), outline=str)).result()
    return reviewed, len(looks), len(drawn)


def mask(outline: shapely.Geometry, grid: Affine, shape: tuple[int, int]) -> np.ndarray:
    """(y, x) whether a pixel of a raster lies inside an outline in map units."""
    return rasterio.features.geometry_mask([outline], shape, grid, invert=True)


def learn(scene: Halves, loop: str, reviewed: Path, seed: int) -> dict[str, float]:
    """Learn from a review, and score the other half."""
    if loop != "network":
        chosen = geochange.vectorize(
            reviewed / "probability.tif",
            scene.folder / "left.gpkg",
            labels=str(reviewed),
            threshold="f1",
            overwrite=True,
        )
        start, found = scene.detect(1, f"{loop}-start"), scene.folder / "learnt"
        shutil.rmtree(found, ignore_errors=True)
        shutil.copytree(start, found, ignore=shutil.ignore_patterns("changes*"))
        geochange.vectorize(start / "probability.tif", found / "changes.gpkg", threshold=chosen.threshold)
    else:
        training = scene.folder / "training"
        shutil.rmtree(training, ignore_errors=True)
        try:
            trained = geochange.finetune(
                None, training, review=[reviewed], start="landscape", steps=scene.steps, batch=4, every=scene.steps,
                seed=seed, loaders=0,
            )  # fmt: skip
        except BadOption as error:  # all were kept: there is nothing to learn from
            print(error, file=sys.stderr)
            return scene.score(scene.detect(1, "network-start", detector="landscape", bands=(1, 2, 3)))
        found = scene.detect(1, "learnt", detector="network", checkpoint=str(trained.checkpoint), bands=(1, 2, 3))
        shutil.rmtree(training)
    figures = scene.score(found)
    shutil.rmtree(found)
    return figures


def table(rows: list[Row]) -> None:
    """Print rows as a table of Markdown."""
    names = "scene | loop | order | decisions | looked at | drawn | seed | F1 | 95 % | precision | recall"
    print(f"| {names} |\n" + "|---" * (names.count("|") + 1) + "|")
    for row in rows:
        first = (row.scene, row.loop, row.order, row.decisions, row.looked, row.drawn, row.seed, f"{row.f1:.3f}")
        print("|", " | ".join(map(str, first)), end="")
        print(f" | {row.low:.3f} to {row.high:.3f} | {row.precision:.3f} | {row.recall:.3f} |")


if __name__ == "__main__":
    main()

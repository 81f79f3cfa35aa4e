"""What decisions of a reviewer are worth: F1 of the other half of a scene after a fine-tune, or another threshold.

    python benchmarks/review_learning.py FOLDER [--dsifn DSIFN] [--steps 150]

A simulated reviewer, who knows the truth, keeps or rejects changes that were found in the left half of a scene; the
right half is scored. Scenes are drawn by `sample_data/make_scene.py` with other seeds than the weights were trained on,
and, where DSIFN is given, joined out of its tiles (folders A, B, label). FOLDER keeps scenes, runs and `rows.jsonl`, so
that an interrupted benchmark goes on; weights are removed. Prints one table: F1 of pixels, and its interval of 95 %.

- `network`: `landscape` on three bands, fine-tuned for so many steps on what was decided;
- `threshold`: the default detector of the scene, at the threshold that the same decisions choose;
- `cells`: as `threshold`, and the reviewer has looked at the cells of the first decisions and found nothing missing.
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

    def row(figures: dict[str, float], *key: Any) -> Row:
        return Row(scene.name, *key, **figures)

    network = {"detector": "landscape", "bands": (1, 2, 3)}
    starts: dict[str, dict[str, Any]] = {"network": network, "threshold": {}, "cells": {}}
    for loop, settings in starts.items():
        if missing(loop, "none", 0, 0):
            yield row(scene.score(scene.detect(1, f"{loop}-start", **settings)), loop, "none", 0, 0)
    for order in QUEUES:
        for count in COUNTS:
            for loop, settings in starts.items():
                seeds = SEEDS if loop == "network" else SEEDS[:1]
                if not any(missing(loop, order, count, seed) for seed in seeds):
                    continue
                left = scene.detect(0, f"{loop}-left", **settings)
                reviewed = decide(scene, left, order, count, look=loop == "cells")
                for seed in seeds:
                    if missing(loop, order, count, seed):
                        yield row(learn(scene, loop, reviewed, seed), loop, order, count, seed)
                shutil.rmtree(reviewed)


def decide(scene: Halves, left: Path, order: str, count: int, *, look: bool) -> Path:
    """Decide on the first changes of an order by the truth, in a copy of a run."""
    reviewed = left.with_name(f"{left.name}-reviewed")
    shutil.rmtree(reviewed, ignore_errors=True)
    shutil.copytree(left, reviewed)
    saved = SavedReview.open(reviewed, beginning=True)
    columns = saved.base.columns
    ids = columns.ids[ORDERS[order](columns)][:count].tolist()
    shapes = saved.base.shapes(ids)
    with rasterio.open(scene.truth) as dataset:
        truth = dataset.read(1)
        inverse = ~dataset.transform
    items = []
    for number in ids:
        shape = shapely.transform(shapely.from_wkb(shapes[number]), lambda xy: np.stack(inverse @ xy.T, axis=1))
        inside = rasterio.features.geometry_mask([shape], truth.shape, Affine.identity(), invert=True)
        status = "kept" if truth[inside].mean() >= 0.5 else "rejected"
        items.append({"key": str(number), "rev": 0, "after": {"status": status}})
    cells = sorted({int(cell) for cell in saved.cells.holding(columns.boxes[ORDERS[order](columns)][:count])})
    looks = [{"key": saved.cells.key(cell), "rev": 0, "after": {"looked": True}} for cell in cells] if look else []
    with ReviewStore(saved.truth, saved.untouched, saved.facts()) as store:
        for kind, told in (("decide", items), ("look", looks)):
            if told:
                store.act(read_request({"op": str(uuid4()), "kind": kind, "items": told}, "x", ("change",))).result()
    return reviewed


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
    print("| scene | loop | order | decisions | seed | F1 | 95 % | precision | recall |\n" + "|---" * 9 + "|")
    for row in rows:
        told = f"{row.f1:.3f} | {row.low:.3f} to {row.high:.3f} | {row.precision:.3f} | {row.recall:.3f}"
        print(f"| {row.scene} | {row.loop} | {row.order} | {row.decisions} | {row.seed} | {told} |")


if __name__ == "__main__":
    main()

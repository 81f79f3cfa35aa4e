"""Public networks through `detect -d model`, beside their own code on the same pixels: scores, differences, seconds.

    git clone https://github.com/AndreaCodegoni/Tiny_model_4_CD tinycd
    git clone https://github.com/rcdaudt/fully_convolutional_change_detection fc
    python benchmarks/public_models.py OUT --tinycd tinycd --fully-convolutional fc

TinyCD runs with its published weights on the validation tiles of LEVIR, joined into one scene of 18 x 18 tiles. Its own
script looks at one tile after the other; here the scene is one raster, cut again into the same tiles. FC-Siam-diff has
no published weights, and gets random ones; its receptive field ends, so a scene in tiles is compared with all of it at
once. Prints one JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from PIL import Image

import geochange

TILE, SIDE = 256, 18  # pixels, tiles
MEAN, STD = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)


def main() -> None:
    warnings.filterwarnings("ignore")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for scenes, models and runs")
    parser.add_argument("--tinycd", type=Path, help="a clone of TinyCD")
    parser.add_argument("--fully-convolutional", type=Path, help="a clone of the fully convolutional networks")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    join_tiles(given.data / "levir" / "val_256px_0.5m", given.out)
    answer = {}
    with torch.no_grad():
        if given.tinycd is not None:
            answer["TinyCD"] = run_tinycd(given.tinycd, given.out)
        if given.fully_convolutional is not None:
            answer["FC-Siam-diff"] = run_siam_diff(given.fully_convolutional, given.out)
    print(json.dumps(answer, indent=1))


def join_tiles(folder: Path, out: Path) -> None:
    """Write A.tif, B.tif and label.tif of as many tiles as fill a square."""
    names = sorted(path.stem for path in (folder / "A").iterdir())[: SIDE * SIDE]
    for part, suffix in (("A", "jpg"), ("B", "jpg"), ("label", "png")):
        tiles = [np.atleast_3d(np.array(Image.open(folder / part / f"{name}.{suffix}"))) for name in names]
        rows = [np.concatenate(tiles[k : k + SIDE], axis=1) for k in range(0, len(tiles), SIDE)]
        whole = np.concatenate(rows).transpose(2, 0, 1)
        whole = (whole > 0).astype(np.uint8) if part == "label" else whole
        profile = {"driver": "GTiff", "count": len(whole), "height": whole.shape[1], "width": whole.shape[2]}
        with rasterio.open(out / f"{part}.tif", "w", dtype="uint8", tiled=True, compress="deflate", **profile) as file:
            file.write(whole)


def module_at(path: Path, name: str) -> Any:
    """Import a module of a clone."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pixels_of(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def prepared(image: np.ndarray) -> torch.Tensor:
    """(band, y, x) bytes -> (1, band, y, x), as both networks are trained with."""
    return torch.from_numpy((image.astype(np.float32) / 255 - MEAN[:, None, None]) / STD[:, None, None])[None]


def run_tinycd(clone: Path, out: Path) -> dict[str, Any]:
    sys.path.insert(0, str(clone))
    network = module_at(clone / "models" / "change_classifier.py", "tinycd").ChangeClassifier(pretrained=False)
    network.load_state_dict(torch.load(clone / "pretrained_models" / "levir_best.pth", map_location="cpu"))
    model = export(network.eval(), out / "tinycd.onnx")
    before, after, label = (pixels_of(out / f"{part}.tif") for part in ("A", "B", "label"))

    def own() -> np.ndarray:
        scores = np.zeros(label.shape[1:], np.float32)
        for row in range(0, len(scores), TILE):
            for col in range(0, len(scores), TILE):
                part = np.s_[:, row : row + TILE, col : col + TILE]
                scores[part[1:]] = network(prepared(before[part]), prepared(after[part]))[0, 0]
        return scores

    scores, own_seconds = timed(own)
    found, seconds = timed(lambda: detect(model, out / "tinycd", tile_size=TILE, overlap=0))
    truth = label[0] > 0
    return {
        "f1 of its own script": f1(scores > 0.5, truth),
        "f1 of detect": f1(found > 0.5, truth),
        "largest difference": float(np.abs(found - scores).max()),
        "seconds of its own script": own_seconds,
        "seconds of detect": seconds,
        "polygons": len(geochange.Detection(out / "tinycd", record(out / "tinycd")).changes()),
    }


def run_siam_diff(clone: Path, out: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    network = module_at(clone / "siamunet_diff.py", "siamunet_diff").SiamUnet_diff(3, 2).eval()
    model = export(network, out / "siam_diff.onnx")
    manifest = geochange.describe_model(model, out / "measured.toml", overwrite=True).manifest
    assert manifest.receptive_radius is not None
    assert manifest.stride is not None
    margin = -(-manifest.receptive_radius // manifest.stride) * manifest.stride
    window = f"0,{-4 * TILE},{4 * TILE},0"
    whole = torch.softmax(network(*(prepared(pixels_of(out / f"{x}.tif")[:, : 4 * TILE, : 4 * TILE]) for x in "AB")), 1)
    tiles = {"manifest": str(out / "measured.toml")}
    exact = detect(model, out / "exact", tile_size=TILE, overlap=2 * margin, aoi=window, options=tiles)
    default = detect(model, out / "default", tile_size=TILE, overlap=0, aoi=window, options=tiles)
    inside = slice(margin, -margin)  # the scene is reflected at its border, where the network alone sees zeros
    expected = whole[0, 1].numpy()[inside, inside]
    return {
        "stride": manifest.stride,
        "receptive radius": manifest.receptive_radius,
        "largest difference, overlap of twice the radius": float(np.abs(exact[inside, inside] - expected).max()),
        "largest difference, no overlap": float(np.abs(default[inside, inside] - expected).max()),
    }


def export(network: torch.nn.Module, path: Path) -> Path:
    """Write a network of two inputs as ONNX, for tiles of any size; the examples differ, else one input is dropped."""
    examples = torch.randn(1, 3, TILE, TILE), torch.randn(1, 3, TILE, TILE)
    axes = {name: {0: "n", 2: "y", 3: "x"} for name in ("before", "after", "change")}
    names = {"input_names": ["before", "after"], "output_names": ["change"]}
    torch.onnx.export(network, examples, str(path), dynamo=False, dynamic_axes=axes, **names)
    scaling = f"divide_by = 255.0\nmean = {MEAN.tolist()}\nstd = {STD.tolist()}\nvalue_range = [0, 255]\n"
    path.with_suffix(".toml").write_text(scaling)
    return path


def detect(model: Path, out: Path, *, options: dict[str, str] | None = None, **settings: Any) -> np.ndarray:
    pair = (model.parent / f"{part}.tif" for part in "AB")
    options = {"file": str(model), **(options or {})}
    found = geochange.detect(
        *pair, out, detector="model", detector_options=options, dtype="float32", overwrite=True, **settings
    )
    return pixels_of(found.probability)[0]


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    answer = work()
    return answer, round(time.perf_counter() - start, 1)


def f1(found: np.ndarray, truth: np.ndarray) -> float:
    return round(float(2 * (found & truth).sum() / (found.sum() + truth.sum())), 5)


if __name__ == "__main__":
    main()

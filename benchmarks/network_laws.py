"""How far a network's scores at the default overlap lie from those with all the context that it can use. Prints JSON.

    python benchmarks/network_laws.py [--checkpoint buildings] [--scenes 4]

The scene is a mosaic of LEVIR-CD validation scenes in which much has changed, enlarged from 1 m to 0.5 m.
Differences are of the probability in float32 over all pixels; `f1` is at the checkpoint's own threshold, with each
overlap.
"""

from __future__ import annotations

import json
from math import isqrt
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from imagery import parser_with_data
from PIL import Image
from scipy import ndimage

import geochange
from geochange.arrays import Array, Bools, Floats
from geochange.detectors.catalogue import find_checkpoint
from geochange.detectors.networks.checkpoint import load_checkpoint

SCENES = Path("levir") / "val_512px_1m"
CHANGED = 0.02  # share of the pixels of a scene
CORE = 512  # pixels of a tile that are kept with full context


def changed_scenes(data: Path, count: int) -> list[str]:
    """Names of the first scenes of which at least `CHANGED` has changed."""
    labels = sorted((data / SCENES / "label").iterdir())
    return [path.stem for path in labels if np.asarray(Image.open(path)).astype(bool).mean() >= CHANGED][:count]


def mosaic(folder: Path, names: list[str], order: int) -> Array:
    """(band, y, x) of scenes at 0.5 m, in a square."""
    side = isqrt(len(names))
    paths = [next(folder.glob(f"{name}.*")) for name in names]
    images = [np.atleast_3d(np.asarray(Image.open(path))).transpose(2, 0, 1) for path in paths]
    rows = [np.concatenate(images[k * side : (k + 1) * side], axis=2) for k in range(side)]
    whole: Array = ndimage.zoom(np.concatenate(rows, axis=1), (1, 2, 2), order=order, mode="nearest", grid_mode=True)
    return whole


def write(path: Path, values: Array) -> str:
    profile = {"driver": "GTiff", "count": len(values), "height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", dtype="uint8", tiled=True, **profile) as dataset:
        dataset.write(values)
    return str(path)


def f1(predicted: Bools, truth: Bools) -> float:
    return float(2 * (predicted & truth).sum() / max(int(predicted.sum()) + int(truth.sum()), 1))


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("--checkpoint", default="buildings", help="a file, or a detector that has one")
    parser.add_argument("--scenes", type=int, default=4, help="a square number")
    chosen = parser.parse_args()
    path = find_checkpoint(chosen.checkpoint)
    loaded = load_checkpoint(path)
    network, threshold = loaded.build(), loaded.about.thresholds["default"]
    names = changed_scenes(chosen.data, isqrt(chosen.scenes) ** 2)
    source = chosen.data / SCENES
    truth = mosaic(source / "label", names, 0)[0] > 0
    margin = -(-network.receptive_radius // network.stride) * network.stride
    with TemporaryDirectory() as folder:
        pair = [write(Path(folder) / f"{name}.tif", mosaic(source / name, names, 1)) for name in ("A", "B")]

        def scores(name: str, **tiles: int) -> Floats:
            found = geochange.detect(
                *pair,
                Path(folder) / name,
                detector="network",
                detector_options={"checkpoint": path},
                dtype="float32",
                **tiles,
            )
            with rasterio.open(found.probability) as dataset:
                read: Floats = dataset.read(1)
            return read

        default, exact = scores("default"), scores("exact", tile_size=2 * margin + CORE, overlap=2 * margin)
    difference = np.abs(default - exact)
    answer = {
        "network": loaded.about.network,
        "receptive_radius": network.receptive_radius,
        "pixels": int(difference.size),
        "largest": float(difference.max()),
        "percentile_99.9": float(np.percentile(difference, 99.9)),
        "f1": {"default": f1(default >= threshold, truth), "exact": f1(exact >= threshold, truth)},
    }
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()

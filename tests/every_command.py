"""A call of every command that writes, on small inputs, and readers of what they leave."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import geopandas
import nibabel
import rasterio
import shapely
from affine import Affine
from PIL import Image
from pyogrio import list_layers, read_dataframe

import geochange
from tests.forked_commands import run_forked
from tests.small_models import write_onnx
from tests.small_networks import save_small
from tests.stand_ins import PLACE, UTM, write_pair, write_raster

FORMATS = ("gpkg", "geojson", "fgb", "parquet")
SMALL = shlex.split("--size 32 --loaders 0")
SHORT = [*SMALL, *shlex.split("--every 1 --val-share 0.5")]
NETWORK = shlex.split("--steps 1 --network siamese-unet --network-option widths=4,8,8,8 --no-pretrained")
TRAINING = [*SHORT, *NETWORK]
FOLDERS = {
    "detect": "--resume",
    "detect-many": "--resume",
    "watch": "--resume",
    "synthesize": "",
    "train": "--resume",
    "finetune": "--resume",
    "tune": "",
}
"""Commands whose output is a folder: the option by which one that was stopped goes on, if there is one."""


def write_inputs(folder: Path) -> None:
    """Write a pair, its changes, probabilities, a mask, layers with classes, labelled pairs, and a checkpoint."""
    before, after = write_pair(folder, (192, 256), seed=3)
    geochange.detect(before, after, folder / "run", formats=("gpkg",))
    metre = Affine(1, 0, PLACE.c, 0, -1, PLACE.f)
    values = []
    for path in (before, after):
        with rasterio.open(path) as dataset:
            values.append(dataset.read())
    for name, each in zip(("m1", "m2"), values, strict=True):
        write_raster(folder / f"{name}.tif", each, transform=metre)
    changed = (abs(values[1].astype(float) - values[0]).max(axis=0) > 60)[None]
    write_raster(folder / "mask.tif", changed.astype("uint8"))
    write_raster(folder / "p.tif", (changed * 0.9 + values[0][:1] / 3000).astype("float32"))
    squares = [
        shapely.box(*(PLACE @ (col, row + 20)), *(PLACE @ (col + 20, row)))
        for row in range(0, 150, 25)
        for col in range(0, 200, 25)
    ]
    for name, classes in (("one", 5), ("two", 3)):
        columns = {"id": range(1, len(squares) + 1), "cover": [f"class {k % classes}" for k in range(len(squares))]}
        geopandas.GeoDataFrame(columns, geometry=squares, crs=UTM).to_file(folder / f"{name}.gpkg")
    for part, array in zip(("A", "B", "label"), (*values, changed.astype("uint8")), strict=True):
        (folder / "pairs" / part).mkdir(parents=True)
        for name, start in (("x", 0), ("y", 64)):
            write_raster(folder / "pairs" / part / f"{name}.tif", array[:, :64, start : start + 64])
    (folder / "frames").mkdir()
    for name, array in zip(("1", "2", "3"), (*values, values[0]), strict=True):
        write_raster(folder / "frames" / f"{name}.tif", array)
    nibabel.save(nibabel.Nifti1Image(values[0], None), folder / "scan.nii")
    (folder / "table.csv").write_text("before,after\nbefore.tif,after.tif\n")
    save_small(folder / "small.pt", "siamese-unet")
    write_onnx(folder / "small.onnx")


def every_command(folder: Path) -> dict[str, tuple[str, ...]]:
    """Name -> arguments, the output last.

    Args:
        folder: what `write_inputs` wrote.
    """
    names = ("before.tif", "after.tif", "p.tif", "mask.tif", "one.gpkg", "two.gpkg", "m1.tif", "m2.tif", "pairs")
    before, after, p, mask, one, two, m1, m2, pairs = (str(folder / name) for name in names)
    small = str(folder / "small.pt")
    look = ("--id", "1", "--changes", one, "-d", "landscape", "--size", "64")
    few = ("--trials", "2", "--first-trials", "1", "--batches", "1")
    phases = ("--from", small, "--steps", "2", "--frozen-steps", "1", "--batch", "1")
    return {
        "align": ("align", before, after, "-o", "o.tif"),
        **{f"vectorize {suffix}": ("vectorize", mask, "-o", f"o.{suffix}") for suffix in FORMATS},
        "refine": ("refine", p, "--open", "1px", "-o", "o.tif"),
        "fuse": ("fuse", p, mask, "-o", "o.tif"),
        "kinds": ("kinds", one, before, after, "-o", "o.gpkg"),
        "from-to layer": ("from-to", one, two, "--label-column", "cover", "-o", "o.gpkg"),
        "from-to labels": ("from-to", one, two, "--label-column", "cover", "--grid", before, "-o", "o.tif"),
        "explain": ("explain", m1, m2, *look, "-o", "o.tif"),
        "evaluate": ("evaluate", p, mask, "--picture", "o.png"),
        "export-model": ("export-model", small, "--tile-size", "64", "-o", "o"),
        "model describe": ("model", "describe", str(folder / "small.onnx"), "-o", "o.toml"),
        "detect": ("detect", before, after, "-o", "o"),
        "detect-many": ("detect-many", str(folder / "table.csv"), "--merge", "all.gpkg", "-o", "o"),
        "datasets doubts": ("datasets", "doubts", pairs, "--folds", "2", *SMALL, *NETWORK, "-o", "o.gpkg"),
        "datasets export": ("datasets", "export", pairs, "-o", "o.json"),
        "datasets import": ("datasets", "import", "masks", pairs, "-o", "o"),
        "watch": ("watch", str(folder / "frames"), "--until-idle", "0.1", "--every", "0.02", "-o", "o"),
        "frames": ("frames", str(folder / "scan.nii"), "-o", "o"),
        "review": ("review", str(folder / "run"), "--export", "o.gpkg"),
        "synthesize": ("synthesize", before, "-o", "o"),
        "train": ("train", pairs, *TRAINING, "--batch", "1", "-o", "o"),
        "finetune": ("finetune", pairs, *SHORT, *phases, "-o", "o"),
        "tune": ("tune", pairs, *TRAINING, *few, "-o", "o"),
    }


def call_of(command: Sequence[str], folder: Path, *more: str) -> list[str]:
    """Return the arguments of a command whose output, the last of them, lies in a folder, which is made."""
    folder.mkdir(exist_ok=True)
    *given, output = command
    return [*given, str(folder / output), "-q", *more]


def timed_commands(folder: Path) -> tuple[dict[str, tuple[str, ...]], dict[str, Path], dict[str, float]]:
    """Write inputs, and run every command alone: the commands, where each has left its files, and its seconds."""
    inputs = folder / "inputs"
    inputs.mkdir()
    write_inputs(inputs)
    commands = every_command(inputs)
    whole = {name: folder / f"{name} whole" for name in commands}
    warm = [{"arguments": call_of(command, folder / f"{name} warm")} for name, command in commands.items()]
    run_forked(folder, warm)
    ended = run_forked(folder, [{"arguments": call_of(commands[name], own)} for name, own in whole.items()])
    assert {each["code"] for each in ended} == {0}, ended
    return commands, whole, {name: each["seconds"] for name, each in zip(commands, ended, strict=True)}


def read_all(path: Path) -> None:
    """Read a file with a reader of its own kind; those of other kinds must not be empty."""
    if path.suffix == ".tif":
        with rasterio.open(path) as dataset:
            dataset.read()
            dataset.read_masks()
    elif path.suffix in (".gpkg", ".geojson", ".fgb"):
        for layer, _ in list_layers(path):
            read_dataframe(path, layer=layer)
    elif path.suffix == ".parquet":
        geopandas.read_parquet(path)
    elif path.suffix == ".png":
        Image.open(path).load()
    elif path.suffix == ".toml":
        tomllib.loads(path.read_text())
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".pt":
        import torch

        torch.load(path, weights_only=True)
    elif path.suffix == ".onnx":
        import onnx

        onnx.checker.check_model(str(path))
    elif path.suffix == ".xml":
        import openvino

        openvino.Core().read_model(path)
    elif path.suffix == ".csv":
        assert path.read_text().endswith("\n")


def unreadable(folder: Path, paths: Iterable[Path]) -> Iterator[str]:
    """Say which files in a folder cannot be read, and why."""
    for path in paths:
        try:
            read_all(folder / path)
        except Exception as error:
            yield f"{path} cannot be read: {error}"


def is_hidden(path: Path) -> bool:
    """Return whether a path is of what runs keep for themselves."""
    return any(part.startswith(".geochange") for part in path.parts)


def files_of(folder: Path) -> set[Path]:
    """All files in a folder, by their paths in it, without TensorBoard's, whose names hold time and process."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {path for path in found if "tensorboard" not in path.parts}

"""Success is never reported over a file that cannot be read: every command that writes, under limits of file size."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas
import pytest
import rasterio
import shapely
from affine import Affine
from PIL import Image
from pyogrio import list_layers, read_dataframe

from tests.stand_ins import PLACE, UTM, write_pair, write_raster

if sys.platform == "win32":
    pytest.skip("no limits of file size there", allow_module_level=True)

SIZES = (100, 4_000, 30_000)  # bytes
FORMATS = ("gpkg", "geojson", "fgb", "parquet")
RESUMED = (".geochange", "run.log")  # what a run that can be resumed keeps
TRAINING = shlex.split("--network siamese-unet --steps 1 --every 1 --size 32 --batch 1 --loaders 0 --no-pretrained")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A pair, probabilities, a mask, layers with classes, and labelled pairs."""
    folder = tmp_path_factory.mktemp("inputs")
    before, _ = write_pair(folder, (192, 256), seed=3)
    metre = Affine(1, 0, PLACE.c, 0, -1, PLACE.f)
    with rasterio.open(before) as dates, rasterio.open(folder / "after.tif") as after:
        values = dates.read(), after.read()
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
        write_raster(folder / "pairs" / part / "x.tif", array[:, :64, :64])
    return folder


def commands(folder):
    """Name -> arguments, with the output last."""
    names = ("before.tif", "after.tif", "p.tif", "mask.tif", "one.gpkg", "two.gpkg", "m1.tif", "m2.tif", "pairs")
    before, after, p, mask, one, two, m1, m2, pairs = (str(folder / name) for name in names)
    look = ("--id", "1", "--changes", one, "-d", "landscape", "--size", "64")
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
        "detect": ("detect", before, after, "-o", "o"),
        "synthesize": ("synthesize", before, "-o", "o"),
        "train": ("train", pairs, *TRAINING, "-o", "o"),
    }


def read_all(path):
    """Read a file with a reader of its own kind."""
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
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".pt":
        import torch

        torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def outcomes(inputs, tmp_path_factory):
    """(command, limit) -> exit code, lines on stderr, folder."""
    folder = tmp_path_factory.mktemp("outputs")
    cases = {}
    for name, arguments in commands(inputs).items():
        for limit in (*SIZES, None):
            own = folder / f"{len(cases)}"
            own.mkdir()
            cases[name, limit] = (own, [*arguments[:-1], str(own / arguments[-1]), "-q"])
    listed = folder / "cases.json"
    listed.write_text(json.dumps([[limit, arguments] for (_, limit), (_, arguments) in cases.items()]))
    script = Path(__file__).parents[1] / "limited_files.py"
    ended = subprocess.run([sys.executable, script, listed], capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout.splitlines()[-1])
    yield {
        case: (code, own_lines(errors), own)
        for (case, (own, _)), (code, errors) in zip(cases.items(), found, strict=True)
    }
    shutil.rmtree(folder)


def own_lines(errors):
    """Lines without those that libtiff prints of itself."""
    return [line for line in errors.strip().splitlines() if not line.startswith("_tiff")]


def cases_of(outcomes, name):
    return {limit: outcome for (command, limit), outcome in outcomes.items() if command == name}


@pytest.mark.parametrize("name", list(commands(Path())))
def test_success_means_files_that_can_be_read_and_a_full_disk_one_line(outcomes, name):
    ended = cases_of(outcomes, name)
    assert ended[SIZES[0]][0] == 2
    assert ended[None][0] == 0, ended[None]
    complete = {path.relative_to(ended[None][2]) for path in ended[None][2].rglob("*") if path.suffix}
    for limit, (code, lines, folder) in ended.items():
        there = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        if code == 0:
            assert {path for path in there if "tensorboard" not in path.parts} >= {
                path for path in complete if "tensorboard" not in path.parts and (ended[None][2] / path).is_file()
            }, (limit, there)
            for path in there:
                read_all(folder / path)
        else:
            assert (code, len(lines)) == (2, 1), (limit, code, lines)
            assert "disk is full" in lines[0], (limit, lines)
            visible = {path for path in there if not {*path.parts} & {*RESUMED}}
            assert not visible or name == "train", (limit, visible)
            assert all((folder / path).stat().st_size <= (limit or 0) for path in there)

"""Every command takes a layer of a file by its name, refuses a file of several, and takes all kinds of files."""

import geopandas
import numpy as np
import pytest
import shapely

from tests.commands import refused
from tests.stand_ins import PLACE, UTM, changed_pair, write_raster

SIDE = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two dates, a probability, and a project whose layer `changes` is not its first one."""
    folder = tmp_path_factory.mktemp("place")
    before, after = changed_pair((SIDE, 80))
    write_raster(folder / "before.tif", before)
    write_raster(folder / "after.tif", after)
    probability = np.zeros((1, SIDE, 80), np.float32)
    probability[:, 10:30, 10:30] = 1
    for name in ("one.tif", "two.tif"):
        write_raster(folder / name, probability)
    corners = [PLACE @ corner for corner in ((10, 10), (30, 30))]
    change = shapely.box(*np.array(corners).min(axis=0), *np.array(corners).max(axis=0))
    whole = shapely.box(*(PLACE @ (0, SIDE)), *(PLACE @ (80, 0)))
    geopandas.GeoDataFrame({"id": [7], "a": ["x"]}, geometry=[whole], crs=UTM).to_file(
        folder / "project.gpkg", layer="study_area"
    )
    changes = geopandas.GeoDataFrame({"id": np.array([1], np.int32), "a": ["y"]}, geometry=[change], crs=UTM)
    changes.to_file(folder / "project.gpkg", layer="changes")
    changes.to_file(folder / "alone.gdb", layer="changes", driver="OpenFileGDB")
    changes.to_file(folder / "alone.shp")
    changes.to_file(folder / "alone.shz", driver="ESRI Shapefile")
    return folder


COMMANDS = {
    "evaluate": ("evaluate", "one.tif", "{layer}", "-q"),
    "evaluate a layer": ("evaluate", "{layer}", "one.tif", "-q"),
    "detect within": ("detect", "before.tif", "after.tif", "-o", "{out}", "-q", "--aoi", "{layer}"),
    "detect by labels": (
        *("detect", "before.tif", "after.tif", "-o", "{out}", "-q", "--threshold", "f1", "--labels", "{layer}"),
    ),
    "fuse": ("fuse", "one.tif", "two.tif", "-o", "{out}.tif", "-q", "--method", "stacking", "--labels", "{layer}"),
    "kinds": ("kinds", "{layer}", "before.tif", "after.tif", "-o", "{out}.gpkg", "-q"),
    "from-to": ("from-to", "{layer}", "{layer}", "-o", "{out}.gpkg", "-q", "--label-column", "a"),
    "synthesize": ("synthesize", "before.tif", "-o", "{out}", "-q", "--outlines", "{layer}"),
    "datasets": ("datasets", "{table}", "-q"),
}


def call(run, place, tmp_path, monkeypatch, command, layer):
    monkeypatch.chdir(place)
    table = tmp_path / "scenes.csv"
    table.write_text(f"before,after,labels\n{place}/before.tif,{place}/after.tif,{place}/{layer}\n")
    return run(*(word.format(layer=layer, out=tmp_path / "out", table=table) for word in COMMANDS[command]))


@pytest.mark.parametrize(
    "layer", ["project.gpkg|layername=changes", "alone.gdb", "alone.shz", "alone.gdb|layername=changes"]
)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_it(run, place, tmp_path, monkeypatch, command, layer):
    code, _, lines = call(run, place, tmp_path, monkeypatch, command, layer)
    assert (code, lines) == (0, [])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_a_file_of_several(run, place, tmp_path, monkeypatch, command):
    answer = call(run, place, tmp_path, monkeypatch, command, "project.gpkg")
    refused(answer, "study_area, changes", "project.gpkg|layername=changes")


def test_the_named_layer_is_the_one_that_is_scored(run, place, tmp_path, monkeypatch):
    for layer, matched in (("changes", "1 of 1"), ("study_area", "0 of 1")):
        monkeypatch.chdir(place)
        code, printed, _ = run("evaluate", "one.tif", f"project.gpkg|layername={layer}")
        assert code == 0
        assert f"{matched} objects found" in printed


def test_an_input_is_not_replaced_by_way_of_its_layers_name(run, place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    layer = "project.gpkg|layername=changes"
    refused(run("kinds", layer, "before.tif", "after.tif", "-o", "project.gpkg", "--overwrite"), "is an input")

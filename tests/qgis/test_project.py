"""What QGIS opens: paths, themes, the stretch of both dates, and what a person may change."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

import geochange
from geochange.pipeline.qgis_project import add_review, project_of
from geochange.polygons.features import SCHEMA
from geochange.qgis.form import ALIASES, EDITED, HIDDEN
from geochange.qgis.raster_style import image_pipe, probability_pipe
from geochange.qgis.style import SCORE_COLOURS, STATUS_COLOURS
from geochange.redaction import plain

SAMPLE = Path(__file__).parents[2] / "sample_data"


def root_of(path):
    return ElementTree.fromstring(path.read_text(encoding="utf-8").split("\n", 1)[1])


def layers_of(path):
    return {each.findtext("layername"): each for each in root_of(path).find("projectlayers")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run beside its images, in a folder with a space and an umlaut."""
    folder = tmp_path_factory.mktemp("Mein Gebiet ü")
    for name in ("before.tif", "after.tif"):
        shutil.copyfile(SAMPLE / name, folder / name)
    return geochange.detect(folder / "before.tif", folder / "after.tif", folder / "out")


def test_layers_lie_where_the_project_says_and_move_with_it(run, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run.folder.parent, moved)
    project = moved / "out" / "changes.qgs"
    sources = [each.findtext("datasource") for each in layers_of(project).values()]
    assert sources == ["./changes.gpkg|layername=changes", "./probability.tif", "../after.tif", "../before.tif"]
    for source in sources:
        assert (project.parent / source.partition("|")[0]).exists()
    assert str(run.folder.parent) not in project.read_text(encoding="utf-8")


def test_both_dates_are_stretched_alike_and_a_theme_shows_each(run):
    layers = layers_of(run.folder / "changes.qgs")
    before, after = (layers[name].find("pipe") for name in ("Before 2021-06-14", "After 2024-07-02"))
    assert ElementTree.tostring(before) == ElementTree.tostring(after)
    with rasterio.open(SAMPLE / "before.tif") as first, rasterio.open(SAMPLE / "after.tif") as last:
        red = np.concatenate([first.read(1), last.read(1)])
    low, high = (float(before.find(f".//redContrastEnhancement/{name}Value").text) for name in ("min", "max"))
    expected = np.percentile(red, (2, 98))
    np.testing.assert_allclose((low, high), expected, atol=0.05 * np.ptp(expected))  # of what the picture samples
    shown = {}
    for theme in root_of(run.folder / "changes.qgs").iter("visibility-preset"):
        shown[theme.get("name")] = {each.get("id") for each in theme.iter("layer") if each.get("visible") == "1"}
    assert shown["Before"] ^ shown["After"] == {"geochange_before", "geochange_after"}
    assert shown["Before"] & shown["After"] == {"geochange_changes"}


def test_the_extent_shows_all_changes(run):
    sides = root_of(run.folder / "changes.qgs").find("mapcanvas/extent")
    left, bottom, right, top = (float(sides.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax"))
    found = pyogrio.read_dataframe(run.layer, layer="changes").total_bounds
    assert left < found[0] < found[2] < right
    assert bottom < found[1] < found[3] < top


def test_its_layer_and_the_geopackage_have_the_same_style(run):
    frame = pyogrio.read_dataframe(run.layer, layer="layer_styles", read_geometry=False)
    kept = ElementTree.fromstring(frame["styleQML"][0].split("\n", 1)[1])
    project = layers_of(run.folder / "changes.qgs")["Changes"]
    for part in kept:
        mine = project.find(part.tag)
        assert "".join(ElementTree.tostring(mine, "unicode").split()) == "".join(
            ElementTree.tostring(part, "unicode").split()
        )


def test_every_column_has_a_name_and_only_opinions_can_be_edited(run):
    assert set(SCHEMA.names) - {"geometry"} <= set(ALIASES)
    layer = layers_of(run.folder / "changes.qgs")["Changes"]
    editable = {each.get("name") for each in layer.find("editable") if each.get("editable") == "1"}
    assert editable == set(EDITED)
    widgets = {each.get("name"): each[0] for each in layer.find("fieldConfiguration")}
    assert set(widgets) == {*ALIASES, *HIDDEN}
    statuses = [each.get("value") for each in widgets["status"].iter("Option") if each.get("value")]
    assert statuses == [*STATUS_COLOURS]


def test_notes_tell_what_found_the_changes(run):
    notes = layers_of(run.folder / "changes.qgs")["Changes"].find("userNotes").get("value")
    for words in ("ir-mad", "0.5", f"{run.record['changes']['count']}", "before.tif", "after.tif"):
        assert words in notes


def test_it_is_the_same_again_and_none_is_written_where_none_is_wanted(run, tmp_path):
    images = run.folder.parent / "before.tif", run.folder.parent / "after.tif"
    first = (run.folder / "changes.qgs").read_bytes()
    geochange.detect(*images, run.folder, resume=True)
    assert (run.folder / "changes.qgs").read_bytes() == first
    without = geochange.detect(*images, tmp_path / "plain", project=False, formats=("gpkg",))
    assert not {each.suffix for each in without.folder.iterdir()} & {".qgs", ".qml"}


def test_a_scene_without_crs_and_other_formats(run, tmp_path):
    bare = []
    for name in ("before", "after"):
        with rasterio.open(SAMPLE / f"{name}.tif") as source:
            values = source.read()[:, :300, :300]
        bare.append(tmp_path / f"{name}.png")
        with rasterio.open(bare[-1], "w", driver="PNG", width=300, height=300, count=3, dtype=values.dtype) as target:
            target.write(values[:3])
    plain = geochange.detect(*bare, tmp_path / "out", formats=("geojson",))
    layers = layers_of(plain.folder / "changes.qgs")
    assert layers["Changes"].findtext("datasource") == "./changes.geojson"
    assert {each.findtext("srs/spatialrefsys/wkt") for each in layers.values()} == {""}


def test_a_review_comes_on_top_unless_the_project_was_changed(run, tmp_path):
    folder = geochange.detect(
        SAMPLE / "before.tif", SAMPLE / "after.tif", tmp_path / "out", statistics=run.folder
    ).folder
    written = (folder / "changes.qgs").read_bytes()
    geochange.review(folder, view=True)
    project = folder / "changes.qgs"
    assert [*layers_of(project)][:2] == ["Review", "Changes"]
    once = project.read_bytes()
    add_review(folder)
    assert project.read_bytes() == once
    project.write_bytes(written.replace(b"<title>", b"<title>mine "))
    changed = project.read_bytes()
    add_review(folder)
    assert project.read_bytes() == changed


def test_dates_without_a_file_of_their_own_are_left_out(run, tmp_path):
    record = json.loads((run.folder / "run.json").read_text())
    files = [each["file"] for each in record["scene"]["shown"]]
    assert [Path(each).name for each in files] == ["before.tif", "after.tif"]
    opened = [rasterio.open(each).read() for each in files]
    xarray = pytest.importorskip("xarray")
    arrays = [xarray.DataArray(each[:, :256, :256], dims=("band", "y", "x")) for each in opened]
    memory = geochange.detect(*arrays, tmp_path / "memory")
    assert [*layers_of(memory.folder / "changes.qgs")] == ["Changes", "Probability"]


@given(threshold=st.floats(0.01, 1.0))
def test_nothing_below_the_threshold_is_drawn_and_all_above_is(threshold):
    items = [*probability_pipe(threshold).iter("item")]
    bounds = [float(each.get("value")) for each in items]
    assert bounds == sorted(bounds)
    assert items[0].get("alpha") == "0"
    assert threshold - 1e-5 < bounds[0] < threshold
    assert bounds[-1] == float("inf")
    assert {each.get("alpha") for each in items[1:]} == {"255"}
    assert len(items) - 1 == sum(high > threshold or high == 1 for _, high, _ in SCORE_COLOURS)


def test_one_band_is_drawn_in_grey():
    renderer = image_pipe([4], [(2.5, 7.0)]).find("rasterrenderer")
    assert (renderer.get("type"), renderer.get("grayBand")) == ("singlebandgray", "4")
    assert [renderer.findtext(f"contrastEnhancement/{name}Value") for name in ("min", "max")] == ["2.5", "7"]


def test_an_image_with_a_palette_keeps_its_own_colours(tmp_path):
    paths = []
    for name in ("before", "after"):
        with rasterio.open(SAMPLE / f"{name}.tif") as source:
            values = source.read(1)[:256, :256] // 16
        paths.append(tmp_path / f"{name}.tif")
        profile = {"driver": "GTiff", "width": 256, "height": 256, "count": 1, "dtype": "uint8"}
        with rasterio.open(paths[-1], "w", **profile) as target:
            target.write(values, 1)
            target.write_colormap(1, {value: (16 * value, 255 - 16 * value, value, 255) for value in range(16)})
    run = geochange.detect(*paths, tmp_path / "out")
    layers = layers_of(run.folder / "changes.qgs")
    assert layers["After"].find("pipe") is None
    assert layers["Probability"].find("pipe") is not None


def test_an_address_with_a_signature_is_no_layer(run):
    record = json.loads((run.folder / "run.json").read_text())
    for file in ("/vsicurl/https://host/a.tif?sig=secret", "/vsicurl?pc_url_signing=yes&url=https://host/a.tif"):
        for each in record["scene"]["shown"]:
            each["file"] = file
        text = project_of(run.folder, run.folder, record)
        again = project_of(run.folder, run.folder, plain(record))
        assert text == again
        assert "host" not in text


def test_a_file_in_a_bucket_is_named_as_gdal_names_it(run):
    record = json.loads((run.folder / "run.json").read_text())
    record["scene"]["shown"][0]["file"] = "/vsis3/bucket/before.tif"
    assert "<datasource>/vsis3/bucket/before.tif</datasource>" in project_of(run.folder, run.folder, record)

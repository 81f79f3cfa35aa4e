"""The command line: bad input is one line on stderr and exit code 2, and leaves nothing behind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from geochange.detectors.landscape import Landscape
from geochange.scenes.scene import open_file
from tests.commands import refused
from tests.stand_ins import PLACE, UTM, changed_pair, textured, write_pair, write_raster


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path, (60, 80))


def test_a_missing_file_is_named(run, pair, tmp_path):
    refused(run("detect", pair[0], tmp_path / "missing.tif", "-o", tmp_path / "out"), "missing.tif", "does not exist")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_raster_is_named(run, pair, tmp_path):
    (tmp_path / "notes.tif").write_text("no raster")
    refused(run("detect", pair[0], tmp_path / "notes.tif", "-o", tmp_path / "out"), "notes.tif")
    assert not (tmp_path / "out").exists()


def test_a_truncated_geotiff_is_named_and_leaves_no_results(run, tmp_path):
    values = np.random.default_rng(0).integers(1, 255, (3, 400, 400)).astype(np.uint8)
    before = write_raster(tmp_path / "before.tif", values)
    after = write_raster(tmp_path / "after.tif", values[:, ::-1])
    (tmp_path / "after.tif").write_bytes((tmp_path / "after.tif").read_bytes()[:300_000])
    refused(run("detect", before, after, "-o", tmp_path / "out"), "after.tif", "cannot be read")
    assert not list(tmp_path.glob("out/*.tif"))


def test_images_of_two_places_do_not_overlap(run, pair, tmp_path):
    other = write_raster(tmp_path / "far.tif", textured((60, 80)), transform=PLACE @ Affine.translation(10**4, 0))
    refused(run("detect", pair[0], other, "-o", tmp_path / "out", "--align"), "do not overlap")
    refused(run("detect", pair[0], other, "-o", tmp_path / "out"), "one grid")


def test_another_crs_is_refused_with_both_and_the_fix(run, pair, tmp_path):
    other = write_raster(tmp_path / "other.tif", textured((60, 80)), crs="EPSG:32634")
    refused(run("detect", pair[0], other, "-o", tmp_path / "out"), "EPSG:32633", "EPSG:32634", "--align")


def test_other_band_counts_are_refused_with_the_fix(run, pair, tmp_path):
    other = write_raster(tmp_path / "other.tif", textured((60, 80), bands=5))
    refused(run("detect", pair[0], other, "-o", tmp_path / "out"), "3 bands", "5", "--bands")


@pytest.mark.parametrize(
    ("bands", "why"),
    [
        ("9", "band 9 is out of range"),
        ("0", "band 0 is out of range"),
        ("-1", "band -1 is out of range"),
        ("a,b", "band 'a' is not known"),
        ("1,,2", "band '' is not known"),
        ("", "--bands must not be empty"),
    ],
)
def test_bands_that_cannot_be_are_refused(run, pair, tmp_path, bands, why):
    refused(run("detect", *pair, "-o", tmp_path / "out", f"--bands={bands}"), why)


@pytest.mark.parametrize("detector", ["ir-mad", "change-vector", "slow-features", "pca-kmeans", "difference"])
def test_all_nodata_is_refused(run, tmp_path, detector):
    empty = np.zeros((3, 60, 80), np.uint8)
    images = [write_raster(tmp_path / f"{i}.tif", empty, nodata=0) for i in range(2)]
    refused(run("detect", *images, "-o", tmp_path / "out", "-d", detector), "no pixel holds data")
    assert not list((tmp_path / "out").glob("*.tif"))


@pytest.mark.parametrize("detector", ["ir-mad", "change-vector", "slow-features", "pca-kmeans", "difference"])
def test_a_constant_image_is_refused_or_has_an_answer_without_nan(run, tmp_path, detector):
    before = write_raster(tmp_path / "before.tif", np.full((3, 60, 80), 100, np.uint8))
    after = write_raster(tmp_path / "after.tif", textured((60, 80)))
    code, _, lines = run("detect", before, after, "-o", tmp_path / "out", "-d", detector)
    if code:
        assert code == 2
        assert len(lines) == 1
    else:
        with rasterio.open(tmp_path / "out" / "probability.tif") as dataset:
            assert (dataset.read(1) <= 254).all()
        assert geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="changes").score_mean.notna().all()


@pytest.mark.parametrize("detector", ["ir-mad", "change-vector", "slow-features", "pca-kmeans", "difference"])
def test_identical_images_have_no_changes(run, tmp_path, detector):
    images = [write_raster(tmp_path / f"{i}.tif", textured((60, 80))) for i in range(2)]
    code, out, _ = run("detect", *images, "-o", tmp_path / "out", "-d", detector, "--json")
    assert code == 0
    assert json.loads(out)["changes"]["count"] == 0
    layer = geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="changes")
    assert len(layer) == 0
    assert layer.crs == UTM


@pytest.mark.parametrize("detector", ["ir-mad", "change-vector", "slow-features", "pca-kmeans", "difference"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5000), (40, 30), (2, 2)])
def test_odd_scenes_have_an_answer_or_one_line(run, tmp_path, detector, shape):
    images = write_pair(tmp_path, shape)
    answer = run("detect", *images, "-o", tmp_path / "out", "-d", detector, "-q")
    if min(shape) <= 2:
        refused(answer, "is constant at", "there is nothing to compare")
    else:
        assert (answer[0], answer[2]) == (0, [])
        with rasterio.open(tmp_path / "out" / "probability.tif") as dataset:
            assert dataset.shape == shape
            assert (dataset.read(1) != 255).all()


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--overlap", "512", "overlap"),
        ("--overlap", "900", "overlap"),
        ("--overlap", "-1", "overlap"),
        ("--tile-size", "-512", "tile size"),
        ("--tile-size", "0", "tile size"),
        ("--block-size", "-1", "block size"),
        ("--workers", "0", "workers"),
        ("--threshold", "1.5", "threshold"),
        ("--threshold", "-0.1", "threshold"),
        ("--threshold", "nan", "threshold"),
        ("--threshold", "0.8:0.2", "threshold"),
        ("--threshold", "high", "threshold"),
        ("--min-area", "-4", "min-area"),
        ("--min-area", "1e400", "min-area"),
        ("--aoi", "nan,nan,nan,nan", "area of interest"),
        ("--tile-size", "99999999999999999999", "tile size"),
        ("--scheduler", "", "scheduler"),
        ("--min-area", "4ft", "min-area"),
        ("--connectivity", "6", "connectivity"),
        ("--simplify", "-1", "simplify"),
        ("--simplify", "nan", "simplify"),
        ("--simplify", "inf", "simplify"),
        ("--formats", "gpkg,shp", "shp"),
        ("--dtype", "int8", "dtype"),
        ("--nodata", "some", "nodata"),
        ("--resampling", "best", "resampling"),
        ("--aoi", "0,0,1,1", "area of interest"),
        ("--aoi", "nowhere.gpkg", "nowhere.gpkg"),
        ("--detector", "magic", "magic"),
        ("--option", "penalty", "NAME=VALUE"),
        ("--option", "nonsense=1", "nonsense"),
        ("--layers", "nonsense", "nonsense"),
        ("--tile-size", "big", "--tile-size"),
        ("--nonsense", "1", "--nonsense"),
        ("--scheduler", "tcp://127.0.0.1:9", "127.0.0.1:9"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(run, pair, tmp_path, option, value, word):
    refused(run("detect", *pair, "-o", tmp_path / "out", f"{option}={value}"), word)
    assert not list(tmp_path.glob("out/*.tif"))


def test_an_output_folder_that_is_a_file_is_refused(run, pair, tmp_path):
    (tmp_path / "taken").write_text("")
    refused(run("detect", *pair, "-o", tmp_path / "taken"), "taken")
    refused(run("detect", *pair, "-o", tmp_path / "taken" / "below"), "taken")


def test_an_output_folder_that_may_not_be_written_is_refused(run, pair, tmp_path, monkeypatch):
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: not mode & os.W_OK and access(path, mode, **more))
    (tmp_path / "out").mkdir()
    refused(run("detect", *pair, "-o", tmp_path / "out"), "cannot be written")
    assert not list((tmp_path / "out").iterdir())


def test_a_finished_folder_is_refused_and_kept(run, pair, tmp_path):
    assert run("detect", *pair, "-o", tmp_path / "out", "-q")[0] == 0
    record = (tmp_path / "out" / "run.json").read_bytes()
    refused(run("detect", *pair, "-o", tmp_path / "out"), "--overwrite")
    refused(run("detect", *pair, "-o", tmp_path / "out", "--resume", "--threshold", "0.9"), "threshold")
    refused(run("detect", *pair, "-o", tmp_path / "out", "--resume", "--overwrite"), "exclude")
    assert (tmp_path / "out" / "run.json").read_bytes() == record


def test_vectorize_refuses_what_it_cannot_write(run, pair, tmp_path):
    mask = write_raster(tmp_path / "mask.tif", (textured((60, 80), 1) > 120).astype(np.uint8))
    refused(run("vectorize", mask, "-o", tmp_path / "out.shp"), ".shp", ".gpkg")
    refused(run("vectorize", mask, "-o", tmp_path / "nowhere" / "out.gpkg"), "nowhere")
    refused(run("vectorize", tmp_path / "none.tif", "-o", tmp_path / "out.gpkg"), "none.tif")
    assert run("vectorize", mask, "-o", tmp_path / "out.gpkg", "-q")[0] == 0
    refused(run("vectorize", mask, "-o", tmp_path / "out.gpkg"), "--overwrite")
    assert run("vectorize", mask, "-o", tmp_path / "out.gpkg", "--overwrite", "-q")[0] == 0


@pytest.mark.parametrize("top", [1, 255])
def test_vectorize_takes_masks(run, tmp_path, top):
    mask = np.zeros((1, 40, 50), np.uint8)
    mask[0, 5:15, 5:25] = mask[0, 20:30, 30:40] = top
    path = write_raster(tmp_path / "mask.tif", mask)
    code, out, _ = run("vectorize", path, "-o", tmp_path / "out.gpkg", "--json")
    assert code == 0
    assert json.loads(out)["changes"] == {"count": 2, "area_px": 300, "area_m2": 1200.0}


def test_vectorize_simplifies_on_request(run, tmp_path):
    yy, xx = np.mgrid[:200, :200]
    disc = ((yy - 100) ** 2 + (xx - 100) ** 2 < 80**2).astype(np.uint8)[None]
    path = write_raster(tmp_path / "disc.tif", disc)
    for name, more in (("exact", ()), ("simple", ("--simplify", "6"))):
        assert run("vectorize", path, "-o", tmp_path / f"{name}.gpkg", "-q", *more)[0] == 0
    exact, simple = (
        geopandas.read_file(tmp_path / f"{n}.gpkg", layer="changes").geometry[0] for n in ("exact", "simple")
    )
    assert shapely.get_num_coordinates(simple) < shapely.get_num_coordinates(exact) / 3
    assert simple.symmetric_difference(exact).area < 0.05 * exact.area


def test_check_prints_a_verdict_and_json(run, pair):
    code, out, _ = run("check", *pair)
    assert code == 0
    assert "verdict" in out
    answer = json.loads(run("check", *pair, "--json")[1])
    assert {"verdict", "shift", "radiometry", "nodata", "findings"} <= set(answer)


def test_check_reports_what_detect_would_refuse(run, pair, tmp_path):
    far = write_raster(tmp_path / "far.tif", textured((60, 80)), transform=PLACE @ Affine.translation(10**4, 0))
    assert json.loads(run("check", pair[0], far, "--json")[1])["verdict"] == "not comparable"
    more = write_raster(tmp_path / "more.tif", textured((60, 80), bands=5))
    assert json.loads(run("check", pair[0], more, "--json")[1])["verdict"] == "not comparable"
    refused(run("check", pair[0], tmp_path / "missing.tif"), "missing.tif")


def test_align_writes_the_whole_grid_of_before(run, tmp_path):
    values = textured((120, 140))
    before = write_raster(tmp_path / "before.tif", values)
    after = write_raster(
        tmp_path / "after.tif", values[:, 10:, 10:], transform=PLACE @ Affine.translation(10.3, 10.2), nodata=0
    )
    code, _, _ = run("align", before, after, "-o", tmp_path / "aligned.tif", "-q")
    assert code == 0
    with rasterio.open(before) as first, rasterio.open(tmp_path / "aligned.tif") as second:
        assert (first.transform, first.shape, first.crs) == (second.transform, second.shape, second.crs)
        assert not second.dataset_mask()[:8].any()
        assert second.dataset_mask()[15:, 15:].all()
    refused(run("align", before, after, "-o", tmp_path / "aligned.tif"), "--overwrite")


def test_align_removes_a_known_shift(run, tmp_path):
    values = textured((400, 420))
    before = write_raster(tmp_path / "before.tif", values[:, 5:395, 5:415])
    after = write_raster(tmp_path / "after.tif", values[:, 8:398, 3:413])  # content lies 3 rows up, 2 columns right
    answer = json.loads(run("align", before, after, "-o", tmp_path / "aligned.tif", "--remove-shift", "--json")[1])
    assert answer["removed_shift"]["row"] == pytest.approx(-3, abs=0.1)
    assert answer["removed_shift"]["col"] == pytest.approx(2, abs=0.1)
    report = json.loads(run("check", before, tmp_path / "aligned.tif", "--json")[1])
    assert abs(report["shift"]["row"]) < 0.1
    assert abs(report["shift"]["col"]) < 0.1


def test_align_keeps_invalid_pixels_where_there_is_no_nodata_value(run, tmp_path):
    before = write_raster(tmp_path / "before.tif", textured((50, 60)))
    after = write_raster(tmp_path / "after.tif", textured((50, 60)), transform=PLACE @ Affine.translation(20, 0))
    assert run("align", before, after, "-o", tmp_path / "aligned.tif", "-q")[0] == 0
    with rasterio.open(tmp_path / "aligned.tif") as dataset:
        assert dataset.nodata is None
        np.testing.assert_array_equal(dataset.dataset_mask() > 0, np.arange(60) >= np.full((50, 1), 20))


def test_detectors_are_listed_with_their_options(run):
    code, out, _ = run("detectors")
    assert code == 0
    for name in ("difference", "change-vector", "ir-mad", "slow-features", "pca-kmeans"):
        assert name in out
    assert {offer["name"] for offer in json.loads(run("detectors", "--json")[1])} >= {"ir-mad"}


@pytest.mark.parametrize("command", ["check", "align", "detect", "refine", "vectorize", "evaluate", "detectors"])
def test_every_command_has_help(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "Usage" in out


def test_json_of_detect_is_the_record(run, pair, tmp_path):
    code, out, _ = run("detect", *pair, "-o", tmp_path / "out", "--json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "out" / "run.json").read_text())


def test_bands_and_16_bit_values_work(run, tmp_path):
    images = [
        write_raster(tmp_path / f"{i}.tif", date) for i, date in enumerate(changed_pair((90, 90), 6, dtype="uint16"))
    ]
    assert run("detect", *images, "-o", tmp_path / "out", "--bands", "4,3,2", "-q")[0] == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["scene"]["bands"] == [4, 3, 2]


@pytest.mark.parametrize("stored", [{}, {"photometric": "RGB", "alpha": "NO"}])
def test_align_keeps_colours_descriptions_and_date(run, tmp_path, stored):
    before = write_raster(tmp_path / "before.tif", textured((256, 256), bands=4), **stored)
    after = write_raster(tmp_path / "after.tif", textured((64, 64), bands=4), **stored)  # 1/16, the rest is zeros
    names = ("red", "green", "blue", "near infrared")
    with rasterio.open(after, "r+") as dataset:
        dataset.descriptions = names
        dataset.update_tags(TIFFTAG_DATETIME="2020:08:31 17:05:00")
    assert run("align", before, after, "-o", tmp_path / "aligned.tif", "-q")[0] == 0
    with rasterio.open(tmp_path / "aligned.tif") as dataset:
        assert [colour.name for colour in dataset.colorinterp] == ["red", "green", "blue", "undefined"]
        assert dataset.descriptions == names
    aligned = open_file(str(tmp_path / "aligned.tif"))
    assert (aligned.bands, aligned.date) == ((1, 2, 3, 4), "2020-08-31T17:05:00")


def test_crss_that_cannot_be_brought_together_are_one_line(run, pair, tmp_path):
    local = write_raster(tmp_path / "local.tif", textured((60, 80)), crs='LOCAL_CS["site",UNIT["metre",1]]')
    for before, after in ((pair[0], local), (local, pair[0])):
        refused(run("detect", before, after, "-o", tmp_path / "out", "--align"), "cannot be brought to", "EPSG:32633")
        assert json.loads(run("check", before, after, "--json")[1])["verdict"] == "not comparable"


def test_an_input_in_the_output_folder_is_never_replaced(run, tmp_path):
    before, after = write_pair(tmp_path, (60, 80))
    (tmp_path / "out").mkdir()
    inside = tmp_path / "out" / "probability.tif"
    inside.write_bytes((tmp_path / "before.tif").read_bytes())
    kept = inside.read_bytes()
    refused(run("detect", inside, after, "-o", tmp_path / "out"), "is an input")
    refused(run("detect", inside, after, "-o", tmp_path / "out", "--overwrite"), "is an input")
    refused(run("detect", before, after, "-o", tmp_path / "out"), "exists")
    assert inside.read_bytes() == kept


def turned_box(tmp_path):
    """A mask of a box that is turned by 20 degrees."""
    yy, xx = np.mgrid[:120, :140] + 0.5
    turn = np.radians(20)
    along = (xx - 70) * np.cos(turn) + (yy - 60) * np.sin(turn)
    across = (yy - 60) * np.cos(turn) - (xx - 70) * np.sin(turn)
    mask = ((np.abs(along) < 30) & (np.abs(across) < 17)).astype(np.uint8)
    return write_raster(tmp_path / "box.tif", mask[None])


def test_vectorize_gives_right_angles_on_request(run, tmp_path):
    path = turned_box(tmp_path)
    answer = json.loads(run("vectorize", path, "-o", tmp_path / "box.gpkg", "--right-angles", "--json")[1])
    (box,) = geopandas.read_file(tmp_path / "box.gpkg", layer="changes").geometry
    assert answer["squared"] == 1
    assert shapely.get_num_coordinates(box) == 5
    assert box.symmetric_difference(shapely.minimum_rotated_rectangle(box)).area < 0.1
    assert box.exterior.is_ccw
    assert answer["changes"]["area_px"] * 4 == pytest.approx(box.area, rel=0.01)
    assert "right angles" in run("vectorize", path, "-o", tmp_path / "two.fgb", "--right-angles")[1]
    refused(run("vectorize", path, "-o", tmp_path / "three.fgb", "--diagonals"), "--right-angles")


def test_no_command_replaces_its_own_inputs(run, tmp_path):
    before, after = write_pair(tmp_path)
    layer = tmp_path / "layer.gpkg"
    square = shapely.box(*(PLACE @ (10, 40)), *(PLACE @ (40, 10)))
    geopandas.GeoDataFrame({"id": [1], "cover": ["wood"]}, geometry=[square], crs=UTM).to_file(layer)
    cases = (
        ("align", before, after, "-o", after),
        ("kinds", layer, before, after, "-o", layer),
        ("from-to", layer, layer, "--label-column", "cover", "-o", layer),
        ("evaluate", before, after, "--picture", after),
        ("fuse", before, after, "-o", before),
        ("refine", before, "--open", "1px", "-o", before),
        ("vectorize", before, "--labels", layer, "--threshold", "f1", "-o", layer),
    )
    for case in cases:
        kept = [Path(path).read_bytes() for path in (before, after, layer)]
        overwrite = () if case[0] == "evaluate" else ("--overwrite",)
        refused(run(*case, *overwrite), "is an input")
        assert [Path(path).read_bytes() for path in (before, after, layer)] == kept, case


def test_no_command_replaces_what_its_inputs_are_made_of(run, tmp_path):
    before, after = write_pair(tmp_path)
    run_folder = tmp_path / "run"
    for part in ("A", "B", "label"):
        (run_folder / part).mkdir(parents=True)
    for part, image in (("A", before), ("B", after)):
        shutil.copy(image, run_folder / part / "x.tif")
    mask = write_raster(run_folder / "label" / "x.tif", np.zeros((1, 96, 128), np.uint8))
    for name in ("best.pt", "model.bin", "model.onnx"):
        shutil.copy(Landscape.shipped, run_folder / name)
    probability = run_folder / "probability.tif"
    shutil.copy(before, probability)
    source = f"<SourceFilename>{probability}</SourceFilename><SourceBand>1</SourceBand>"
    band = f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource>{source}</SimpleSource></VRTRasterBand>'
    shutil.copy(before, run_folder / "scores.png")
    virtual = tmp_path / "virtual.vrt"
    virtual.write_text(f'<VRTDataset rasterXSize="128" rasterYSize="96">{band}</VRTDataset>')
    short = ("--network", "siamese-unet", "--steps", "1", "--size", "32", "--no-pretrained")
    model = ("--method", "stacking", "--labels", mask, "--save-model")
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("before,after,labels\nrun/A/x.tif,run/B/x.tif,run/label/x.tif\n")
    cases = (
        ("detect", virtual, virtual, "-o", run_folder),
        ("detect", before, after, "--labels", probability, "--threshold", "f1", "-o", run_folder),
        ("align", before, virtual, "-o", probability),
        ("fuse", virtual, virtual, "-o", tmp_path / "o.tif", *model, probability),
        ("fuse", virtual, virtual, "-o", tmp_path / "o.tif", *model, mask),
        ("evaluate", mask, run_folder / "scores.png", "--picture", run_folder / "scores.png"),
        ("synthesize", run_folder / "A", "-o", run_folder),
        ("synthesize", run_folder / "A", "-o", run_folder / "A"),
        ("train", run_folder, *short, "-o", run_folder),
        ("train", pairs, "--from", run_folder / "best.pt", "--steps", "1", "-o", run_folder),
        ("finetune", pairs, "--from", run_folder / "best.pt", "--steps", "1", "-o", run_folder),
        ("export-model", run_folder / "model.bin", "--formats", "openvino", "-o", run_folder / "model"),
        ("export-model", run_folder / "model.onnx", "--formats", "onnx", "-o", run_folder / "model"),
    )
    kept = contents(tmp_path)
    for case in cases:
        code, _, lines = run(*case, "--overwrite")
        assert (code, len(lines)) == (2, 1), (case, lines)
        assert "is an input" in lines[0], (case, lines)
        assert contents(tmp_path) == kept, case


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_reader_that_stops_reading_ends_the_command_without_a_word():
    code = "import sys; from geochange.cli.program import run; run(['detectors'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


TRAINING = ("train", "tune", "finetune", "datasets doubts")


def test_commands_that_train_need_an_extra_and_say_so(tmp_path):
    """In a process without torch."""
    program = f"""
import contextlib, io, json, sys
sys.modules["torch"] = None
from geochange.cli import main
found = []
for name in {TRAINING!r}:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            main([*name.split(), "none", "-o", {str(tmp_path / "o.gpkg")!r}])
        except SystemExit as ended:
            found.append((name, ended.code, said.getvalue()))
print(json.dumps(found))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for name, code, said in (found := json.loads(ended.stdout)):
        assert (code, said) == (2, f"geochange: {name} needs torch: pip install 'geochange[train]'\n")
    assert len(found) == len(TRAINING)

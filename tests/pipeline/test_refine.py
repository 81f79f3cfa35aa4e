"""`refine` on files: the same bytes however it is cut, nodata, metadata, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import ndimage

import geochange
from geochange.engine.cluster import ClusterOptions
from geochange.errors import BadOption, GridMismatch, NothingValid, OutputInTheWay, UnreadableInput
from geochange.pipeline.options import RefineOptions
from geochange.pipeline.refine import disc_on
from geochange.probability.morphology import Disc
from geochange.probability.raster import CLASSES_TAG, THRESHOLDS_TAG
from geochange.scenes.lengths import parse_length
from geochange.scenes.scene import open_file
from tests.commands import refused
from tests.stand_ins import PLACE, textured, write_pair, write_raster

SHAPE = (130, 170)
ALL = RefineOptions(guided=(1, 3), crf=2, opening="2px", closing=3)
OPENED = RefineOptions(opening="2px")


def soft_codes(classes=1, seed=0):
    """(class, y, x) uint8 probabilities of smooth areas, nodata in a corner."""
    fields = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal((classes, *SHAPE)), (0, 4, 4))
    codes = np.clip(127 + 400 * fields, 0, 254).astype(np.uint8)
    codes[:, :20, :30] = 255
    return codes


def write_scores(path, codes, names=("change",), default=0.5, **profile):
    """A probability raster in the form of detect's."""
    write_raster(path, codes, nodata=255 if codes.dtype == np.uint8 else np.nan, **profile)
    with rasterio.open(path, "r+") as dataset:
        if codes.dtype == np.uint8:
            dataset.scales = [1 / 254] * len(codes)
        dataset.update_tags(**{CLASSES_TAG: json.dumps(names), THRESHOLDS_TAG: json.dumps({"default": default})})
    return str(path)


@pytest.fixture
def scores(tmp_path):
    return write_scores(tmp_path / "p.tif", soft_codes())


@pytest.fixture
def image(tmp_path):
    values = textured(SHAPE)
    values[:, 90:100, 50:60] = 0
    return write_raster(tmp_path / "after.tif", values, nodata=0)


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_bytes_are_the_same_for_any_blocks_and_threads(tmp_path, image, dtype):
    codes = soft_codes(classes=2)
    if dtype == "float32":
        codes = np.where(codes == 255, np.nan, codes / np.float32(254)).astype(np.float32)
    path = write_scores(tmp_path / "scores.tif", codes, ("a", "b"))
    found = set()
    for number, (block, threads) in enumerate([(512, 1), (64, 3), (77, 2)]):
        options = RefineOptions(guided=ALL.guided, crf=ALL.crf, opening="2px", closing=3, block_size=block)
        out = tmp_path / f"{number}.tif"
        geochange.refine(path, out, options, image=image, cluster=ClusterOptions(threads=threads))
        found.add(out.read_bytes())
    assert len(found) == 1
    assert len(np.unique(read(out))) > 20


def test_processes_write_the_same_bytes(tmp_path, scores, image):
    for name, cluster in (("threads", ClusterOptions()), ("processes", ClusterOptions(workers=2))):
        geochange.refine(scores, tmp_path / f"{name}.tif", ALL, image=image, cluster=cluster)
    assert (tmp_path / "threads.tif").read_bytes() == (tmp_path / "processes.tif").read_bytes()


def test_blocks_do_not_matter_to_an_image_on_another_grid(tmp_path, scores):
    moved = write_raster(
        tmp_path / "moved.tif",
        textured((200, 260)),
        transform=PLACE @ Affine.translation(-7.3, -3.6) @ Affine.scale(0.8),
    )
    found = set()
    for block in (512, 48):
        options = RefineOptions(guided=(2,), block_size=block)
        geochange.refine(scores, tmp_path / f"{block}.tif", options, image=moved)
        found.add((tmp_path / f"{block}.tif").read_bytes())
    assert len(found) == 1


def test_an_image_in_another_crs_leads_almost_as_on_the_grid(tmp_path):
    edge = np.zeros((1, *SHAPE), np.uint8)
    edge[:, 40:90, 50:120] = 200
    blurred = ndimage.gaussian_filter(edge[0].astype(float), 3) / 200 * 254
    path = write_scores(tmp_path / "soft.tif", blurred.astype(np.uint8)[None])
    other = tmp_path / "other.tif"
    with rasterio.open(write_raster(tmp_path / "after.tif", edge + np.uint8(20))) as dataset:
        rasterio.shutil.copy(rasterio.vrt.WarpedVRT(dataset, crs="EPSG:3857"), other)
    for name in ("after.tif", "other.tif"):
        geochange.refine(path, tmp_path / f"of-{name}", RefineOptions(guided=(4,)), image=tmp_path / name)
    same, warped = (read(tmp_path / f"of-{name}")[0, 5:-5, 5:-5] >= 127 for name in ("after.tif", "other.tif"))
    assert (same != warped).mean() < 0.005


def test_nodata_of_any_input_is_nodata_out(tmp_path, scores, image):
    geochange.refine(scores, tmp_path / "out.tif", ALL, image=image)
    hole = (read(scores)[0] == 255) | (read(image) == 0).all(axis=0)
    np.testing.assert_array_equal(read(tmp_path / "out.tif")[0] == 255, hole)


def test_only_the_part_that_the_image_covers_has_data(tmp_path, scores):
    part = write_raster(tmp_path / "part.tif", textured((60, 60)), transform=PLACE @ Affine.translation(50, 40))
    geochange.refine(scores, tmp_path / "out.tif", RefineOptions(guided=(4,)), image=part)
    valid = read(tmp_path / "out.tif")[0] != 255
    assert valid[42:98, 52:108].all()
    assert valid.sum() == 60 * 60


def test_the_result_says_what_the_raster_said(tmp_path, image):
    before, after = write_pair(tmp_path, SHAPE)
    found = geochange.detect(before, after, tmp_path / "run", detector="change-vector")
    out = tmp_path / "out.tif"
    refined = geochange.refine(found.probability, out, ALL, image=after)
    with rasterio.open(found.probability) as given, rasterio.open(out) as written:
        assert written.profile == given.profile
        assert (written.scales, written.descriptions) == (given.scales, given.descriptions)
        assert written.tags().items() >= given.tags().items()
        assert json.loads(written.tags()["GEOCHANGE_REFINED"]) == refined.steps
    layer = geochange.vectorize(out, tmp_path / "changes.gpkg", geochange.VectorizeOptions(min_area=0))
    assert layer.threshold == refined.threshold
    assert layer.totals.area_px == refined.after


def test_masks_become_probabilities(tmp_path):
    mask = np.zeros((1, *SHAPE), np.uint8)
    mask[0, 40:60, 40:80] = mask[0, 5, 5] = 255
    refined = geochange.refine(write_raster(tmp_path / "mask.tif", mask), tmp_path / "out.tif", OPENED)
    assert (refined.before, refined.crossed) == (801, 1 + 12)
    assert set(np.unique(read(tmp_path / "out.tif"))) == {0, 254}


def test_steps_follow_in_their_order(tmp_path, scores, image):
    geochange.refine(scores, tmp_path / "1.tif", RefineOptions(guided=(4,)), image=image)
    geochange.refine(tmp_path / "1.tif", tmp_path / "2.tif", OPENED)
    geochange.refine(tmp_path / "2.tif", tmp_path / "3.tif", RefineOptions(closing=4))
    both = RefineOptions(guided=(4,), opening="2px", closing=4)
    geochange.refine(scores, tmp_path / "all.tif", both, image=image)
    assert (tmp_path / "3.tif").read_bytes() == (tmp_path / "all.tif").read_bytes()


def test_before_leads_where_things_have_gone(tmp_path):
    edge = np.full((1, *SHAPE), 50, np.uint8)
    edge[:, 40:90, 50:120] = 200
    blurred = ndimage.gaussian_filter(edge[0] - 50.0, 3) / 150 * 254
    path = write_scores(tmp_path / "soft.tif", blurred.astype(np.uint8)[None])
    before = write_raster(tmp_path / "before.tif", edge)
    after = write_raster(tmp_path / "after.tif", textured(SHAPE))
    truth, missed = edge[0] > 50, []
    for name, more in (("alone", None), ("both", before)):
        geochange.refine(path, tmp_path / f"{name}.tif", RefineOptions(guided=(4,)), image=after, before=more)
        missed.append(((read(tmp_path / f"{name}.tif")[0] >= 127) != truth).sum())
    assert missed[1] < missed[0] / 2


def test_lengths_are_metres_or_pixels():
    assert parse_length("open", 2) == parse_length("open", "2m") == (2.0, False)
    assert parse_length("open", "2.5px") == (2.5, True)


def test_discs_in_metres_follow_the_pixel_size(tmp_path, scores):
    grid = open_file(scores).grid
    assert disc_on("open", "6", grid) == Disc.of_radius(3) == disc_on("open", "3px", grid)
    lonlat = open_file(
        write_raster(
            tmp_path / "deg.tif",
            np.zeros((1, 10, 10), np.uint8),
            crs="EPSG:4326",
            transform=Affine(1e-5, 0, 10, 0, -1e-5, 60),
        )
    ).grid
    assert disc_on("open", "5", lonlat).half_widths[4] == 8  # 1.11 m high, 0.56 m wide
    assert len(disc_on("open", "5", lonlat).half_widths) == 9


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], ["no correction", "--guided"]),
        (["--guided", "4"], ["--image"]),
        (["--guided", "4", "--image", "nowhere.tif"], ["nowhere.tif", "does not exist"]),
        (["--guided", "-4", "--image", "after.tif"], ["1..32"]),
        (["--guided", "0", "--image", "after.tif"], ["1..32"]),
        (["--guided", "wide", "--image", "after.tif"], ["--guided", "whole numbers"]),
        (["--guided", "4", "--guided-eps", "-1", "--image", "after.tif"], ["eps"]),
        (["--crf", "0", "--image", "after.tif"], ["crf"]),
        (["--crf", "2", "--threshold", "0", "--image", "after.tif"], ["threshold 0"]),
        (["--crf", "2", "--threshold", "nan", "--image", "after.tif"], ["threshold nan"]),
        (["--open", "-2"], ["open -2 must"]),
        (["--open", "0"], ["open 0 must"]),
        (["--open", "2ft"], ["open 2ft must"]),
        (["--open", "1"], ["0.5 pixels"]),
        (["--close", "9999"], ["close 9999", "256"]),
        (["--open", "3px", "--image", "after.tif"], ["look at no image"]),
        (["--open", "3px", "--block-size", "1"], ["block size"]),
        (["--guided", "4", "--image", "after.tif", "--bands", "9"], ["band 9"]),
        (["--guided", "4", "--image", "after.tif", "--resampling", "best"], ["--resampling must be", "best"]),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(run, tmp_path, scores, image, more, words, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(run("refine", scores, "-o", "out.tif", *more), *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after.tif", "p.tif"]


def test_inputs_are_never_replaced(run, scores, image):
    for victim in (scores, image):
        refused(run("refine", scores, "-o", victim, "--guided", "2", "--image", image, "--overwrite"), "is an input")


def test_a_finished_raster_is_kept(run, tmp_path, scores):
    assert run("refine", scores, "-o", tmp_path / "out.tif", "--open", "3px", "-q")[0] == 0
    refused(run("refine", scores, "-o", tmp_path / "out.tif", "--open", "3px"), "--overwrite")
    assert run("refine", scores, "-o", tmp_path / "out.tif", "--open", "3px", "--overwrite", "-q")[0] == 0


def test_metres_without_a_crs_are_refused(tmp_path):
    path = write_scores(tmp_path / "plain.tif", soft_codes(), crs=None)
    with pytest.raises(BadOption, match="needs a CRS; give pixels"):
        geochange.refine(path, tmp_path / "out.tif", RefineOptions(opening=4))
    assert geochange.refine(path, tmp_path / "out.tif", OPENED).path.exists()


def test_images_elsewhere_are_refused(tmp_path, scores):
    far = write_raster(tmp_path / "far.tif", textured(SHAPE), transform=PLACE @ Affine.translation(10**4, 0))
    plain = write_raster(tmp_path / "plain.tif", textured(SHAPE), crs=None)
    empty = write_raster(tmp_path / "empty.tif", np.zeros((3, *SHAPE), np.uint8), nodata=0)
    for image, error in ((far, "do not overlap"), (plain, "give both a CRS")):
        with pytest.raises(GridMismatch, match=error):
            geochange.refine(scores, tmp_path / "out.tif", RefineOptions(crf=5), image=image)
    with pytest.raises(NothingValid, match="no data"):
        geochange.refine(scores, tmp_path / "out.tif", RefineOptions(crf=5), image=empty)
    assert not (tmp_path / "out.tif").exists()


def test_rasters_that_hold_no_probabilities_are_refused(tmp_path, scores):
    nothing = write_scores(tmp_path / "nothing.tif", np.full((1, *SHAPE), 255, np.uint8))
    with pytest.raises(NothingValid, match="no pixel with data"):
        geochange.refine(nothing, tmp_path / "out.tif", OPENED)
    nameless = write_scores(tmp_path / "nameless.tif", soft_codes(), ())
    with pytest.raises(UnreadableInput, match="name 0 classes; they must be as many"):
        geochange.refine(nameless, tmp_path / "out.tif", OPENED)
    everything = write_scores(tmp_path / "everything.tif", soft_codes(), default=0.0)
    with pytest.raises(BadOption, match="all of it is change"):
        geochange.refine(everything, tmp_path / "out.tif", OPENED)
    with pytest.raises(OutputInTheWay, match=r"not a folder that can be written to"):
        geochange.refine(scores, tmp_path / "nowhere" / "out.tif", OPENED)


def test_command_reports_what_was_done(run, tmp_path, scores, image):
    out = tmp_path / "out.tif"
    answer = json.loads(
        run("refine", scores, "-o", out, "--guided", "2,4", "--image", image, "--open", "4", "--json")[1]
    )
    assert answer["steps"] == ["guided radii=(2, 4) eps=0.1", "open 4"]
    assert answer["changed_px"]["before"] > answer["changed_px"]["after"] > 0
    code, text, _ = run("refine", scores, "-o", out, "--crf", "2", "--image", image, "--overwrite")
    assert code == 0
    assert "crf iterations=2" in text

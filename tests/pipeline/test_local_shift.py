"""A shift that varies over the scene: measured by `check`, removed by `detect` and `align`."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import rasterio
from PIL import Image

import geochange
from geochange.engine.progress import Silent
from geochange.errors import BadOption, NothingValid, OutputInTheWay
from geochange.review.run import open_run
from geochange.scenes.grid import Tile
from geochange.scenes.shift_field import LocalShift
from tests.scenes.test_shift_field import bend, waves
from tests.stand_ins import changed_pair, textured, write_raster

SHAPE = (330, 350)
UNTOLERANT = {"detector": "change-vector", "shift_tolerance": 0, "min_confidence": 0.0}


@pytest.fixture(scope="module")
def bent(tmp_path_factory):
    """A pair whose second date is bent by up to 2.5 pixels, and the same date as it was."""
    folder, field = tmp_path_factory.mktemp("bent"), waves(SHAPE, 2.5, length=400)
    before, straight = changed_pair(SHAPE)
    after = np.clip(bend(straight, field), 0, 255).astype("uint8")
    return [
        write_raster(folder / f"{name}.tif", date)
        for name, date in (("before", before), ("after", after), ("straight", straight))
    ]


class Told(Silent):
    """Keeps notices."""

    def __init__(self):
        self.notices = []

    def notice(self, text):
        self.notices.append(text)


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read()


def test_check_says_that_the_shift_varies_and_what_removing_it_leaves(bent, tmp_path):
    report = geochange.check(*bent[:2], picture=tmp_path / "shift.png")
    assert isinstance(report.local_shift, LocalShift)
    assert report.local_shift.length > 4 * report.local_shift.residual
    assert any("--remove-local-shift" in finding.fix for finding in report.findings)
    assert report.to_dict()["local_shift"]["windows_used"] > 20
    with Image.open(tmp_path / "shift.png") as picture:
        assert len(picture.getcolors(1 << 20)) > 20
    with pytest.raises(OutputInTheWay):
        geochange.check(*bent[:2], picture=tmp_path / "shift.png")


def test_a_picture_of_nothing_is_refused(bent, tmp_path):
    noise = [
        write_raster(tmp_path / f"{seed}.tif", np.random.default_rng(seed).integers(0, 255, (1, 200, 200), "uint8"))
        for seed in range(2)
    ]
    with pytest.raises(NothingValid, match="no local shift can be measured"):
        geochange.check(*noise, picture=tmp_path / "shift.png")
    with pytest.raises(BadOption, match=r"must end in \.png"):
        geochange.check(*bent[:2], picture=tmp_path / "shift.jpg")
    assert {path.name for path in tmp_path.iterdir()} == {"0.tif", "1.tif"}


def test_a_picture_never_replaces_an_image(tmp_path):
    for date in ("before", "after"):
        Image.fromarray(textured((120, 130))[0]).save(tmp_path / f"{date}.png")
    kept = (tmp_path / "after.png").read_bytes()
    with pytest.raises(OutputInTheWay):
        geochange.check(tmp_path / "before.png", tmp_path / "after.png", picture=tmp_path / "after.png", overwrite=True)
    assert (tmp_path / "after.png").read_bytes() == kept


def test_detect_finds_what_it_finds_where_nothing_is_bent(bent, tmp_path):
    before, after, straight = bent
    wanted = geochange.detect(before, straight, tmp_path / "straight", **UNTOLERANT)
    kept = geochange.detect(before, after, tmp_path / "kept", **UNTOLERANT)
    removed = geochange.detect(before, after, tmp_path / "removed", remove_local_shift=True, **UNTOLERANT)
    labels = [read(run.probability)[0] > 127 for run in (wanted, kept, removed)]
    wrong = [np.mean(labels[0] != found) for found in labels[1:]]
    assert wrong[1] < wrong[0] / 2
    assert removed.record["scene"]["removed_local_shift"]["shape"] == list(SHAPE)


def test_blocks_change_nothing(bent, tmp_path):
    settings = {"remove_local_shift": True, "remove_shift": True, "overwrite": True, **UNTOLERANT}
    runs = [
        geochange.detect(*bent[:2], tmp_path / str(side), block_size=side, tile_size=64, **settings)
        for side in (400, 90)
    ]
    assert runs[0].probability.read_bytes() == runs[1].probability.read_bytes()


def test_a_review_reads_the_pair_as_detect_did(bent, tmp_path):
    found = geochange.detect(*bent[:2], tmp_path / "out", remove_local_shift=True, **UNTOLERANT)
    scene = open_run(found.folder).scene
    assert scene.sources[1].local_shift is not None
    (_, after), _ = scene.read(Tile(0, 0, *SHAPE))
    assert (after != read(bent[1])).any()


def test_align_writes_what_detect_reads(bent, tmp_path):
    aligned = geochange.align(*bent[:2], tmp_path / "aligned.tif", remove_local_shift=True)
    assert aligned.to_dict()["removed_local_shift"]["residual"] < 0.3
    found = geochange.detect(*bent[:2], tmp_path / "out", remove_local_shift=True, **UNTOLERANT)
    (_, after), valid = open_run(found.folder).scene.read(Tile(0, 0, *SHAPE))
    np.testing.assert_array_equal(read(aligned.path) * valid[1], after)


def test_images_without_a_common_shift_stay_as_they_are(tmp_path, capsys):
    before, after = (
        write_raster(tmp_path / f"{seed}.tif", textured((200, 200), seed=seed), nodata=0) for seed in (1, 50)
    )
    runs = [
        geochange.detect(before, after, tmp_path / str(removed), remove_local_shift=removed, **UNTOLERANT)
        for removed in (False, True)
    ]
    assert runs[0].probability.read_bytes() == runs[1].probability.read_bytes()
    assert runs[1].record["scene"]["removed_local_shift"] is None


def test_a_shift_that_varies_is_removed_by_default(bent, tmp_path):
    before, after, straight = bent
    said = Told()
    by_default = geochange.detect(before, after, tmp_path / "default", detector="change-vector", listener=said)
    assert any("--no-remove-local-shift leaves it" in notice for notice in said.notices)
    asked = geochange.detect(before, after, tmp_path / "asked", detector="change-vector", remove_local_shift=True)
    kept = geochange.detect(before, after, tmp_path / "kept", detector="change-vector", remove_local_shift=False)
    assert by_default.record["scene"]["removed_local_shift"] is not None
    assert by_default.probability.read_bytes() == asked.probability.read_bytes()
    assert by_default.probability.read_bytes() != kept.probability.read_bytes()
    well = geochange.detect(before, straight, tmp_path / "well", detector="change-vector")
    assert well.record["scene"]["removed_local_shift"] is None


def test_a_given_tolerance_says_how_the_dates_lie(bent, tmp_path):
    by_name = {"detector": "change-vector", "detector_options": {"shift_tolerance": "0"}}
    for number, settings in enumerate((UNTOLERANT, by_name)):
        found = geochange.detect(*bent[:2], tmp_path / str(number), **settings)
        assert found.record["scene"]["removed_local_shift"] is None


def test_statistics_of_another_run_come_with_its_shift(bent, tmp_path):
    before, after, _ = bent
    for removed in (True, False):
        first = geochange.detect(
            before, after, tmp_path / str(removed), detector="change-vector", remove_local_shift=removed
        )
        again = geochange.detect(before, after, tmp_path / f"{removed} again", statistics=str(first.folder))
        assert again.record["scene"]["removed_local_shift"] == first.record["scene"]["removed_local_shift"]
        assert again.probability.read_bytes() == first.probability.read_bytes()


def test_watch_moves_back_what_detect_moves_back(bent, tmp_path):
    before, after, _ = bent
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(after, images / "after.tif")
    watched = geochange.watch(
        images, tmp_path / "watched", reference=str(before), detector="change-vector", until_idle=0.5
    )
    found = geochange.detect(before, after, tmp_path / "found", detector="change-vector")
    assert watched.record["changes"]["area_px"] == found.record["changes"]["area_px"] > 0

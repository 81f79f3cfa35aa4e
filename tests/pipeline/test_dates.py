"""A pair of dates in many files gives the same bytes as the pair of the one files with the same numbers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rasterio

import geochange
from geochange.errors import BadOption, OutputInTheWay
from geochange.review.run import open_run
from tests.commands import refused
from tests.dates_on_disk import (
    COMMON,
    numbers_of,
    tarred,
    write_band,
    write_bands,
    write_item,
    write_landsat,
    write_one,
    write_safe,
    write_tiles,
    zipped,
)
from tests.servers import static_server
from tests.stand_ins import write_raster

BEFORE, AFTER = numbers_of(0), numbers_of(1)
DAYS = "2021-07-05", "2023-07-10"
FILES = "probability.tif", "changes.geojson"
DATED = {"date_before": DAYS[0], "date_after": DAYS[1]}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The results of one file a date, by whether it has scale and offset."""
    folder = tmp_path_factory.mktemp("one")

    @cache
    def results(*, scaled):
        pair = [write_one(folder / f"{k}{scaled}.tif", each, scaled=scaled) for k, each in enumerate((BEFORE, AFTER))]
        return contents(geochange.detect(*pair, folder / f"out{scaled}", **DATED).folder)

    return results


def contents(folder):
    return [(Path(folder) / name).read_bytes() for name in FILES]


def items(folder):
    return [write_item(folder / name, each, day) for name, each, day in zip("ab", (BEFORE, AFTER), DAYS, strict=True)]


KINDS = {
    "separate bands": lambda folder: [write_bands(folder / k, each) for k, each in (("a", BEFORE), ("b", AFTER))],
    "folder of tiles": lambda folder: [write_tiles(folder / k, each) for k, each in (("a", BEFORE), ("b", AFTER))],
    "SAFE": lambda folder: [
        write_safe(folder, BEFORE, "before"),
        zipped(write_safe(folder, AFTER, "after")),
    ],
    "STAC item": items,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_as_from_the_single_file(tmp_path, reference, kind):
    found = geochange.detect(*KINDS[kind](tmp_path), tmp_path / "out", **DATED)
    assert contents(found.folder) == reference(scaled=kind in ("SAFE", "STAC item"))
    assert json.loads(contents(found.folder)[1])["features"]


def test_one_worker_is_many_for_dates_in_many_files(tmp_path, reference):
    pair = write_tiles(tmp_path / "a", BEFORE), write_bands(tmp_path / "b", AFTER)
    found = geochange.detect(*pair, tmp_path / "out", threads=2, tile_size=32, overlap=8, block_size=48, **DATED)
    alone = geochange.detect(*pair, tmp_path / "alone", threads=1, tile_size=32, overlap=8, block_size=96, **DATED)
    assert contents(found.folder) == contents(alone.folder)


def test_common_names_compare_sensors_whose_bands_have_other_numbers(tmp_path, reference):
    """Sentinel-2 in 13-band numbering before, Landsat after; each by its own metadata."""
    pair = write_safe(tmp_path, BEFORE, "before"), tarred(write_landsat(tmp_path / "landsat", AFTER))
    found = geochange.detect(*pair, tmp_path / "out", bands="red,green,nir", kinds=True)
    assert found.record["scene"]["bands"] == [1, 2, 3]
    assert found.record["scene"]["band_names"] == [["B04", "B03", "B08"], ["B4", "B3", "B5"]]
    assert found.record["scene"]["scaling"] == [[[0.0001, -0.1]] * 3, [[2.75e-05, -0.2]] * 3]
    assert found.record["kinds"]["band_roles"] == {"red": 1, "green": 2, "nir": 3}
    assert {*found.changes().date_before, *found.changes().date_after} == {"2021-07-05T10:30:31", "2021-07-05"}


def test_what_was_chosen_for_the_user_is_in_the_record(tmp_path):
    folder = write_bands(tmp_path / "a", BEFORE)
    write_band(Path(folder) / "T33UUP_20210705T101559_B01.tif", BEFORE["B02"], 1)
    found = geochange.detect(folder, folder, tmp_path / "out", threshold=0.5)
    told = "\n".join(found.record["scene"]["notes"])
    assert "bands B02,B03,B04,B08,B11,B12 are taken, of 7" in told
    assert "B11, B12 brought to the pixels of B02, by the nearest pixel" in told


def test_a_run_is_not_gone_on_with_where_one_file_of_a_date_has_changed(tmp_path):
    pair = write_bands(tmp_path / "a", BEFORE), write_bands(tmp_path / "b", AFTER)
    geochange.detect(*pair, tmp_path / "out")
    assert geochange.detect(*pair, tmp_path / "out", resume=True)
    (changed,) = Path(pair[1]).glob("*_B12.tif")
    changed.write_bytes(changed.read_bytes() + b"\0")
    with pytest.raises(OutputInTheWay, match="differs in"):
        geochange.detect(*pair, tmp_path / "out", resume=True)


def test_a_result_never_replaces_a_file_of_a_date(tmp_path):
    pair = write_tiles(tmp_path / "a", BEFORE), write_bands(tmp_path / "b", AFTER)
    tile = sorted(Path(pair[0]).iterdir())[0]
    with pytest.raises(OutputInTheWay, match="is an input"):
        geochange.align(*pair, tile, overwrite=True)


def test_align_writes_scales_and_names_of_a_product(tmp_path):
    safe = write_safe(tmp_path, BEFORE, "before")
    found = geochange.align(safe, safe, tmp_path / "aligned.tif", bands=("red", "nir"), resampling="nearest")
    report = geochange.check(safe, str(found.path), bands=("red", "nir"))
    assert report.before.scaling == report.after.scaling == ((0.0001, -0.1),) * 2
    assert report.shift is not None
    assert (report.shift.row, report.shift.col) == pytest.approx((0, 0), abs=1e-9)


def test_many_pairs_of_items_on_a_server(tmp_path):
    pytest.importorskip("pystac")
    items(tmp_path / "served")
    with static_server(tmp_path / "served") as address:
        (tmp_path / "pairs.csv").write_text(f"before,after\n{address}/a/item.json,{address}/b/item.json\n")
        many = geochange.detect_many(tmp_path / "pairs.csv", tmp_path / "out", stac=True, bands="red,green,nir")
    assert [each.state for each in many.outcomes] == ["done"]
    import pystac

    collection = pystac.Collection.from_file(str(tmp_path / "out" / "collection.json"))
    collection.validate()
    (item,) = collection.get_items()
    assert [link.href for link in item.links if link.rel == "derived_from"] == [
        f"{address}/a/item.json",
        f"{address}/b/item.json",
    ]


def test_the_mask_of_a_product_is_turned_off_on_a_line_of_a_table(tmp_path):
    classes = np.full((48, 66), 9, "uint8")  # nothing but clouds
    pair = [write_safe(tmp_path, each, date, classes) for each, date in ((BEFORE, "before"), (AFTER, "after"))]
    (tmp_path / "pairs.csv").write_text(
        f"before,after,mask_before,mask_after\n{pair[0]},{pair[1]},,\n{pair[0]},{pair[1]},off,off\n"
    )
    many = geochange.detect_many(tmp_path / "pairs.csv", tmp_path / "out", bands="red,green,nir")
    assert [each.state for each in many.outcomes] == ["failed", "done"]
    assert "no pixel" in many.outcomes[0].error.lower()


def test_unknown_names_of_bands_are_one_line(tmp_path, run):
    safe = write_safe(tmp_path, BEFORE, "before")
    answer = run("detect", safe, safe, "-o", str(tmp_path / "out"), "--bands", "red,swir99")
    refused(answer, "band 'swir99' is not known", "B11/swir16")


def test_a_review_opens_the_dates_of_a_run_again_and_asks_before_it_reads_over_the_network(tmp_path):
    pair = write_safe(tmp_path, BEFORE, "before"), write_tiles(tmp_path / "tiles", AFTER)
    found = geochange.detect(*pair, tmp_path / "out", bands="B04,B03,B08")
    opened = open_run(found.folder)
    assert opened.scene.fingerprint() == open_run(found.folder).scene.fingerprint()
    assert len(opened.scene.files) == 3 + 4
    path = write_item(tmp_path / "item", BEFORE, DAYS[0])
    geochange.detect(path, path, tmp_path / "two", threshold=0.5)
    item = json.loads(Path(path).read_text())
    item["assets"]["red"]["href"] = "https://example.com/red.tif"
    Path(path).write_text(json.dumps(item))
    with pytest.raises(BadOption, match=r"example\.com/red\.tif is read over the network"):
        open_run(tmp_path / "two")


def test_kinds_take_each_date_by_its_own_order_of_bands(tmp_path):
    one = write_one(tmp_path / "one.tif", AFTER)
    before = write_one(tmp_path / "before.tif", BEFORE)
    with rasterio.open(one) as dataset:
        values, names, profile = dataset.read()[::-1], dataset.descriptions[::-1], dataset.profile
    other = write_raster(tmp_path / "other.tif", values, transform=profile["transform"], nodata=0)
    with rasterio.open(other, "r+") as dataset:
        dataset.descriptions = names
    for path in (before, one, other):
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = tuple(COMMON[name] for name in dataset.descriptions)
    found = [
        geochange.detect(before, after, tmp_path / Path(after).stem, bands="red,green,nir", kinds=True, **DATED)
        for after in (one, other)
    ]
    assert contents(found[0].folder) == contents(found[1].folder)


def test_refine_is_led_by_named_bands_of_a_product(tmp_path):
    found = geochange.detect(
        write_one(tmp_path / "a.tif", BEFORE), write_one(tmp_path / "b.tif", AFTER), tmp_path / "o"
    )
    safe = write_safe(tmp_path, AFTER, "after")
    one = write_one(tmp_path / "scaled.tif", AFTER, scaled=True)
    refined = [
        geochange.refine(found.probability, tmp_path / f"{k}.tif", image=image, guided=(2,), bands=bands).path
        for k, (image, bands) in enumerate(((safe, ("red", "nir")), (one, (3, 4))))
    ]
    assert refined[0].read_bytes() == refined[1].read_bytes()

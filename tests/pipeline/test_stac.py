"""Items of results: what they say, and that they move with their folder."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime

import pytest
import rasterio

import geochange
from geochange.errors import BadOption
from tests.dates_on_disk import numbers_of, write_item, write_one
from tests.stand_ins import changed_pair, write_raster

pystac = pytest.importorskip("pystac")
DATED = {"date_before": "2021-07", "date_after": "2023"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stac")
    pair = [write_item(folder / name, numbers_of(k), day) for k, (name, day) in enumerate(PAIR)]
    return geochange.detect(*pair, folder / "out", stac=True, bands="red,green,nir")


PAIR = ("a", "2021-07-05"), ("b", "2023-07-10")


def test_the_item_of_a_run_is_valid_and_says_when_and_where(run):
    item = pystac.Item.from_file(str(run.file("item.json")))
    assert core_only(item).validate()
    assert item.id == "out"
    assert (item.common_metadata.start_datetime, item.common_metadata.end_datetime, item.datetime) == (
        datetime(2021, 7, 5, 10, 30, 31, tzinfo=UTC),
        datetime(2023, 7, 10, 10, 30, 31, tzinfo=UTC),
        None,
    )
    with rasterio.open(run.probability) as dataset:
        bounds = rasterio.warp.transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
        assert item.bbox == pytest.approx(bounds, abs=1e-5)
        assert item.assets["probability"].to_dict()["raster:bands"][0]["scale"] == dataset.scales[0]


def core_only(item):
    """An item without its extensions, whose schemas lie on a server."""
    item.stac_extensions = []
    return item


def test_the_item_and_its_links_are_right_after_the_folder_was_moved(run, tmp_path):
    whole = shutil.copytree(run.folder.parent, tmp_path / "moved")
    item = pystac.Item.from_file(str(whole / "out" / "item.json"))
    assert {*item.assets} == {"probability", "changes.gpkg", "changes.geojson", "preview", "record"}
    for asset in item.assets.values():
        assert asset.href.startswith("./")
        assert (whole / "out" / asset.href).is_file()
    sources = [link.href for link in item.links if link.rel == "derived_from"]
    assert sources == ["../a/item.json", "../b/item.json"]


def test_an_item_is_the_same_bytes_again(run, tmp_path):
    pair = [str(run.folder.parent / name / "item.json") for name, _ in PAIR]
    again = geochange.detect(*pair, run.folder.parent / "again" / "out", stac=True, bands="red,green,nir")
    one, other = (json.loads(each.file("item.json").read_text()) for each in (run, again))
    one.pop("links"), other.pop("links")
    assert one == other


def test_an_item_needs_dates_in_their_order_and_a_crs(tmp_path):
    pair = [write_one(tmp_path / f"{name}.tif", numbers_of(k)) for k, name in enumerate("ab")]
    with pytest.raises(BadOption, match=r"needs the date of .*a\.tif; give it with --date-before"):
        geochange.detect(*pair, tmp_path / "out", stac=True)
    with pytest.raises(BadOption, match="2023-07 lies after 2021"):
        geochange.detect(*pair, tmp_path / "out", stac=True, date_before="2023-07", date_after="2021")
    with pytest.raises(BadOption, match="not 'spring'"):
        geochange.detect(*pair, tmp_path / "out", stac=True, date_before="spring", date_after="2021")
    with pytest.raises(BadOption, match="needs images with a CRS"):
        geochange.detect(*plain_pair(tmp_path), tmp_path / "out", stac=True, **DATED)
    assert not (tmp_path / "out").exists()


def plain_pair(folder):
    return [write_raster(folder / f"plain_{k}.tif", date, crs=None) for k, date in enumerate(changed_pair((40, 50)))]


def test_a_month_and_a_year_last_to_their_ends(tmp_path):
    pair = [write_one(tmp_path / f"{name}.tif", numbers_of(k)) for k, name in enumerate("ab")]
    found = geochange.detect(*pair, tmp_path / "out", stac=True, **DATED)
    properties = json.loads(found.file("item.json").read_text())["properties"]
    ends = [properties[name] for name in ("start_datetime", "end_datetime")]
    assert ends == ["2021-07-01T00:00:00Z", "2023-12-31T23:59:59Z"]

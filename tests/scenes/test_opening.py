"""A date in many files is read as from the one file with the same numbers."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.vrt import WarpedVRT

from geochange.errors import BadOption, BandMismatch, GridMismatch, UnreadableInput
from geochange.scenes.grid import Tile
from geochange.scenes.opening import files_of, open_date
from geochange.scenes.options import SceneOptions
from geochange.scenes.pairing import open_scene
from geochange.scenes.thinning import display_source
from tests.dates_on_disk import (
    SHAPE,
    TEN,
    in_one,
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
from tests.stand_ins import SHARED, UTM, textured, write_raster

OSCD = SHARED / "sentinel2_oscd"
needs_oscd = pytest.mark.skipif(not OSCD.exists(), reason="the places of OSCD are not beside the project")
NUMBERS = numbers_of(0)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Kind of date -> what names it, and the one file with the same numbers."""
    folder = tmp_path_factory.mktemp("dates")
    plain = write_one(folder / "plain.tif", NUMBERS)
    scaled = write_one(folder / "scaled.tif", NUMBERS, scaled=True)
    safe, landsat = write_safe(folder, NUMBERS, "before"), write_landsat(folder / "landsat", NUMBERS)
    tiles = write_tiles(folder / "tiles", NUMBERS)
    listed = folder / "tiles.txt"
    listed.write_text("\n".join(f"tiles/{path.name}" for path in sorted(Path(tiles).iterdir())) + "\n\n")
    landsat_one = write_raster(folder / "landsat.tif", in_one(NUMBERS), transform=TEN, nodata=0)
    with rasterio.open(landsat_one, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0000275,) * 6, (-0.2,) * 6
    return {
        "separate bands": (write_bands(folder / "bands", NUMBERS), plain),
        "folder of tiles": (tiles, plain),
        "text that lists tiles": (str(listed), plain),
        "list of tiles": (sorted(map(str, Path(tiles).iterdir())), plain),
        "SAFE folder": (safe, scaled),
        "SAFE by its metadata": (f"{safe}/MTD_MSIL2A.xml", scaled),
        "SAFE zip": (zipped(safe), scaled),
        "Landsat folder": (landsat, landsat_one),
        "Landsat tar": (tarred(landsat), landsat_one),
        "STAC item": (write_item(folder / "item", NUMBERS, "2021-07-05"), scaled),
    }


KINDS = (
    "separate bands",
    "folder of tiles",
    "text that lists tiles",
    "list of tiles",
    "SAFE folder",
    "SAFE by its metadata",
    "SAFE zip",
    "Landsat folder",
    "Landsat tar",
    "STAC item",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", [None, "any", 0.0])
def test_a_date_is_read_as_from_one_file(places, kind, rule):
    image, one = places[kind]
    options = SceneOptions(nodata=rule)
    found, expected = open_date(image, "date 1", options), open_date(one, "date 1", options)
    assert (found.grid, found.dtype, found.nodata) == (expected.grid, expected.dtype, expected.nodata)
    assert (found.fill, found.masked, len(found.bands)) == (expected.fill, expected.masked, len(expected.bands))
    assert found.scaling == expected.scaling
    for tile in (found.grid.area, Tile(30, 3, 31, 77)):
        (values, valid), (wanted, known) = found.read(tile), expected.read(tile)
        np.testing.assert_array_equal(valid, known)
        np.testing.assert_array_equal(np.where(valid, values, 0), np.where(known, wanted, 0))
    one, other = (each.with_bands((2,)).read(found.grid.area) for each in (found, expected))
    np.testing.assert_array_equal(one[1], other[1])
    np.testing.assert_array_equal(one[0] * one[1], other[0] * other[1])
    stored, wanted = found.stored(), expected.stored()
    assert (stored.dtype, stored.scaling) == (np.uint16, None)
    np.testing.assert_array_equal(*(each.read(each.grid.area)[0] * known_of(each) for each in (stored, wanted)))


def known_of(source):
    return source.read(source.grid.area)[1]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_window_of_a_part_is_that_of_the_whole(places, kind, data):
    found = open_date(places[kind][0], "date 1", SceneOptions())
    values, valid = found.read(found.grid.area)
    whole = Tile(0, 0, *SHAPE)
    part, tile = (data.draw(tiles_in(area)) for area in (whole, whole))
    tile = tile.intersect(Tile(0, 0, *part.shape))
    if tile.size == 0:
        return
    cropped = pickle.loads(pickle.dumps(found.crop(part)))  # as it travels to workers
    own, known = cropped.read(tile)
    at = Tile(part.row + tile.row, part.col + tile.col, *tile.shape).slices()
    np.testing.assert_array_equal(known, valid[at])
    np.testing.assert_array_equal(own * known, (values * valid)[:, *at])
    assert cropped.whole().grid == found.grid
    assert cropped.grid == found.grid.crop(part)


@st.composite
def tiles_in(draw, area):
    rows, cols = (sorted(draw(st.tuples(*[st.integers(0, n - 1)] * 2))) for n in area.shape)
    return Tile(rows[0], cols[0], rows[1] - rows[0] + 1, cols[1] - cols[0] + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_date_is_in_its_fingerprint(places, kind):
    image, _ = places[kind]
    found = open_date(image, "date 1", SceneOptions())
    assert set(found.files) <= set(files_of(image))
    assert len(found.files) == (4 if "tiles" in kind else 6)


def test_a_date_whose_file_has_changed_has_another_fingerprint(tmp_path):
    folder = write_bands(tmp_path / "bands", NUMBERS)
    before = open_scene([folder, folder]).fingerprint()
    changed = {**NUMBERS, "B12": NUMBERS["B12"][::-1]}
    (stale,) = Path(folder).glob("*_B12.tif")
    write_band(stale, changed["B12"], 2, nodata=0)
    assert open_scene([folder, folder]).fingerprint() != before


@pytest.mark.parametrize(
    ("kind", "bands"),
    [
        ("separate bands", ("red", "B11", "nir")),
        ("SAFE zip", ("B04", "swir16", "b8")),
        ("STAC item", ("red", "SWIR1", "B08")),
        ("Landsat tar", ("red", "swir16", "nir")),  # Landsat's nir08, the part of nir that it has
        ("folder of tiles", ("b4", "B11", "B08")),
        ("folder of tiles", (3, 5, 4)),
        ("separate bands", (3, "B11", 4)),
    ],
)
def test_bands_are_picked_by_name(places, kind, bands):
    image, one = places[kind]
    found, every = open_date(image, "date", SceneOptions(bands=bands)), open_date(one, "date", SceneOptions())
    values, valid = found.read(found.grid.area)
    np.testing.assert_array_equal(values * valid, (every.read(every.grid.area)[0] * valid)[[2, 4, 3]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("bands", "named"), [(("B3", "foo"), "foo.*B0?2"), ((9,), "9 is out of range.*1..6"), ((), "band -")]
)
def test_unknown_bands_are_refused_with_what_there_is(places, kind, bands, named):
    with pytest.raises(BandMismatch, match=named):
        open_date(places[kind][0], "date", SceneOptions(bands=bands))


# Tiles


def tile_at(path, values, left=0, top=0, **profile):
    """A tile so many pixels from the first one."""
    return write_raster(path, values, transform=TEN @ Affine.translation(left, top), **profile)


@pytest.mark.parametrize(("order", "expected"), [("name", 1), ("newest", 2)])
def test_where_tiles_overlap_the_first_by_name_or_the_newest_counts(tmp_path, order, expected):
    for name, number in (("a_20210705", 1), ("b_20230710", 2)):
        tile_at(tmp_path / f"{name}.tif", np.full((2, 20, 20), number, "uint8"), left=10 * number)
    found = open_date(str(tmp_path), "date", SceneOptions(mosaic=order))
    values, valid = found.read(found.grid.area)
    assert found.grid.shape == (20, 30)
    assert valid.all()
    assert not found.masked
    np.testing.assert_array_equal(values[0, 0], [1] * 10 + [expected] * 10 + [2] * 10)
    assert found.date == "2023-07-10"


def test_under_a_pixel_without_data_the_next_tile_is_seen_and_a_gap_is_no_data(tmp_path):
    first = np.full((1, 20, 20), 7, "uint8")
    first[:, 5:9, 15:] = 0
    paths = [tile_at(tmp_path / "b.tif", first, nodata=0), tile_at(tmp_path / "a.tif", first * 0 + 3, 10, 12, nodata=0)]
    found = open_date(paths, "date", SceneOptions())
    values, valid = found.read(found.grid.area)
    assert valid.sum() == 20 * 20 * 2 - 10 * 8 - 4 * 5
    assert found.masked
    assert (values[0, 12:20, 10:20] == 7).all()
    assert (values[0, 20:, 10:] == 3).all()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"transform": TEN @ Affine.translation(0.4, 0)}, "not tiles of one image: origin.*0.4 columns.*gdalwarp"),
        ({"crs": "EPSG:32634"}, "EPSG:32633 against EPSG:32634"),
        ({"transform": TEN @ Affine.scale(2)}, "resolution"),
        ({"crs": None, "transform": Affine.identity()}, "no place"),
    ],
)
def test_tiles_of_different_lattices_are_refused_with_the_difference_and_the_fix(tmp_path, other, named):
    values = textured((20, 20))
    paths = [
        tile_at(tmp_path / "a.tif", values),
        write_raster(tmp_path / "b.tif", values, **{"transform": TEN, **other}),
    ]
    with pytest.raises(GridMismatch, match=named):
        open_date(paths, "date", SceneOptions())


def test_tiles_of_different_bands_and_undated_ones_are_refused(tmp_path):
    tile_at(tmp_path / "a.tif", textured((20, 20)))
    tile_at(tmp_path / "b.tif", textured((20, 20), bands=4), left=20)
    with pytest.raises(BandMismatch, match=r"a\.tif has 3 bands.*b\.tif has 4"):
        open_date(str(tmp_path), "date", SceneOptions())
    with pytest.raises(BadOption, match=r"newest needs the date of each tile, and .*a\.tif"):
        open_date(str(tmp_path), "date", SceneOptions(mosaic="newest", bands=(1, 2)))


def test_tiles_of_different_scales_are_not_put_together_as_they_are_stored(tmp_path):
    paths = [tile_at(tmp_path / f"{k}.tif", textured((20, 20)), left=20 * k) for k in range(2)]
    for path, offset in zip(paths, (0.0, -0.1), strict=True):
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.offsets = (0.0001,) * 3, (offset,) * 3
    found = open_date(paths, "date", SceneOptions())
    assert found.read(found.grid.area)[1].all()
    with pytest.raises(BandMismatch, match="different scales and offsets"):
        found.stored()


def test_lists_without_tiles_are_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    for image in (str(tmp_path / "empty.txt"), []):
        with pytest.raises(UnreadableInput, match="tiles"):
            open_date(image, "date 1", SceneOptions())


# Bands of other pixels


def test_bands_that_do_not_divide_evenly_are_brought_by_the_nearest_pixel(tmp_path):
    fine, coarse = textured((60, 60), bands=1), textured((40, 40), bands=1, seed=3)
    write_raster(tmp_path / "x_red.tif", fine, transform=TEN)
    write_raster(tmp_path / "x_nir.tif", coarse, transform=TEN @ Affine.scale(1.5))
    found = open_date(str(tmp_path), "date", SceneOptions(bands=("red", "nir")))
    values, valid = found.read(found.grid.area)
    at = np.floor((np.arange(60) + 0.5) / 1.5).astype(int)
    np.testing.assert_array_equal(values[1], coarse[0][np.ix_(at, at)])
    assert valid.all()
    part, _ = found.read(Tile(17, 5, 11, 40))
    np.testing.assert_array_equal(part, values[:, 17:28, 5:45])
    assert found.notes == ("nir brought to the pixels of red, by the nearest pixel",)


# STAC


def test_an_item_on_a_server_is_read_as_the_one_beside_its_files(places, tmp_path):
    item, _ = places["STAC item"]
    expected = open_date(item, "date", SceneOptions())
    with static_server(Path(item).parent) as address:
        found = open_date(f"{address}/item.json", "date", SceneOptions())
        assert all(name.startswith(address) for name in found.files)
        for one, other in zip(found.read(found.grid.area), expected.read(expected.grid.area), strict=True):
            np.testing.assert_array_equal(one, other)
        with pytest.raises(UnreadableInput, match="404"):
            open_date(f"{address}/another.json", "date", SceneOptions())
    assert found.date == "2021-07-05T10:30:31"


def test_an_item_of_pystac_and_its_json_are_read_as_its_file(places):
    pystac = pytest.importorskip("pystac")
    path, _ = places["STAC item"]
    item = pystac.Item.from_file(path)
    expected, _ = open_date(path, "date", SceneOptions()).read(Tile(0, 0, *SHAPE))
    for image in (item, {**json.loads(Path(path).read_text()), "links": [{"rel": "self", "href": path}]}):
        found = open_date(image, "date", SceneOptions())
        np.testing.assert_array_equal(found.read(found.grid.area)[0], expected)


def test_a_collection_of_items_is_tiles_of_one_date(places, tmp_path):
    path, _ = places["STAC item"]
    item = json.loads(Path(path).read_text())
    links = [{"rel": "self", "href": path}]
    for asset in item["assets"].values():
        asset["href"] = str(Path(path).parent / asset["href"])
    (tmp_path / "found.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": [item | {"links": links}] * 2})
    )
    found = open_date(str(tmp_path / "found.json"), "date", SceneOptions())
    expected, _ = open_date(path, "date", SceneOptions()).read(Tile(0, 0, *SHAPE))
    values, valid = found.read(found.grid.area)
    np.testing.assert_array_equal(values, expected * valid)


@pytest.mark.parametrize("form", ["1.0", "1.1"])
def test_an_item_places_files_that_say_nothing_and_the_file_has_the_last_word(tmp_path, form):
    values = textured((20, 30), bands=1)
    write_raster(tmp_path / "plain.tif", values, crs=None, transform=Affine.identity())
    own = write_raster(tmp_path / "own.tif", values, transform=TEN, nodata=3)
    with rasterio.open(own, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.5,), (1.0,)
    about = {"proj:code": UTM, "proj:transform": [*TEN][:6], "proj:shape": [20, 30]}
    said = {"scale": 0.1, "offset": 2.0, "nodata": 0}
    band = {"name": "x", "nodata": 0, "raster:scale": 0.1, "raster:offset": 2.0, "eo:common_name": "red"}
    described = {"bands": [band]} if form == "1.1" else {"eo:bands": [{"name": "x"}], "raster:bands": [said]}
    found = {}
    for name in ("plain", "own"):
        asset = {"href": f"./{name}.tif", "type": "image/tiff", **described}
        item = {"type": "Feature", "id": name, "properties": about, "links": [], "assets": {"band": asset}}
        (tmp_path / f"{name}.json").write_text(json.dumps(item))
        found[name] = open_date(str(tmp_path / f"{name}.json"), "date", SceneOptions())
    assert [(each.scaling, each.fill) for each in found.values()] == [(((0.1, 2.0),), 0), (((0.5, 1.0),), 3)]
    assert found["plain"].grid == found["own"].grid


@pytest.mark.parametrize(
    ("properties", "scaling"),
    [
        ({"s2:processing_baseline": "02.11"}, (0.0001, 0.0)),
        ({"s2:processing_baseline": "05.09"}, (0.0001, -0.1)),
        ({"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}, (0.0001, 0.0)),
        ({}, None),
    ],
)
def test_offsets_of_sentinel2_follow_the_baseline_and_what_has_been_applied(tmp_path, properties, scaling):
    write_raster(tmp_path / "b.tif", textured((20, 30), bands=1, dtype="uint16"), transform=TEN)
    assets = {"B04": {"href": "./b.tif", "type": "image/tiff", "eo:bands": [{"name": "B04", "common_name": "red"}]}}
    item = {"type": "Feature", "id": "x", "properties": properties, "links": [], "assets": assets}
    (tmp_path / "item.json").write_text(json.dumps(item))
    found = open_date(str(tmp_path / "item.json"), "date", SceneOptions())
    assert found.scaling == (None if scaling is None else (scaling,))


def test_an_item_without_bands_and_json_that_is_no_item_are_refused(tmp_path):
    path = tmp_path / "item.json"
    for text, named in (
        ('{"type": "Feature", "assets": {"a": {"href": "a.jpg"}}}', "no asset with bands; .*a"),
        ("{", "item.json cannot be read as a STAC Item"),
    ):
        path.write_text(text)
        with pytest.raises(UnreadableInput, match=named):
            open_date(str(path), "date", SceneOptions())


# Arrays


PART = {"x": (500_000, 501_320), "y": (5_399_040, 5_400_000), "chunks": {"x": 64, "y": 64}}


@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform")  # which odc-geo calls
def test_a_dataset_of_bands_is_read_as_the_file(places, tmp_path):
    odc = pytest.importorskip("odc.stac")
    pystac = pytest.importorskip("pystac")
    path, one = places["STAC item"]
    item = pystac.Item.from_file(path)
    for asset in [key for key in item.assets if key in ("thumbnail", "visual")]:
        del item.assets[asset]
    item.properties |= {"proj:epsg": 32633}
    loaded = odc.load([item], bands=["blue", "green", "red", "nir"], crs=UTM, resolution=10, **PART)
    found = open_date(loaded, "date", SceneOptions(bands=("red", "nir")))
    expected = open_date(one, "date", SceneOptions(bands=("B04", "B08"))).stored()
    own, known = found.read(found.grid.area)
    values, valid = expected.read(expected.grid.area)
    assert found.grid.shape == expected.grid.shape
    np.testing.assert_array_equal(known, valid)
    np.testing.assert_array_equal(own * known, values * valid)
    assert found.date.startswith("2021-07-05")


def test_a_dataset_of_several_times_is_refused_with_the_fix():
    cube = xr.Dataset({"red": (("time", "y", "x"), np.ones((2, 4, 5), "uint8"))})
    with pytest.raises(UnreadableInput, match=r"2 times.*isel\(time=0\)"):
        open_date(cube, "date", SceneOptions())


# Masks that come with the images


def classes_of(shape=(48, 66)):
    """Sentinel-2's classes at 20 m: vegetation, and a cloud."""
    classes = np.full(shape, 4, "uint8")
    classes[10:20, 30:44] = 9
    return classes


@pytest.mark.parametrize("kind", ["SAFE folder", "STAC item", "Landsat folder"])
def test_the_mask_of_a_product_hides_its_clouds_which_is_said_and_can_be_turned_off(tmp_path, kind):
    cloud = np.kron(classes_of() == 9, np.ones((2, 2), bool))
    quality = np.where(cloud, 0b1000, 0b1000000).astype("uint16")
    image = {
        "SAFE folder": lambda: write_safe(tmp_path, NUMBERS, "before", classes_of()),
        "STAC item": lambda: write_item(tmp_path / "item", NUMBERS, "2021-07-05", classes_of()),
        "Landsat folder": lambda: write_landsat(tmp_path / "landsat", NUMBERS, quality),
    }[kind]()
    scene = open_scene([image, image], SceneOptions(mask_after="off"))
    _, valid = scene.read(scene.grid.area)
    data = in_one(NUMBERS)[0] > 0
    np.testing.assert_array_equal(valid, [data & ~cloud, data])
    assert sum("is left out" in note for note in scene.notes) == 1
    buffered = open_scene([image, image], SceneOptions(mask_buffer="3px"))
    assert buffered.read(scene.grid.area)[1][1].sum() < (data & ~cloud).sum()


def test_a_mask_of_ones_own_takes_the_place_of_that_of_the_product(tmp_path):
    image = write_safe(tmp_path, NUMBERS, "before", classes_of())
    own = np.zeros(SHAPE, "uint8")
    own[70:80] = 1
    mask = write_raster(tmp_path / "own.tif", own[None], transform=TEN)
    scene = open_scene([image, image], SceneOptions(mask_before=mask))
    (first, second) = scene.read(scene.grid.area)[1]
    assert not first[70:80].any()
    assert first[20:40, 60:88].all()
    assert not second[20:40, 60:88].any()


# Real imagery


@needs_oscd
def test_bands_of_10_20_and_60_m_of_oscd_are_read_as_gdal_stacks_them(tmp_path):
    folder = OSCD / "nantes" / "imgs_1"
    found = open_date(str(folder), "date", SceneOptions(bands=("B04", "B05", "coastal")))
    values, valid = found.read(found.grid.area)
    (red,) = folder.glob("*_B04.tif")
    with rasterio.open(red) as fine:
        for band, name in zip(values, ("B04", "B05", "B01"), strict=True):
            (path,) = folder.glob(f"*_{name}.tif")
            with rasterio.open(path) as coarse, WarpedVRT(coarse, **grid_like(fine)) as stacked:
                np.testing.assert_array_equal(band, stacked.read(1))
    assert valid.all()
    assert found.date == "2016-07-06"


def grid_like(dataset):
    return {"transform": dataset.transform, "width": dataset.width, "height": dataset.height, "crs": dataset.crs}


def test_a_folder_of_products_is_tiles_of_one_date_each_without_its_own_clouds(tmp_path):
    write_safe(tmp_path / "both", NUMBERS, "before", classes_of())
    zipped(write_safe(tmp_path / "both", NUMBERS, "after", np.full((48, 66), 4, "uint8")))
    shutil.rmtree(next((tmp_path / "both").glob("S2B*.SAFE")))
    found = open_date(str(tmp_path / "both"), "date", SceneOptions(bands=("red",)))
    data = in_one(NUMBERS).any(axis=0)
    np.testing.assert_array_equal(found.read(found.grid.area)[1], data)  # the second one is seen through the cloud
    assert [len(found.parts), found.date] == [2, "2023-07-10T10:30:31"]


def test_a_variable_that_is_a_mask_hides_the_others(tmp_path):
    red = open_dataarray(write_raster(tmp_path / "red.tif", in_one(NUMBERS)[2:3], transform=TEN))
    classes = np.kron(classes_of(), np.ones((2, 2), "uint8"))
    mask = open_dataarray(write_raster(tmp_path / "scl.tif", classes[None], transform=TEN))
    dataset = xr.Dataset({"red": red, "SCL": mask})
    found = open_date(dataset, "date 1", SceneOptions())
    np.testing.assert_array_equal(found.read(found.grid.area)[1], classes == 4)
    assert found.bands == (1,)
    assert "SCL hides (scl)" in found.notes[0]
    assert open_date(dataset, "date 1", SceneOptions(), with_own_mask=False).read(found.grid.area)[1].all()


def open_dataarray(path):
    return rioxarray.open_rasterio(path).squeeze("band", drop=True).load()


def test_copies_for_pictures_are_told_apart_by_bands_and_by_the_order_of_tiles(places, tmp_path):
    image, _ = places["separate bands"]
    shown = []
    for band in ("red", "nir"):
        source = open_date(image, "date", SceneOptions(bands=(band,)))
        copied = display_source(source, source.grid, tmp_path / "copies")
        values, valid = source.read(source.grid.area)
        np.testing.assert_array_equal(copied.read(source.grid.area)[0] * valid, values * valid)
        shown.append(copied.path)
    tiles, _ = places["list of tiles"]
    for order in (tiles, tiles[::-1]):
        source = open_date(order, "date", SceneOptions())
        shown.append(display_source(source, source.grid, tmp_path / "copies").path)
    assert len({*shown}) == 4

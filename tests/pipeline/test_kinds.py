"""Kinds of a layer's changes, from files to files."""

import json
import sqlite3
from contextlib import closing

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine

import geochange
from geochange.engine.cluster import ClusterOptions
from geochange.errors import BadOption, BandMismatch, GridMismatch
from geochange.kinds.rules import KINDS
from geochange.polygons import region_ids
from tests.commands import refused
from tests.kinds.test_rules import COVER
from tests.stand_ins import PLACE, SHARED, UTM, write_raster

SHAPE = (150, 180)
ROLES = "green=1,red=2,nir=3,swir1=4"
PLACES = {
    "lake grows": (slice(10, 40), slice(10, 60), "grass", "lake"),
    "lake shrinks": (slice(10, 40), slice(80, 130), "lake", "grass"),
    "felled": (slice(60, 100), slice(10, 50), "forest", "grass"),
    "built": (slice(60, 100), slice(70, 120), "grass", "town"),
    "torn down": (slice(110, 140), slice(10, 50), "town", "grass"),
    "shed": (slice(120, 130), slice(100, 112), "grass", "sand"),
}
EXPECTED = {
    "lake grows": "water gain",
    "lake shrinks": "water loss",
    "felled": "vegetation loss",
    "built": "built-up gain",
    "torn down": "built-up loss",
    "shed": "vegetation loss",
}


def paint(place, seed, roles=("green", "red", "nir", "swir1")):
    """(band, y, x) uint16 of one date: grass, a lake that stays, and what is at the places."""
    cover = np.full(SHAPE, "grass", dtype=object)
    cover[:, 150:] = "lake"
    for rows, cols, *dates in PLACES.values():
        cover[rows, cols] = dates[place]
    noise = np.random.default_rng(seed).normal(0, 0.004, (len(roles), *SHAPE))
    bands = np.stack([np.vectorize(lambda name, r=role: COVER[name][r])(cover) for role in roles])
    return np.rint(10_000 * (bands + noise).clip(0.001)).astype(np.uint16)


def boxes():
    found = []
    for rows, cols, *_ in PLACES.values():
        (left, top), (right, bottom) = PLACE @ (cols.start, rows.start), PLACE @ (cols.stop, rows.stop)
        found.append(shapely.box(left, bottom, right, top))
    return geopandas.GeoDataFrame({"name": [*PLACES], "kind": "old"}, geometry=found, crs=UTM)


@pytest.fixture
def pair(tmp_path):
    return [write_raster(tmp_path / f"{i}.tif", paint(i, i), nodata=0) for i in (0, 1)]


@pytest.fixture
def layer(tmp_path):
    path = tmp_path / "changes.gpkg"
    boxes().to_file(path, layer="changes")
    return str(path)


def read(path):
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path, layer="changes")


def classified(layer, images, out, **options):
    return geochange.kinds(layer, *images, out, geochange.KindOptions(band_roles=ROLES, **options)).changes()


def test_kinds_and_indices_are_reported(layer, pair, tmp_path):
    frame = classified(layer, pair, tmp_path / "kinds.gpkg", indices=("SAVI",))
    assert dict(zip(frame["name"], frame["kind"], strict=True)) == EXPECTED
    assert (frame["kind_share"] > 0.95).all()
    felled = frame.set_index("name").loc["felled"]
    grass, forest = ((c["nir"] - c["red"]) / (c["nir"] + c["red"]) for c in (COVER["grass"], COVER["forest"]))
    assert felled["ndvi_before"] == pytest.approx(forest, abs=0.02)
    assert felled["ndvi_after"] == pytest.approx(grass, abs=0.02)
    assert {"mndwi_before", "ndbi_after", "savi_before", "outline_after"} <= set(frame.columns)
    assert frame.geometry.geom_equals_exact(boxes().geometry, 0).all()


def test_with_the_dates_swapped_gain_is_loss(layer, pair, tmp_path):
    there, back = (classified(layer, images, tmp_path / f"{i}.gpkg") for i, images in enumerate((pair, pair[::-1])))
    opposite = {"gain": "loss", "loss": "gain"}
    swapped = [" ".join(opposite.get(word, word) for word in kind.split()) for kind in there["kind"]]
    assert swapped == back["kind"].tolist()
    np.testing.assert_array_equal(there["ndvi_before"], back["ndvi_after"])
    np.testing.assert_array_equal(there["outline_after"], back["outline_before"])


@pytest.mark.parametrize("split", [False, True])
def test_results_do_not_depend_on_blocks(layer, pair, tmp_path, monkeypatch, split):
    whole = classified(layer, pair, tmp_path / "whole.gpkg", split_kinds=split)
    monkeypatch.setattr(region_ids, "ID_BLOCK", 32)
    cut = classified(layer, pair, tmp_path / "cut.gpkg", split_kinds=split)
    assert whole.drop(columns="geometry").equals(cut.drop(columns="geometry"))
    assert whole.geometry.geom_equals_exact(cut.geometry, 0).all()


def test_workers_and_threads_write_the_same_bytes(layer, pair, tmp_path):
    outs = [tmp_path / f"{i}.geojson" for i in range(3)]
    options = geochange.KindOptions(band_roles=ROLES)
    for out, cluster in zip(
        outs, (ClusterOptions(threads=1), ClusterOptions(threads=3), ClusterOptions(workers=2)), strict=True
    ):
        geochange.kinds(layer, *pair, out, options, cluster=cluster)
    assert outs[0].read_bytes() == outs[1].read_bytes() == outs[2].read_bytes()


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".parquet"])
def test_every_format_has_the_columns(layer, pair, tmp_path, suffix):
    out = tmp_path / f"kinds{suffix}"
    geochange.kinds(layer, *pair, out, geochange.KindOptions(band_roles=ROLES))
    frame = (
        geopandas.read_file(out)
        if suffix == ".geojson"
        else read(out)
        if suffix != ".fgb"
        else geopandas.read_file(out)
    )
    assert sorted(frame["kind"]) == sorted(EXPECTED.values())


def test_a_layer_in_another_crs_keeps_it_and_says_the_same(layer, pair, tmp_path):
    boxes().to_crs(4326).to_file(tmp_path / "degrees.gpkg", layer="changes")
    frame = classified(str(tmp_path / "degrees.gpkg"), pair, tmp_path / "kinds.gpkg")
    assert frame.crs == "EPSG:4326"
    assert dict(zip(frame["name"], frame["kind"], strict=True)) == EXPECTED


def test_a_scene_in_degrees_will_do(tmp_path, layer):
    place = Affine(2e-5, 0, 15.0, 0, -2e-5, 48.7)
    images = [
        write_raster(tmp_path / f"d{i}.tif", paint(i, i), crs="EPSG:4326", transform=place, nodata=0) for i in (0, 1)
    ]
    move = place @ ~PLACE
    frame = boxes()
    frame.geometry = frame.geometry.affine_transform([move.a, move.b, move.d, move.e, move.c, move.f])
    frame.set_crs(4326, allow_override=True).to_file(tmp_path / "degrees.gpkg", layer="changes")
    found = classified(str(tmp_path / "degrees.gpkg"), images, tmp_path / "kinds.gpkg")
    assert found["kind"].tolist() == [EXPECTED[name] for name in found["name"]]


def test_nodata_has_no_say(layer, pair, tmp_path):
    with rasterio.open(pair[1], "r+") as dataset:
        values = dataset.read()
        values[:, 10:40, 10:50] = 0
        values[:, 60:100, 10:50] = 0
        dataset.write(values)
    frame = classified(layer, pair, tmp_path / "kinds.gpkg").set_index("name")
    assert frame.loc["lake grows", "kind"] == "water gain"
    assert pd.isna(frame.loc["felled", "kind"])
    assert np.isnan(frame.loc["felled", "ndvi_before"])
    assert frame.loc["shed", "kind"] == "vegetation loss"


def test_objects_are_found_without_near_infrared_and_in_fine_pixels_only(tmp_path, layer):
    images = [write_raster(tmp_path / f"v{i}.tif", paint(i, i, ("green", "red"))) for i in (0, 1)]
    options = geochange.KindOptions(band_roles="green=1,red=2")
    geochange.kinds(layer, *images, tmp_path / "fine.gpkg", options)
    fine = read(tmp_path / "fine.gpkg").set_index("name")["kind"]
    assert (fine["shed"], fine["torn down"]) == ("object appeared", "object vanished")
    coarse = PLACE @ Affine.scale(5)
    images = [write_raster(tmp_path / f"c{i}.tif", paint(i, i, ("green", "red")), transform=coarse) for i in (0, 1)]
    frame = boxes()
    frame.geometry = frame.geometry.affine_transform([5, 0, 0, 5, -4 * PLACE.c, -4 * PLACE.f])
    frame.to_file(tmp_path / "coarse.gpkg", layer="changes")
    geochange.kinds(tmp_path / "coarse.gpkg", *images, tmp_path / "out.gpkg", options)
    assert not read(tmp_path / "out.gpkg")["kind"].str.startswith("object").any()


def test_bands_may_name_themselves(tmp_path, layer, pair):
    with rasterio.open(pair[0], "r+") as dataset:
        dataset.descriptions = ("green", "Red", "NIR", "swir16")
    geochange.kinds(layer, *pair, tmp_path / "kinds.gpkg")
    assert read(tmp_path / "kinds.gpkg")["kind"].tolist() == [*EXPECTED.values()]


def one_change(path):
    """A change that holds three kinds, and a part that has not changed."""
    left, top = PLACE @ (0, 0)
    box = shapely.box(left, top - 2 * 105, left + 2 * 130, top)
    frame = geopandas.GeoDataFrame({"id": [12], "score_mean": [0.7], "area_m2": [1.0]}, geometry=[box], crs=UTM)
    frame.to_file(path, layer="changes")
    return str(path)


def test_changes_are_cut_where_their_kind_changes(tmp_path, pair):
    frame = classified(one_change(tmp_path / "one.gpkg"), pair, tmp_path / "kinds.gpkg", split_kinds=True)
    assert frame["area_px"].sum() == 105 * 130
    assert frame["area_m2"].tolist() == (frame["area_px"] * 4.0).tolist()
    assert set(frame["parent"]) == {12}
    assert set(frame["score_mean"]) == {0.7}
    assert frame["id"].tolist() == [*range(1, len(frame) + 1)]
    sizes = frame.groupby("kind")["area_px"].sum()
    for name in ("lake grows", "lake shrinks", "felled", "built"):
        rows, cols, *_ = PLACES[name]
        expected = (rows.stop - rows.start) * (cols.stop - cols.start)
        assert sizes[EXPECTED[name]] == pytest.approx(expected, rel=0.02)
    assert shapely.is_valid(frame.geometry.to_numpy()).all()


def test_pieces_cover_what_was_cut_and_small_ones_go(tmp_path, pair):
    layer = one_change(tmp_path / "one.gpkg")
    every, large, wide = (
        classified(layer, pair, tmp_path / f"{least}.gpkg", split_kinds=True, min_area=least)
        for least in (0, "1600px", "5960m2")
    )
    assert every.union_all().area == pytest.approx(105 * 130 * 4)
    assert len(large) == (every["area_px"] >= 1600).sum()
    assert 0 < len(wide) == (every["area_px"] >= 1490).sum() < len(every)


def test_detect_tells_what_kinds_tells(tmp_path, pair):
    options = {"detector": "change-vector", "kinds": True, "band_roles": ROLES}
    found = geochange.detect(*pair, tmp_path / "out", **options)
    plain = geochange.detect(*pair, tmp_path / "plain", detector="change-vector")
    geochange.kinds(plain.layer, *pair, tmp_path / "kinds.gpkg", geochange.KindOptions(band_roles=ROLES))
    expected, frame = read(tmp_path / "kinds.gpkg"), read(found.layer)
    assert len(frame) > 3
    assert expected.drop(columns="geometry").equals(frame.drop(columns="geometry"))
    assert found.record["kinds"]["counts"] == frame["kind"].value_counts().to_dict()
    assert json.loads((tmp_path / "out" / "changes.geojson").read_text())["features"][0]["properties"]["kind"] in KINDS


def test_a_run_counts_the_pieces_that_its_layer_holds(tmp_path, pair):
    options = {
        "detector": "change-vector",
        "kinds": True,
        "band_roles": ROLES,
        "split_kinds": True,
        "threshold": 0,
        "min_area": "30px",
    }
    found = geochange.detect(*pair, tmp_path / "out", **options)
    whole = geochange.detect(*pair, tmp_path / "whole", **{**options, "split_kinds": False})
    frame = read(found.layer)
    assert frame["area_px"].min() >= 30
    assert len(frame) != len(read(whole.layer)) == whole.record["changes"]["count"]
    assert found.record["changes"] == {
        "count": len(frame),
        "area_px": frame["area_px"].sum(),
        "area_m2": pytest.approx(frame["area_m2"].sum()),
    }
    assert sum(found.record["kinds"]["counts"].values()) == len(frame)


def test_the_style_draws_kinds(layer, pair, tmp_path):
    classified(layer, pair, tmp_path / "kinds.gpkg")
    with closing(sqlite3.connect(tmp_path / "kinds.gpkg")) as database:
        (style,) = database.execute("SELECT styleQML FROM layer_styles").fetchone()
    assert 'attr="kind"' in style
    assert all(f'value="{kind}"' in style for kind in KINDS)


@pytest.mark.filterwarnings("ignore:'crs' was not provided")  # that is the point of it
def test_what_cannot_be_classified_is_refused(layer, pair, tmp_path, run):
    out = tmp_path / "kinds.gpkg"
    refused(run("kinds", layer, *pair, "-o", out), "--band-roles", "0.tif")
    refused(run("kinds", layer, *pair, "-o", out, "--band-roles", "nir=9,red=1"), "nir=9", "1..4")
    refused(run("kinds", layer, *pair, "-o", out, "--band-roles", "blue=1,thermal=2"), "no change can be classified")
    refused(run("kinds", layer, *pair, "-o", out, "--band-roles", ROLES, "--indices", "EVI"), "EVI needs the band blue")
    refused(run("detect", *pair, "-o", tmp_path / "o", "--band-roles", ROLES), "--kinds")
    refused(run("detect", *pair, "-o", tmp_path / "o", "--kinds"), "--band-roles")
    assert not (tmp_path / "o").exists()
    elsewhere = boxes()
    elsewhere.geometry = elsewhere.translate(50_000)
    elsewhere.to_file(tmp_path / "elsewhere.gpkg")
    with pytest.raises(GridMismatch, match="none of the 6 changes"):
        geochange.kinds(tmp_path / "elsewhere.gpkg", *pair, out, geochange.KindOptions(band_roles=ROLES))
    boxes().set_crs(None, allow_override=True).to_file(tmp_path / "nowhere.gpkg")
    with pytest.raises(GridMismatch, match="give both a CRS"):
        geochange.kinds(tmp_path / "nowhere.gpkg", *pair, out, geochange.KindOptions(band_roles=ROLES))
    with pytest.raises(BandMismatch):
        geochange.kinds(layer, *pair, out)
    with pytest.raises(BadOption, match=r"min-area -1.0 must be pixels"):
        geochange.KindOptions(min_area=-1)
    assert not out.exists()


def test_the_command_says_how_many_of_each_kind(layer, pair, tmp_path, run):
    code, out, _ = run("kinds", layer, *pair, "-o", tmp_path / "a.gpkg", "--band-roles", ROLES, "--json")
    assert code == 0
    assert json.loads(out)["kinds"] == {
        "vegetation loss": 2,
        **dict.fromkeys(("water gain", "water loss", "built-up gain", "built-up loss"), 1),
    }
    assert "water gain" in run("kinds", layer, *pair, "-o", tmp_path / "b.gpkg", "--band-roles", ROLES)[1]


NAIP = SHARED / "naip_wetlands"


@pytest.mark.skipif(not NAIP.exists(), reason="real imagery is not beside the project")
def test_lakes_of_north_dakota_grow(tmp_path):
    images = NAIP / "naip_20090818.tif", NAIP / "naip_20120731.tif"
    part = (487_000.0, 5_206_500.0, 489_000.0, 5_208_500.0)
    found = geochange.detect(*images, tmp_path / "out", align=True, min_area=50, aoi=part, formats=("gpkg",))
    options = geochange.KindOptions(band_roles="red=1,green=2,blue=3,nir=4", split_kinds=True)
    geochange.kinds(found.layer, *images, tmp_path / "kinds.gpkg", options)
    frame = read(tmp_path / "kinds.gpkg")
    areas = frame.groupby("kind")["area_m2"].sum()
    assert areas["water gain"] > 5 * areas["water loss"]

"""Columns of polygons that are measured in rasters: means, the likeliest interval, and its dates."""

import json
from dataclasses import replace

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.features import rasterize

import geochange
from geochange.detectors.networks.checkpoint import Checkpoint, load_checkpoint
from geochange.detectors.networks.registry import build_network
from geochange.polygons.layer_means import centre_within, dates_of, mean_within
from geochange.scenes.interpretation import date_in_name
from tests.commands import refused
from tests.small_networks import lively, save_small
from tests.stand_ins import changed_pair, write_raster

SHAPE = (40, 60)


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    values = np.random.default_rng(0).random((2, *SHAPE)).astype(np.float32)
    values[:, 10:20, 10:20] = np.nan
    path = write_raster(tmp_path_factory.mktemp("means") / "r.tif", values, nodata=np.nan)
    with rasterio.open(path) as dataset:
        yield dataset, values


@settings(max_examples=50)
@given(st.integers(0, 59), st.integers(0, 39), st.integers(1, 30), st.integers(1, 20), st.booleans())
def test_means_are_those_of_the_pixels_inside(raster, left, top, width, height, hole):
    dataset, values = raster
    shape = shapely.box(left, top, min(left + width, 60), min(top + height, 40))
    if hole and width > 4 and height > 4:
        shape = shape.difference(shapely.box(left + 1, top + 1, left + 3, top + 3))
    inside = rasterize([shape], SHAPE).astype(bool)
    found = mean_within(dataset, shape)
    for band, each in zip(values, found, strict=True):
        known = band[inside & np.isfinite(band)]
        assert np.isnan(each) if not known.size else each == pytest.approx(known.mean(), rel=1e-6)


def test_pixels_that_point_to_one_place_name_it(tmp_path):
    rows, cols = np.indices(SHAPE)
    values = np.stack([20.25 - (cols + 0.5), 7.5 - (rows + 0.5)]).astype(np.float32)
    values[:, 5, 5:9] = np.nan
    path = write_raster(tmp_path / "place.tif", values, nodata=np.nan)
    with rasterio.open(path) as dataset:
        for shape in (shapely.box(2, 3, 9, 12), shapely.box(-1, 0, 60, 40), shapely.Point(30, 20).buffer(6)):
            np.testing.assert_allclose(centre_within(dataset, shape), [20.25, 7.5], atol=1e-5)
        assert np.isnan(centre_within(dataset, shapely.box(5, 5, 9, 6))).all()


def test_a_network_that_estimates_size_and_place_leaves_them_as_columns(run, tmp_path):
    pair = [write_raster(tmp_path / f"{k}.tif", date) for k, date in enumerate(changed_pair((70, 96)))]
    about = load_checkpoint(save_small(tmp_path / "small.pt")).about
    options = {**about.options, "size": True, "place": True}
    torch.manual_seed(0)
    network = lively(build_network("attention-net", options))
    with torch.no_grad():
        network.point[-1].bias += torch.tensor([2.0, -1.0])
    checkpoint = Checkpoint(replace(about, options=options), network.state_dict())
    checkpoint.save(tmp_path / "two.pt")
    arguments = ("detect", *pair, "--checkpoint", tmp_path / "two.pt", "--layers", "size,place")
    code, _, errors = run(*arguments, "-o", tmp_path / "out")
    assert code == 0, errors
    layer = geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="changes")
    with (
        rasterio.open(tmp_path / "out" / "place.tif") as dataset,
        rasterio.open(tmp_path / "out" / "size.tif") as other,
    ):
        place, size, transform = dataset.read(), other.read(1), dataset.transform
    rows, cols = np.indices(size.shape) + 0.5
    assert len(layer) > 1
    for row in layer.itertuples():
        inside = rasterize([row.geometry], size.shape, transform=transform).astype(bool)
        at = transform @ ((cols + place[0])[inside].mean(), (rows + place[1])[inside].mean())
        assert (row.centre_x, row.centre_y) == pytest.approx(at, abs=1e-3)
        assert row.size == pytest.approx(size[inside].mean(), rel=1e-5)
    code, out, errors = run("evaluate", tmp_path / "out" / "changes.gpkg", tmp_path / "out" / "changes.gpkg", "--json")
    assert code == 0, errors
    errors = json.loads(out)["estimates"]
    distances = np.hypot(layer.centre_x - layer.centroid.x, layer.centre_y - layer.centroid.y)
    assert errors["place"] == {"count": len(layer), "estimated": pytest.approx(distances.mean()), "outlined": 0.0}
    assert errors["size"]["estimated"] == pytest.approx(abs(layer["size"] / layer.area_px - 1).mean())
    assert errors["size"]["outlined"] == 0


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("1985.tif", "1985"), ("S2A_20240702T104500.tif", "2024-07-02"), ("scene_2024-07-02.tif", "2024-07-02"),
        ("a/b_202407.tif", "2024-07"), ("LC08_20240702_x.tif", "2024-07-02"), ("tile12345.tif", None), ("x.tif", None),
    ],
)  # fmt: skip
def test_dates_are_read_from_names(name, date):
    assert date_in_name(name) == date


def test_given_dates_go_before_tags_and_tags_before_names():
    names = ["1985.tif", "1990.tif"]
    assert dates_of((), ["2001-01-01", None], names) == ("2001-01-01", "1990")
    assert dates_of(("a", "b"), ["2001-01-01", None], names) == ("a", "b")


@pytest.fixture
def series(tmp_path):
    images = [*changed_pair((96, 128), seed=1), changed_pair((96, 128), seed=2)[1]]
    years = (1985, 1990, 1995)
    return [write_raster(tmp_path / f"{year}.tif", image) for year, image in zip(years, images, strict=True)]


def test_polygons_of_a_series_have_the_interval_of_change_and_its_dates(run, series, tmp_path):
    pytest.importorskip("torch")
    checkpoint = save_small(tmp_path / "gru.pt", "conv-gru")
    out = tmp_path / "out"
    code, _, errors = run("detect", *series, "-o", out, "--checkpoint", checkpoint, "--layers", "interval")
    assert code == 0, errors
    layer, years = geopandas.read_file(out / "changes.gpkg", layer="changes"), (1985, 1990, 1995)
    assert len(layer) > 0
    with rasterio.open(out / "interval.tif") as dataset:
        transform, values = dataset.transform, dataset.read()
    for row in layer.itertuples():
        inside = rasterize([row.geometry], values.shape[1:], transform=transform).astype(bool)
        means = values[:, inside].mean(axis=1)
        assert row.interval == means.argmax() + 1
        assert row.interval_probability == pytest.approx(means.max(), rel=1e-5)
        assert (row.changed_after, row.changed_by) == (str(years[row.interval - 1]), str(years[row.interval]))


def test_means_of_layers_are_columns_in_every_format(tmp_path):
    pair = [write_raster(tmp_path / f"{k}.tif", date) for k, date in enumerate(changed_pair((96, 128)))]
    found = geochange.detect(
        *pair, tmp_path / "out", detector="ir-mad", layers=("chi-square",), formats=("gpkg", "geojson", "parquet")
    )
    frames = [found.changes(), geopandas.read_file(found.folder / "changes.geojson")]
    frames.append(geopandas.read_parquet(found.folder / "changes.parquet"))
    assert len(frames[0]) > 0
    for frame in frames:
        np.testing.assert_allclose(frame.chi_square, frames[0].chi_square, rtol=1e-6)
    with rasterio.open(found.folder / "chi-square.tif") as dataset:
        values, transform = dataset.read(1, masked=True), dataset.transform
    first = frames[0].iloc[0]
    inside = rasterize([first.geometry], values.shape, transform=transform).astype(bool)
    assert first.chi_square == pytest.approx(float(values[inside].mean()), rel=1e-5)


def test_as_many_dates_as_images_are_needed(run, series, tmp_path):
    given = ("detect", series[0], series[2], "-o", tmp_path / "out", "-d", "difference", "--dates")
    refused(run(*given, "1985,1990,1995"), "3 dates are given for 2 images")
    code, _, errors = run(*given, "1985,1995")
    assert code == 0, errors
    layer = geopandas.read_file(tmp_path / "out" / "changes.gpkg", layer="changes")
    assert set(layer.date_before) == {"1985"}
    assert set(layer.date_after) == {"1995"}

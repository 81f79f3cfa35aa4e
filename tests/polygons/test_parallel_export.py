"""Layers that workers write together are those that one process writes."""

import json

import numpy as np
import pandas as pd
import pytest
import shapely

from geochange.engine.cluster import ClusterOptions
from geochange.engine.work import open_work
from geochange.errors import BadOption, OutputInTheWay
from geochange.polygons.export import LAYER_WRITERS
from geochange.polygons.features import ChangeLayer
from geochange.polygons.layer_means import LayerMeans
from geochange.polygons.parallel_export import write_layers
from geochange.polygons.regions import concatenate
from geochange.polygons.store import RegionStore
from tests.polygons.test_export import PLAIN, UTM, read
from tests.region_cases import Map, trace_whole, write_layer


@pytest.fixture(scope="module")
def regions():
    random = np.random.default_rng(0)
    classes = random.integers(0, 2, (40, 30)).astype(np.uint8)
    return trace_whole(Map(classes, random.integers(1, 255, classes.shape), np.ones(classes.shape, bool)))


@pytest.mark.parametrize("rows", [(0,), (0, 16, 24), range(0, 40, 4)], ids=["one band", "three", "ten"])
@pytest.mark.parametrize("grid", [UTM, PLAIN], ids=["UTM", "no CRS"])
def test_they_hold_the_same_features_in_the_same_order_whatever_the_bands(regions, tmp_path, rows, grid):
    layer = ChangeLayer(grid=grid, date_before="2009-07-01")
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    with RegionStore(tmp_path, rows) as store, open_work(ClusterOptions(threads=3), None) as work:
        store.add(regions)
        write_layers([tmp_path / "many" / f"a{each}" for each in LAYER_WRITERS], store, layer, LayerMeans(()), work)
    chunks = [regions.where(regions.first[:, 0] // 4 == k) for k in range(10)]
    for suffix in LAYER_WRITERS:
        one, many = tmp_path / "one" / f"a{suffix}", tmp_path / "many" / f"a{suffix}"
        write_layer(one, chunks, layer)
        if suffix == ".geojson":
            assert one.read_bytes() == many.read_bytes()
        else:
            pd.testing.assert_frame_equal(read(many), read(one))
    assert {path.name for path in tmp_path.iterdir()} == {"one", "many"}


@pytest.mark.parametrize("suffix", LAYER_WRITERS)
def test_a_layer_without_regions_is_one(tmp_path, suffix):
    path = tmp_path / f"none{suffix}"
    with RegionStore(tmp_path) as store, open_work(None, None) as work:
        write_layers([path], store, ChangeLayer(grid=UTM), LayerMeans(()), work)
    if suffix != ".geojson":
        assert len(read(path)) == 0
    else:
        assert json.loads(path.read_text())["features"] == []
        write_layer(tmp_path / "alone.geojson", [], ChangeLayer(grid=UTM))
        assert path.read_bytes() == (tmp_path / "alone.geojson").read_bytes()


def test_an_unknown_suffix_is_refused_before_any_work(regions, tmp_path):
    with RegionStore(tmp_path) as store, open_work(None, None) as work:
        store.add(regions)
        with pytest.raises(BadOption, match="vector layers end in"):
            write_layers([tmp_path / "a.gpkg", tmp_path / "a.shp"], store, ChangeLayer(grid=UTM), LayerMeans(()), work)
    assert not list(tmp_path.iterdir())


def test_ids_run_through_all_bands(regions, tmp_path):
    with RegionStore(tmp_path, range(0, 40, 4)) as store, open_work(None, None) as work:
        store.add(regions)
        write_layers([tmp_path / "a.parquet"], store, ChangeLayer(grid=PLAIN), LayerMeans(()), work)
        back = concatenate(list(store.chunks()))
    frame = read(tmp_path / "a.parquet")
    assert frame["id"].tolist() == list(range(1, len(regions) + 1))
    assert shapely.equals_exact(
        shapely.normalize(frame.geometry.to_numpy()),
        shapely.normalize(shapely.transform(back.polygons, lambda xy: xy * (1, -1))),
    ).all()


def test_where_one_file_cannot_be_written_it_is_told_and_nothing_half_written_is_left(regions, tmp_path):
    good, bad = tmp_path / "a.geojson", tmp_path / "missing" / "a.geojson"
    with RegionStore(tmp_path, range(0, 40, 4)) as store, open_work(ClusterOptions(threads=1), None) as work:
        store.add(regions)
        with pytest.raises(OutputInTheWay, match="cannot write"):
            write_layers([good, bad], store, ChangeLayer(grid=UTM), LayerMeans(()), work)
    assert {path.name for path in tmp_path.iterdir()} <= {"a.geojson"}  # the other, where it was done before
    assert not good.exists() or len(json.loads(good.read_text())["features"]) == len(regions)


def test_no_file_is_no_work(regions, tmp_path):
    with RegionStore(tmp_path) as store, open_work(None, None) as work:
        store.add(regions)
        write_layers([], store, ChangeLayer(grid=UTM), LayerMeans(()), work)
    assert not list(tmp_path.iterdir())

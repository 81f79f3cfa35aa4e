"""geochange.detectors.normalisation, and what commands do with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

import geochange
from geochange.arrays import Array
from geochange.detectors.normalisation import fit_normalisation, orthogonal_line
from geochange.detectors.statistics import moments_of
from geochange.engine.cluster import ClusterOptions
from geochange.engine.lattice import SceneBlocks
from geochange.engine.work import open_work
from geochange.engine.workers import Needs
from geochange.errors import BadOption, NothingValid
from geochange.review.run import open_run
from geochange.scenes.grid import Tile
from geochange.scenes.pairing import Scene, open_scene
from tests.stand_ins import textured, write_raster

SHAPE = (160, 200)


def pair(gains: Array, offsets: Array, seed: int = 0, changed: float = 0.2) -> tuple[Array, Array]:
    """Two float dates, the second with gains, offsets and noise of its own, and a strip that has changed."""
    rng, before = np.random.default_rng(seed), textured(SHAPE, seed=seed, dtype="float32")
    after = (before - offsets[:, None, None]) / gains[:, None, None]
    strip = round(changed * SHAPE[1])
    if strip:
        after[:, :, :strip] = textured(SHAPE, seed=seed + 99, dtype="float32")[:, ::-1, :strip] * 0.3 + 0.9
    noisy = [date + rng.normal(0, 0.003, date.shape) for date in (before, after)]
    return noisy[0].astype("float32"), noisy[1].astype("float32")


def scene_of(folder, dates: tuple[Array, Array]) -> Scene:
    return open_scene([write_raster(folder / f"{place}.tif", date) for place, date in enumerate(dates)])


def lines_of(scene: Scene) -> Array:
    with open_work(ClusterOptions(), None, Needs(inputs=[])) as work:
        return np.array(fit_normalisation(scene, SceneBlocks(scene, work)))


@given(
    gains=st.lists(st.floats(0.5, 2), min_size=3, max_size=3),
    offsets=st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=3),
)
@settings(max_examples=8)
def test_gain_and_offset_are_found_although_a_fifth_has_changed(tmp_path_factory, gains, offsets):
    scene = scene_of(tmp_path_factory.mktemp("pair"), pair(np.array(gains), np.array(offsets)))
    found = lines_of(scene)
    np.testing.assert_allclose(found[:, 0], gains, rtol=0.05)
    np.testing.assert_allclose(found[:, 1], offsets, atol=0.05)


def test_swapped_dates_give_the_inverse(tmp_path):
    scene = scene_of(tmp_path, pair(np.array([0.8, 1.2, 1.5]), np.array([0.1, -0.1, 0.2])))
    there, back = lines_of(scene), lines_of(replace(scene, sources=scene.sources[::-1]))
    np.testing.assert_allclose(there[:, 0] * back[:, 0], 1, rtol=1e-6)
    np.testing.assert_allclose(there[:, 0] * back[:, 1] + there[:, 1], 0, atol=1e-6)


def test_the_line_is_that_of_an_orthogonal_regression(tmp_path):
    rng = np.random.default_rng(3)
    x = rng.normal(5, 2, 2000)
    pixels = np.stack([0.7 * x + 1 + rng.normal(0, 0.3, x.size), x + rng.normal(0, 0.3, x.size)])
    gain, offset = orthogonal_line(moments_of(pixels), 0, 1)
    ((up, along),) = PCA(1).fit(pixels.T).components_
    np.testing.assert_allclose(gain, up / along, rtol=1e-9)
    np.testing.assert_allclose(offset, pixels[0].mean() - gain * pixels[1].mean(), rtol=1e-9)


def test_more_dates_and_pairs_without_an_unchanged_pixel_are_refused(tmp_path):
    scene = scene_of(tmp_path, pair(np.ones(3), np.zeros(3)))
    with pytest.raises(BadOption, match="compares 2 dates"):
        lines_of(replace(scene, sources=(*scene.sources, scene.sources[0])))
    few = scene_of(tmp_path, (np.arange(60, dtype="float32").reshape(1, 6, 10), np.ones((1, 6, 10), "float32")))
    with pytest.raises(NothingValid):
        lines_of(few)


def test_a_band_that_falls_as_its_earlier_self_rises_is_not_normalised(tmp_path):
    with pytest.raises(NothingValid, match="band 2 falls"):
        lines_of(scene_of(tmp_path, pair(np.array([1.0, -0.8, 1.2]), np.zeros(3))))


def test_a_normalised_pair_has_one_scale(tmp_path):
    before, after = pair(np.array([0.5, 1.5, 1.0]), np.array([0.2, -0.2, 0.0]))
    names = [write_raster(tmp_path / f"{place}.tif", date) for place, date in enumerate((before, after))]
    found = geochange.detect(*names, tmp_path / "out", normalize=True, detector="change-vector")
    lines = np.array(found.record["scene"]["normalisation"])
    (_, seen), _ = open_run(found.folder).scene.read(Tile(0, 0, *SHAPE))
    np.testing.assert_allclose(seen, after * lines[:, :1, None] + lines[:, 1:, None], rtol=1e-5)
    assert np.abs(seen - before)[:, :, 60:].mean() < np.abs(after - before)[:, :, 60:].mean() / 5


def test_align_writes_normalised_values(tmp_path):
    before, after = pair(np.array([0.5, 1.5, 1.0]), np.array([0.2, -0.2, 0.0]))
    after[:, :5] = -1
    paths = [write_raster(tmp_path / f"{place}.tif", date, nodata=-1) for place, date in enumerate((before, after))]
    aligned = geochange.align(*paths, tmp_path / "aligned.tif", normalize=True)
    lines = np.array(aligned.to_dict()["normalisation"])
    with rasterio.open(aligned.path) as dataset:
        written = dataset.read()
        assert dataset.dtypes == ("float32",) * 3
    assert np.isnan(written[:, :5]).all()
    np.testing.assert_allclose(written[:, 9:], (after * lines[:, :1, None] + lines[:, 1:, None])[:, 9:], rtol=1e-4)
    assert geochange.align(*paths, tmp_path / "plain.tif").normalisation is None

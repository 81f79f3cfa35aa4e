"""geochange.scenes.clouds."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from scipy.ndimage import gaussian_filter

import geochange
from geochange.arrays import Array
from geochange.scenes.clouds import CELL, cell_means
from tests.stand_ins import SHARED, changed_pair, textured, write_raster

NAIP = SHARED / "naip_wetlands"


def under_cloud(image: Array, share: float = 0.1) -> tuple[Array, Array]:
    """An image under white, soft-edged clouds, and where these lie."""
    noise = gaussian_filter(np.random.default_rng(5).normal(size=image.shape[1:]), 20)
    opacity = np.clip((noise - np.quantile(noise, 1 - share)) / noise.std() * 3, 0, 1)
    return (image * (1 - opacity) + 250 * opacity).astype(image.dtype), opacity > 0


def clouds_of(folder, before: Array, after: Array) -> tuple[float, float]:
    names = [write_raster(folder / f"{place}.tif", date) for place, date in enumerate((before, after))]
    return geochange.check(*names).clouds


def test_means_are_of_whole_cells_with_data():
    values, valid = np.arange(2 * 20 * 17, dtype="float32").reshape(2, 20, 17), np.ones((20, 17), bool)
    valid[3, 4] = False
    means = cell_means(values, valid)
    assert means.shape == (2, 2, 2)
    assert np.isnan(means[:, 0, 0]).all()
    np.testing.assert_allclose(means[1, 1, 1], values[1, CELL : 2 * CELL, CELL : 2 * CELL].mean())


def test_clouds_of_either_date_are_seen(tmp_path):
    before, after = changed_pair((400, 400))
    cloudy, mask = under_cloud(after)
    clear = clouds_of(tmp_path, before, after)
    assert clear == (0, 0)
    none, seen = clouds_of(tmp_path, before, cloudy)
    assert none == 0
    assert mask.mean() / 4 < seen < mask.mean()
    assert clouds_of(tmp_path, cloudy, before)[0] == pytest.approx(seen, rel=0.5)


def test_check_hints_at_clouds_until_they_are_masked(tmp_path):
    before, after = changed_pair((400, 400))
    cloudy, mask = under_cloud(after)
    names = [write_raster(tmp_path / f"{place}.tif", date) for place, date in enumerate((before, cloudy))]
    (finding,) = [each for each in geochange.check(*names).findings if each.subject == "clouds"]
    assert "of AFTER is far brighter" in finding.text
    assert "--mask-after" in finding.fix
    path = write_raster(tmp_path / "mask.tif", mask[None].astype("uint8"))
    report = geochange.check(*names, mask_after=path)
    assert not [each for each in report.findings if each.subject == "clouds"]
    assert report.after.masked == pytest.approx(mask.mean(), abs=0.01)
    assert report.before.masked is None


def test_dates_that_do_not_vary_show_none(tmp_path):
    flat = np.full((3, 100, 100), 7, "uint8")
    assert clouds_of(tmp_path, flat, textured((100, 100))) == (0, 0)


@pytest.mark.skipif(not NAIP.exists(), reason=f"{NAIP} is missing")
def test_clouds_over_a_real_image_are_seen(tmp_path):
    paths = sorted(NAIP.glob("*.tif"))[-2:]
    with rasterio.open(paths[1]) as dataset:
        cloudy, _ = under_cloud(dataset.read())
        profile = dataset.profile
    with rasterio.open(tmp_path / "cloudy.tif", "w", **profile) as dataset:
        dataset.write(cloudy)
    assert geochange.check(*paths).clouds == (0, 0)
    assert geochange.check(paths[0], tmp_path / "cloudy.tif").clouds[1] > 0.02

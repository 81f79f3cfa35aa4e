"""`detect --statistics RUN`: the statistics of another run in place of a pair's own."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import rasterio

import geochange
from geochange.errors import BadOption, BandMismatch, OutputInTheWay, UnreadableInput
from tests.scenes.test_clouds import under_cloud
from tests.stand_ins import SHARED, changed_pair, write_raster

NAIP = SHARED / "naip_wetlands"


def written(folder, *dates):
    return [write_raster(folder / f"{place}.tif", date) for place, date in enumerate(dates)]


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(1)


@pytest.mark.parametrize("name", ["ir-mad", "change-vector", "slow-features", "pca-kmeans", "difference", "log-ratio"])
def test_a_run_with_its_own_statistics_is_the_same(tmp_path, name):
    paths = written(tmp_path, *changed_pair((90, 110), bands=1 if name == "log-ratio" else 3))
    first = geochange.detect(*paths, tmp_path / "first", detector=name)
    again = geochange.detect(*paths, tmp_path / "again", statistics=str(first.folder))
    assert again.record["detector"]["name"] == name
    assert again.probability.read_bytes() == first.probability.read_bytes()
    assert again.record["statistics"] == first.record["statistics"]


def assert_clouds_change_nothing(folder, before, after, cloudy, mask):
    """Neither outside a mask that both runs have, nor out of reach of one that just the cloudy one has."""
    clear = geochange.detect(before, after, folder / "clear", mask_after=mask)
    same = {"statistics": str(clear.folder)}
    clouded = geochange.detect(before, cloudy, folder / "clouded", mask_after=mask, **same)
    assert clouded.probability.read_bytes() == clear.probability.read_bytes()
    assert (clouded.folder / "changes.geojson").read_bytes() == (clear.folder / "changes.geojson").read_bytes()
    far = read(write_grown(folder, mask)) == 0
    unmasked = geochange.detect(before, after, folder / "unmasked", **same)
    np.testing.assert_array_equal(read(clouded.probability)[far], read(unmasked.probability)[far])
    bare = geochange.detect(before, cloudy, folder / "bare", **same)
    assert (read(bare.probability) != read(unmasked.probability)).any()


def write_grown(folder, mask):
    from scipy.ndimage import binary_dilation

    with rasterio.open(mask) as dataset:
        grown, profile = binary_dilation(dataset.read(1) > 0, np.ones((3, 3)), iterations=8), dataset.profile
    with rasterio.open(folder / "grown.tif", "w", **profile) as dataset:
        dataset.write(grown.astype("uint8"), 1)
    return folder / "grown.tif"


def test_clouds_under_a_mask_change_nothing(tmp_path):
    before, after = changed_pair((200, 220))
    cloudy, mask = under_cloud(after)
    names = written(tmp_path, before, after, cloudy, mask[None].astype("uint8"))
    assert_clouds_change_nothing(tmp_path, *names)


@pytest.mark.skipif(not NAIP.exists(), reason=f"{NAIP} is missing")
def test_clouds_over_a_real_image_change_nothing_under_their_mask(tmp_path):
    before, after = sorted(NAIP.glob("*.tif"))[1:3]
    aligned = geochange.align(before, after, tmp_path / "aligned.tif").path
    with rasterio.open(aligned) as dataset:
        profile = dataset.profile | {"driver": "GTiff", "photometric": "MINISBLACK"}
        cloudy, mask = under_cloud(dataset.read())
    for name, values in (("cloudy", cloudy), ("mask", mask[None].astype("uint8"))):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", **profile | {"count": len(values), "nodata": None}
        ) as dataset:
            dataset.write(values)
    assert_clouds_change_nothing(
        tmp_path, str(before), str(aligned), str(tmp_path / "cloudy.tif"), str(tmp_path / "mask.tif")
    )


def test_statistics_that_do_not_fit_are_refused(tmp_path):
    paths = written(tmp_path, *changed_pair((60, 60)))
    first = geochange.detect(*paths, tmp_path / "first", detector="ir-mad")
    same = {"statistics": str(first.folder)}
    with pytest.raises(BadOption, match="are those of ir-mad"):
        geochange.detect(*paths, tmp_path / "out", detector="change-vector", **same)
    with pytest.raises(BadOption, match="come with its options"):
        geochange.detect(*paths, tmp_path / "out", detector_options={"context": "0"}, **same)
    with pytest.raises(OutputInTheWay):
        geochange.detect(*paths, first.folder, overwrite=True, **same)
    with pytest.raises(BandMismatch, match="needs 3 bands"):
        geochange.detect(*paths, tmp_path / "out", bands=(1, 2), **same)
    with pytest.raises(UnreadableInput, match="holds no finished run"):
        geochange.detect(*paths, tmp_path / "out", statistics=str(tmp_path / "nowhere"))
    shutil.copytree(first.folder, tmp_path / "older")
    record = {key: value for key, value in first.record.items() if key != "statistics"}
    (tmp_path / "older" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UnreadableInput, match="holds no statistics"):
        geochange.detect(*paths, tmp_path / "out", statistics=str(tmp_path / "older"))
    record["statistics"] = {"numbers": {"detector": "ir-mad"}, "arrays": {"../weights": {"dtype": "O", "values": []}}}
    (tmp_path / "older" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UnreadableInput):
        geochange.detect(*paths, tmp_path / "out", statistics=str(tmp_path / "older"))
    assert not (tmp_path / "out").exists()

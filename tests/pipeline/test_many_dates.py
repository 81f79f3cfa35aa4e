"""`detect` over many dates without labels: dates, masks, nodata, columns and bytes."""

import geopandas
import numpy as np
import pytest
import rasterio

import geochange
from geochange.detectors.catalogue import SERIES
from geochange.review.run import open_run
from tests.commands import refused
from tests.stand_ins import UTM, textured, write_raster

YEARS = (2001, 2004, 2007, 2010, 2013, 2016)
SHAPE = (70, 90)
PLACE = slice(20, 40), slice(30, 60)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six dates; one place changes after 2007, and what it becomes stays; another has changed in 2016."""
    folder, rng = tmp_path_factory.mktemp("series"), np.random.default_rng(1)
    ground = textured(SHAPE).astype(float)
    paths = []
    for year in YEARS:
        date = ground + rng.normal(0, 4, ground.shape)
        date[:, *PLACE] += 60 * (year > 2007)
        date[:, 50:60, 70:85] -= 60 * (year > 2013)
        paths.append(write_raster(folder / f"{year}.tif", np.clip(date, 1, 255).astype(np.uint8), nodata=0))
    return paths


def detect(images, out, **settings):
    return geochange.detect(images[0], images[-1], out, between=images[1:-1], **settings)


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read(masked=True)


def test_polygons_have_the_interval_size_and_date_of_their_break(images, tmp_path):
    layers = ("interval", "break-date", "break-size", "breaks")
    changes = detect(images, tmp_path / "out", detector="breaks", layers=layers).changes()
    largest = changes.iloc[changes.area_px.argmax()]
    assert largest.area_px == pytest.approx(600, rel=0.05)
    assert (largest.interval, largest.changed_after, largest.changed_by) == (3, "2007", "2010")
    assert largest.interval_probability > 0.99
    assert largest.break_date == pytest.approx(2009, abs=0.05)  # between the middles of both years
    assert largest[["break_size_1", "break_size_2", "break_size_3"]].to_numpy(float) == pytest.approx([60] * 3, abs=2)
    assert largest.breaks == pytest.approx(1, abs=0.05)
    assert {"2016"} == set(changes.changed_by[changes.break_size_1 < 0])


def test_baseline_finds_what_the_last_date_departs_in(images, tmp_path):
    found = detect(images[:5], tmp_path / "before", detector="baseline").record["changes"]["area_px"]
    assert found < 30 * 20 * 1.1
    changes = detect(images, tmp_path / "out", detector="baseline", layers=("departure",)).changes()
    late = changes[changes.departure_1 < -40]
    assert late.area_px.sum() == pytest.approx(150, rel=0.1)


@pytest.mark.parametrize("detector", SERIES)
def test_blocks_threads_and_tiles_give_the_same_bytes(images, tmp_path, detector):
    layers = {"breaks": ("interval", "steps"), "baseline": ("departure",)}[detector]
    runs = [
        detect(
            images, tmp_path / str(k), detector=detector, layers=layers, tile_size=48, block_size=block, threads=threads
        )
        for k, (block, threads) in enumerate(((48, 1), (100, 2)))
    ]
    for name in ("probability.tif", "changes.geojson", *(f"{layer}.tif" for layer in layers)):
        assert len({(run.folder / name).read_bytes() for run in runs}) == 1
    whole = detect(images, tmp_path / "whole", detector=detector, dtype="float32")
    cut = detect(images, tmp_path / "cut", detector=detector, dtype="float32", tile_size=40)
    np.testing.assert_allclose(read(whole.probability), read(cut.probability), atol=1e-5)


def test_a_mask_takes_a_date_out_and_leaves_the_pixel(images, tmp_path):
    """A cloud in 2004, and one in 2016; without the masks both are changes."""
    clouded, clouds = list(images), [(1, (slice(5, 15), slice(5, 15))), (5, (slice(5, 15), slice(70, 85)))]
    masks = [""] * len(images)
    for place, where in clouds:
        with rasterio.open(images[place]) as dataset:
            date = dataset.read()
        date[:, *where], hidden = 255, np.zeros((1, *SHAPE), np.uint8)
        hidden[:, *where] = 9
        clouded[place] = write_raster(tmp_path / f"{YEARS[place]}.tif", date, nodata=0)
        masks[place] = write_raster(tmp_path / f"mask_{place}.tif", hidden)
    plain = read(detect(clouded, tmp_path / "plain", detector="breaks").probability)[0] / 254
    assert all((plain[where] >= 0.5).mean() > 0.9 for _, where in clouds)
    settings = {"masks": tuple(masks), "mask_values": "9"}
    masked = read(detect(clouded, tmp_path / "masked", detector="breaks", **settings).probability)[0] / 254
    assert all(
        (masked[where] < 0.5).mean() > 0.9 and not np.ma.getmaskarray(masked)[where].any() for _, where in clouds
    )
    after = read(detect(clouded, tmp_path / "baseline", detector="baseline", **settings).probability)[0]
    assert open_run(tmp_path / "masked").scene.dates == 6  # as it was, or it would say that inputs have changed
    hidden = np.ma.getmaskarray(after)
    assert not hidden[clouds[0][1]].any()
    assert hidden[clouds[1][1]].all()
    assert hidden.sum() == 150


def test_a_pixel_with_too_few_dates_is_nodata_and_all_others_are_scored(images, tmp_path):
    dates = []
    for place, image in enumerate(images):
        with rasterio.open(image) as dataset:
            date = dataset.read()
        date[:, :9, :9] = 0 if place != 2 else date[:, :9, :9]
        date[:, 60:, :9] = 0 if place < 3 else date[:, 60:, :9]
        dates.append(write_raster(tmp_path / f"{YEARS[place]}.tif", date, nodata=0))
    run = detect(dates, tmp_path / "out", detector="breaks", layers=("interval",))
    expected = np.zeros(SHAPE, bool)
    expected[:9, :9] = True
    for path in (run.probability, run.file("interval.tif")):
        np.testing.assert_array_equal(np.ma.getmaskarray(read(path))[0], expected)


def test_dates_that_are_given_go_before_those_of_names(images, tmp_path):
    dates = ("1990", "1991-06", "1992-07-01", "1993", "1994", "1999")
    record = detect(images, tmp_path / "out", detector="breaks", dates=dates).record["detector"]
    assert record["times"] == pytest.approx([1990.5, 1991.4, 1992.5, 1993.5, 1994.5, 1999.5], abs=0.1)
    record = detect(images, tmp_path / "free", detector="breaks", dates=tuple("abcdef")).record["detector"]
    assert record["times"] == [1, 2, 3, 4, 5, 6]


def test_a_change_of_a_mask_is_no_resumed_run(images, tmp_path):
    mask = write_raster(tmp_path / "mask.tif", np.zeros((1, *SHAPE), np.uint8))
    masks = ("", mask, "", "", "", "")
    first = detect(images, tmp_path / "one", detector="breaks", masks=masks).record["identity"]["contents"]
    write_raster(tmp_path / "mask.tif", np.ones((1, *SHAPE), np.uint8))
    second = detect(images, tmp_path / "two", detector="breaks", masks=masks).record["identity"]["contents"]
    assert first.keys() == second.keys() >= {"mask 2"}
    assert first["mask 2"] != second["mask 2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--masks", "a.tif,b.tif"], "2 masks are given for 6 images; give one for each"),
        (["--masks", ",,,,,", "--mask-values", "9"], "needs --mask-before or --mask-after, or --masks"),
        (["--masks", "a.tif,,,,,", "--mask-after", "b.tif"], "leave out --mask-before and --mask-after"),
        (["--dates", "2001,2004,2003,2010,2013,2016"], "give the images in the order of their dates"),
        (["--option", "lasting=0"], "lasting is 0 dates; it must be 1 at least"),
    ],
)
def test_mistakes_get_one_line(run, images, tmp_path, options, message):
    refused(run("detect", *images, "-d", "breaks", "-o", tmp_path / "out", *options), message)


def test_a_projected_scene_keeps_its_grid(images, tmp_path):
    changes = detect(images, tmp_path / "out", detector="breaks", formats=("gpkg",)).changes()
    assert isinstance(changes, geopandas.GeoDataFrame)
    assert changes.crs == UTM

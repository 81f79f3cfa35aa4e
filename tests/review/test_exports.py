"""A review as COCO and as rasters: what pycocotools and rasterio make of them."""

import contextlib
import io
import shutil

import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize

import geochange
from geochange.datasets.coco import runs_of
from geochange.errors import BadOption, OutputInTheWay
from geochange.review.saved import SavedReview
from geochange.scenes.layers import in_pixels
from tests.review.conftest import record

TOLD = {1: "kept", 2: "rejected", 3: "unsure", 4: "kept", 5: "kept"}


@pytest.fixture(scope="module")
def reviewed(finished, tmp_path_factory):
    out = tmp_path_factory.mktemp("reviewed") / "out"
    shutil.copytree(finished, out)
    record(
        out,
        ("decide", {n: {"status": s, "comment": f"c{n} ü"} for n, s in TOLD.items()}),
        ("look", {"cell 0 1": {"looked": True}}),
    )
    return out


def masks_of(out):
    """Number -> (y, x) pixels of each change."""
    saved = SavedReview.open(out)
    numbers = saved.base.columns.ids.tolist()
    shapes = saved.base.shapes(numbers)
    polygons = in_pixels(shapely.from_wkb([shapes[number] for number in numbers]), saved.run.scene.grid)
    return {n: rasterize([p], saved.run.scene.shape) > 0 for n, p in zip(numbers, polygons, strict=True)}


ITS_OWN = "ignore:__array__ implementation:DeprecationWarning"  # of pycocotools


@pytest.mark.filterwarnings(ITS_OWN)
@pytest.mark.parametrize(("only", "count"), [("all", None), ("decided", 5), ("kept", 3)])
def test_coco_has_the_masks_of_the_changes(reviewed, tmp_path, only, count):
    coco = pytest.importorskip("pycocotools.coco")
    path = geochange.review(reviewed, export=tmp_path / "x.json", only=only).file
    with contextlib.redirect_stdout(io.StringIO()):
        read = coco.COCO(str(path))
    masks = masks_of(reviewed)
    annotations = read.loadAnns(read.getAnnIds())
    assert len(annotations) == (count or len(masks))
    for each in annotations[:: max(1, len(annotations) // 40)]:
        mask = masks[each["id"]]
        np.testing.assert_array_equal(read.annToMask(each) > 0, mask)
        assert each["area"] == mask.sum()
        rows, cols = np.nonzero(mask)
        left, top, width, height = each["bbox"]
        assert (left, top, left + width, top + height) == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
        assert each["attributes"]["status"] == TOLD.get(each["id"], "unreviewed")
        assert each["attributes"]["comment"] == (f"c{each['id']} ü" if each["id"] in TOLD else "")
    saved = SavedReview.open(reviewed)
    (image,) = read.loadImgs(read.getImgIds())
    assert (image["height"], image["width"]) == saved.run.scene.shape
    assert (image["before"], image["file_name"]) == ("before.tif", "after.tif")
    assert read.loadCats(read.getCatIds()) == [{"id": 1, "name": "change"}]


@pytest.mark.filterwarnings(ITS_OWN)
@pytest.mark.parametrize("seed", range(6))
def test_runs_are_those_of_pycocotools(seed):
    mask_api = pytest.importorskip("pycocotools.mask")
    drawn = np.random.default_rng(seed)
    shape, size = (9, 7), drawn.integers(1, 8, 2)
    row, col = drawn.integers(0, shape[0] - size[0] + 1), drawn.integers(0, shape[1] - min(size[1], 7) + 1)
    part = drawn.random((size[0], min(size[1], 7))) < [0.5, 1.1][seed % 2]
    whole = np.zeros(shape, bool)
    whole[row : row + part.shape[0], col : col + part.shape[1]] = part
    runs = runs_of(part, (int(row), int(col)), shape)
    encoded = mask_api.frPyObjects({"size": list(shape), "counts": runs}, *shape)
    np.testing.assert_array_equal(mask_api.decode(encoded) > 0, whole)


def test_a_raster_holds_the_labels_that_training_reads(reviewed, tmp_path):
    path = geochange.review(reviewed, export=tmp_path / "x.tif").file
    saved, masks = SavedReview.open(reviewed), masks_of(reviewed)
    expected = saved.labels().draw(saved.run.scene.grid.area, np.ones(saved.run.scene.shape, bool))
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)
        assert (dataset.nodata, dataset.crs.to_epsg()) == (255, 32633)
        assert dataset.transform == saved.run.scene.grid.transform
    assert (expected[masks[2]] == 0).all()
    assert (expected[masks[1]] == 1).any()
    assert not (expected[masks[1]] == 0).any()
    assert (expected[masks[3]] == 255).all()


def test_a_raster_of_what_was_kept_is_a_mask(reviewed, tmp_path):
    path = geochange.review(reviewed, export=tmp_path / "x.tif", only="kept").file
    masks = masks_of(reviewed)
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), masks[1] | masks[4] | masks[5])
        assert dataset.nodata is None


@pytest.mark.parametrize("suffix", [".json", ".tif"])
def test_files_that_are_there_stay_unless_asked(reviewed, tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    geochange.review(reviewed, export=path)
    before = path.read_bytes()
    with pytest.raises(OutputInTheWay):
        geochange.review(reviewed, export=path, only="kept")
    assert path.read_bytes() == before
    geochange.review(reviewed, export=path, only="kept", overwrite=True)
    assert path.read_bytes() != before


@pytest.mark.parametrize("name", ["run.json", "probability.tif", "changes.gpkg", "review.gpkg", "review/base.gpkg"])
def test_nothing_of_the_run_is_replaced(reviewed, name):
    files = {path: path.read_bytes() for path in reviewed.rglob("*") if path.is_file()}
    with pytest.raises((OutputInTheWay, BadOption)):
        geochange.review(reviewed, export=reviewed / name, overwrite=True)
    assert {path: path.read_bytes() for path in reviewed.rglob("*") if path.is_file()} == files

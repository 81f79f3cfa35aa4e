"""`geochange explain`: where a network looked."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.commands import refused
from tests.stand_ins import PLACE, UTM, write_pair

torch = pytest.importorskip("torch")

from geochange.detectors.networks.explanation import integrated_gradients  # noqa: E402
from geochange.detectors.networks.registry import build_network  # noqa: E402
from geochange.evaluation.deletion import check_by_deletion, most_marked  # noqa: E402
from tests.small_models import SmallModel, write_exported, write_onnx, write_torchscript  # noqa: E402
from tests.small_networks import SMALL, lively, save_small  # noqa: E402

SHAPE = (150, 190)


def brighter(dates):
    """Logits (1, 1, y, x): how much brighter the second date's first band is."""
    return (dates[:, 1] - dates[:, 0])[:, :1]


def test_a_map_shows_what_raises_the_score_at_which_date():
    dates = torch.zeros(1, 2, 2, 20, 20)
    dates[0, 1, 0, 4:8, 10:14] = 3.0
    dates[0, 0, 0, 15:18, 2:5] = 3.0  # of the first date: it lowers the score
    dates[0, :, 1] = torch.rand(20, 20)  # a band that nothing depends on
    maps = integrated_gradients(brighter, dates, torch.ones(1, 20, 20))
    expected = torch.zeros(2, 20, 20)
    expected[:, 4:8, 10:14] = 1  # half of the difference is the first date's
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize("name", ["attention-net", "change-rcnn", "siamese-unet"])
def test_maps_of_networks_lie_in_0_to_1_within_their_field_and_leave_the_network_as_it_was(name):
    options = {"change-rcnn": {"width": 8}, **SMALL}[name]
    network = lively(build_network(name, options)).eval()
    dates = torch.randn(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = network(dates)
    wanted = torch.zeros(1, 64, 64)
    wanted[0, 30:34, 30:34] = 1
    maps = integrated_gradients(network, dates, wanted)
    assert maps.shape == (2, 64, 64)
    assert 0 <= maps.min() < maps.max() == 1
    torch.testing.assert_close(network(dates), before, rtol=0, atol=0)


def test_what_is_added_on_the_way_is_the_whole_difference():
    """Completeness, of a score that is not linear; in 0..1 it is a share of the most of one pixel."""
    dates = torch.rand(1, 2, 1, 6, 6, generator=torch.Generator().manual_seed(1))

    def squares(at):
        return (at[:, 1] - at[:, 0]) ** 2

    maps = integrated_gradients(squares, dates, torch.ones(1, 6, 6))
    difference = squares(dates)[0, 0]
    assert maps.sum() * difference.max() / 2 == pytest.approx(float(difference.sum()), rel=1e-4)


def test_deleting_what_matters_lowers_a_score_and_deleting_elsewhere_does_not():
    dates = np.zeros((2, 1, 40, 40), np.float32)
    dates[1, 0, 10:14, 10:14] = 1
    heat = np.zeros((2, 40, 40))
    heat[1, 10:14, 10:14] = 1
    where = (slice(10, 14), slice(10, 14))

    def score(of):
        return float((of[1, 0] - of[0, 0])[where].mean())

    right = check_by_deletion(score, dates, heat)
    assert (right.whole, right.without_marked, right.holds) == (1, 0, True)
    assert right.without_others == pytest.approx(1)
    wrong = check_by_deletion(score, dates, np.roll(heat, 20, axis=1))
    assert (wrong.without_marked, wrong.holds) == (1, False)


@given(st.integers(0, 2**31), st.floats(0.01, 0.5))
def test_as_much_is_deleted_as_is_asked_for(seed, share):
    heat = np.random.default_rng(seed).random((2, 20, 20))
    assert most_marked(heat, share).sum() == max(round(share * heat.size), 1)
    assert not most_marked(np.zeros((2, 20, 20)), share).any()


def read_window(path, window):
    with rasterio.open(path) as dataset:
        return dataset.read(window=window)


@pytest.fixture
def case(tmp_path):
    return *write_pair(tmp_path, SHAPE), save_small(tmp_path / "network.pt", thresholds={"default": 0.2})


def place(row, col):
    x, y = PLACE @ (col, row)
    return f"{x},{y}"


def test_the_raster_lies_about_the_place(case, tmp_path, run):
    before, after, checkpoint = case
    out = tmp_path / "heat.tif"
    code, said, errors = run(
        "explain", before, after, "--checkpoint", checkpoint, "--at", place(70, 20), "--size", "64", "-o", out, "--json"
    )
    assert code == 0, errors
    said = json.loads(said)
    assert said["label"] == "change"
    assert said["pixels"] > 0
    assert set(said["deletion"]) == {"whole", "without_marked", "without_others"}
    with Image.open(out.with_suffix(".png")) as picture:
        assert picture.size[0] > 64
    with rasterio.open(out) as dataset:
        heat = dataset.read()
        assert dataset.descriptions == ("before", "after")
        assert dataset.crs == UTM
        assert dataset.transform @ (0, 0) == PLACE @ (0, 32)  # the 64 about row 70 on the lattice of 16; none beyond 0
        assert heat.shape == (2, 64, 48)
    assert 0 <= heat.min() < heat.max() <= 1
    refused(run("explain", before, after, "--checkpoint", checkpoint, "--at", place(70, 20), "-o", out), "--overwrite")


def test_a_change_of_a_layer_is_explained_by_its_id(case, tmp_path, run):
    before, after, checkpoint = case
    squares = [shapely.box(*(PLACE @ (c, 60)), *(PLACE @ (c + 10, 50))) for c in (20, 100)]
    geopandas.GeoDataFrame({"id": [4, 7]}, geometry=squares, crs=UTM).to_file(tmp_path / "changes.gpkg")
    arguments = "explain", before, after, "--checkpoint", checkpoint, "--changes", tmp_path / "changes.gpkg"
    code, said, _ = run(*arguments, "--id", 7, "--size", 64, "-o", tmp_path / "heat.tif", "--json")
    assert code == 0
    assert json.loads(said)["pixels"] in (100, 121)
    refused(run(*arguments, "--id", 5, "-o", tmp_path / "other.tif"), "id 5")
    refused(run(*arguments, "-o", tmp_path / "other.tif"), "both")
    assert not (tmp_path / "other.tif").exists()


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("write", [write_torchscript, write_exported])
def test_a_model_is_explained_by_its_own_gradients(tmp_path, run, write):
    before, after = write_pair(tmp_path, SHAPE)
    model = write(tmp_path / ("small.pt" if write is write_torchscript else "small.pt2"))
    inset = shapely.box(*(PLACE @ (85.2, 77.8)), *(PLACE @ (94.8, 70.2)))  # rows 70 to 77, columns 85 to 94
    geopandas.GeoDataFrame({"id": [1]}, geometry=[inset], crs=UTM).to_file(tmp_path / "changes.gpkg")
    given = ("-d", "model", "--option", f"file={model}", "--changes", tmp_path / "changes.gpkg", "--id", 1)
    code, said, errors = run("explain", before, after, *given, "--size", 64, "-o", tmp_path / "heat.tif", "--json")
    assert code == 0, errors
    assert json.loads(said)["pixels"] == 80
    window = ((32, 96), (64, 128))  # on the lattice of 32, as little is known of the model
    with rasterio.open(tmp_path / "heat.tif") as dataset:
        assert dataset.transform @ (0, 0) == PLACE @ (64, 32)
        heat = dataset.read()
    dates = [read_window(path, window) for path in (before, after)]
    wanted = torch.zeros(1, 64, 64)
    wanted[0, 38:46, 21:31] = 1
    at = torch.from_numpy(np.stack(dates)[None].astype(np.float32) / 255)
    expected = integrated_gradients(lambda each: SmallModel()(each[:, 0], each[:, 1]), at, wanted)
    np.testing.assert_allclose(heat, expected.numpy(), atol=1e-4)


def test_mistakes_get_one_line(case, tmp_path, run):
    before, after, checkpoint = case
    out = ["-o", tmp_path / "heat.tif"]
    known = [before, after, "--checkpoint", checkpoint]
    refused(run("explain", *known, *out), "give the place to explain")
    refused(run("explain", *known, "--at", "here", *out), "--at", "2 numbers", "here")
    refused(run("explain", *known, "--at", place(-5, 0), *out), "outside")
    refused(run("explain", *known, "--at", place(70, 70), "--size", "7", *out), "7")
    refused(run("explain", before, after, "-d", "ir-mad", "--at", place(70, 70), *out), "ir-mad")
    refused(run("explain", before, after, "--at", place(70, 70), *out), "--checkpoint")
    model = ("-d", "model", "--option", f"file={write_onnx(tmp_path / 'small.onnx')}", "--size", 64)
    refused(run("explain", before, after, *model, "--at", place(70, 70), *out), "ONNX has no gradients")
    sure = save_small(tmp_path / "sure.pt", thresholds={"default": 0.9999999})
    refused(run("explain", before, after, "--checkpoint", sure, "--at", place(70, 70), *out), "24 pixels")
    assert not (tmp_path / "heat.tif").exists()
    refused(run("explain", *known, "--at", place(70, 70), "-o", tmp_path / "heat.png"), ".tif")
    kept = Path(before).read_bytes()
    refused(run("explain", *known, "--at", place(70, 70), "-o", before, "--overwrite"), "input")
    assert Path(before).read_bytes() == kept

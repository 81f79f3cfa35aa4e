"""`geochange explain`: where a network looked."""

import json
from pathlib import Path

import geopandas
import pytest
import rasterio
import shapely

from tests.commands import refused
from tests.stand_ins import PLACE, UTM, write_pair

torch = pytest.importorskip("torch")

from geochange.detectors.networks.contract import Network  # noqa: E402
from geochange.detectors.networks.explanation import activation_maps  # noqa: E402
from geochange.detectors.networks.registry import build_network  # noqa: E402
from geochange.errors import BadOption  # noqa: E402
from tests.small_networks import lively, save_small  # noqa: E402
from tests.tiny_network import ImageEncoder  # noqa: E402

SHAPE = (150, 190)


class Bright(Network):
    """Change where the second date's first feature is larger than the first date's; features are the image itself."""

    name, stride, receptive_radius = "bright", 1, 0

    def __init__(self):
        super().__init__(type("Options", (), {"classes": ("change",)})())
        self.encoder = ImageEncoder()

    def outputs(self, dates):
        (features,) = self.encoder(dates.transpose(0, 1).flatten(0, 1))
        before, after = features.chunk(2)
        return [(after - before)[:, :1]]


def test_a_map_shows_what_raises_the_score_and_which_date_shows_it():
    dates = torch.zeros(1, 2, 2, 20, 20)
    dates[0, 1, 0, 4:8, 10:14] = 3.0
    dates[0, 0, 0, 15:18, 2:5] = 3.0  # of the first date: it lowers the score
    dates[0, :, 1] = torch.rand(20, 20)  # a feature that nothing depends on
    wanted = torch.zeros(1, 20, 20)
    wanted[0, 4:8, 10:14] = 1
    maps = activation_maps(Bright(), dates, wanted)
    expected = torch.zeros(2, 20, 20)
    expected[1, 4:8, 10:14] = 1
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize("name", ["attention-net", "change-rcnn"])
def test_maps_of_real_networks_lie_in_0_to_1_and_leave_the_network_as_it_was(name):
    options = {"attention-net": {"widths": [8, 8, 8, 16]}, "change-rcnn": {"width": 8}}[name]
    network = lively(build_network(name, options))
    dates = torch.randn(1, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = network(dates)
    wanted = torch.zeros(1, 64, 64)
    wanted[0, 30:34, 30:34] = 1
    maps = activation_maps(network, dates, wanted)
    assert maps.shape == (2, 64, 64)
    assert 0 <= maps.min() < maps.max() <= 1
    torch.testing.assert_close(network(dates), before, rtol=0, atol=0)
    far = maps.clone()
    far[:, 10:54, 10:54] = 0
    assert maps[:, 26:38, 26:38].mean() > 0


def test_a_network_without_an_encoder_cannot_be_looked_into():
    with pytest.raises(BadOption, match="siamese-unet"):
        activation_maps(build_network("siamese-unet", {}), torch.zeros(1, 2, 3, 32, 32), torch.zeros(1, 32, 32))


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
    unet = save_small(tmp_path / "unet.pt", "siamese-unet")
    refused(run("explain", before, after, "--checkpoint", unet, "--at", place(70, 70), *out), "encoder")
    sure = save_small(tmp_path / "sure.pt", thresholds={"default": 0.9999999})
    refused(run("explain", before, after, "--checkpoint", sure, "--at", place(70, 70), *out), "24 pixels")
    assert not (tmp_path / "heat.tif").exists()
    refused(run("explain", *known, "--at", place(70, 70), "-o", tmp_path / "heat.png"), ".tif")
    kept = Path(before).read_bytes()
    refused(run("explain", *known, "--at", place(70, 70), "-o", before, "--overwrite"), "input")
    assert Path(before).read_bytes() == kept

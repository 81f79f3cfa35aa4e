"""Weights of encoders from files, as torchgeo publishes them: tensors by timm's names, channels by what they show."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from geochange.detectors.networks.checkpoint import load_checkpoint  # noqa: E402
from geochange.detectors.networks.encoder_weights import load_encoder_weights, match_channels, role_of  # noqa: E402
from geochange.detectors.networks.registry import build_network  # noqa: E402
from geochange.errors import BadOption, UnreadableInput  # noqa: E402
from tests.commands import refused  # noqa: E402
from tests.stand_ins import write_raster  # noqa: E402

RESNET = {"encoder": "resnet18", "widths": [8, 8, 8, 16]}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A ResNet for the 13 bands of Sentinel-2, with the layers that an encoder leaves out."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18_sentinel2_all.pth"
    torch.save(timm.create_model("resnet18", in_chans=13).state_dict(), path)
    return path


@pytest.mark.parametrize("prefix", ["", "module.encoder_q.", "backbone."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_tensors_are_found_under_any_prefix(tmp_path, published, prefix, wrapped):
    tensors = {prefix + name: value for name, value in torch.load(published).items()}
    torch.save({"state_dict": tensors, "epoch": 3} if wrapped else tensors, tmp_path / "w.pth")
    network = build_network("attention-net", {**RESNET, "bands": 3, "classes": ("change",)})
    assert load_encoder_weights(network, tmp_path / "w.pth", ("red", "green", "blue")) == "w.pth"
    whole = torch.load(published)
    torch.testing.assert_close(network.encoder.state_dict()["layer1.0.conv1.weight"], whole["layer1.0.conv1.weight"])
    picked = whole["conv1.weight"][:, [3, 2, 1]] * (13 / 3)
    torch.testing.assert_close(network.encoder.state_dict()["conv1.weight"], picked)


@pytest.mark.parametrize(
    ("name", "role"), [("B04", "red"), ("b4", "red"), ("B8A", "nir08"), ("NIR", "nir"), ("VV", "vv")]
)
def test_bands_are_known_by_their_names(name, role):
    assert role_of(name) == role


def test_channels_are_those_of_the_bands_with_the_same_sum_for_equal_bands():
    kernel = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    every = match_channels(kernel, ("nir", "red", "green", "blue"), None, "w")
    torch.testing.assert_close(every, kernel[:, [3, 0, 1, 2]])
    own = match_channels(kernel, ("x", "y"), ("a", "x", "b", "y"), "w")
    torch.testing.assert_close(own, 2 * kernel[:, [1, 3]])
    torch.testing.assert_close(match_channels(kernel, [f"band {k}" for k in range(1, 5)], None, "w"), kernel)


def test_what_does_not_fit_is_refused(tmp_path, published):
    network = build_network("attention-net", {"widths": [8, 8, 8, 16], "bands": 3, "classes": ("change",)})
    with pytest.raises(BadOption, match="weights of another encoder"):
        load_encoder_weights(network, published, ("red", "green", "blue"))
    unet = build_network("siamese-unet", {"bands": 3, "classes": ("change",)})
    with pytest.raises(BadOption, match="has no encoder"):
        load_encoder_weights(unet, published, ("red", "green", "blue"))
    resnet = build_network("attention-net", {**RESNET, "bands": 3, "classes": ("change",)})
    with pytest.raises(BadOption, match="no channel for thermal"):
        load_encoder_weights(resnet, published, ("red", "green", "thermal"))
    with pytest.raises(BadOption, match="13 channels; name them"):
        load_encoder_weights(resnet, published, ("red", "green", "blue"), ("red", "green"))
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(UnreadableInput, match="no tensors"):
        load_encoder_weights(resnet, tmp_path / "empty.pth", ("red", "green", "blue"))


def test_a_training_begins_with_them_and_records_their_licence(run, tmp_path, published):
    for part, bands in (("A", 2), ("B", 2), ("label", 1)):
        (tmp_path / "data" / part).mkdir(parents=True)
        for name in "xy":
            values = np.random.default_rng(ord(name)).integers(0, 2 if part == "label" else 255, (bands, 32, 32))
            path = write_raster(tmp_path / "data" / part / f"{name}.tif", values.astype(np.uint8))
            if part != "label":
                import rasterio

                with rasterio.open(path, "r+") as image:
                    image.descriptions = ("B11", "B08")
    given = (
        "--network",
        "attention-net",
        "--network-option",
        "encoder=resnet18",
        "--network-option",
        "widths=8,8,8,16",
    )
    short = ("--steps", 1, "--every", 1, "--size", 32, "--batch", 1, "--loaders", 0, "--val-share", 0, "--frozen", 4)
    weights = ("--encoder-weights", published, "--licence", "CC-BY-4.0", "--no-batch-statistics")
    code, _, errors = run("train", tmp_path / "data", "-o", tmp_path / "run", *given, *short, *weights)
    assert code == 0, errors
    checkpoint = load_checkpoint(tmp_path / "run" / "best.pt")
    assert checkpoint.about.licence == "CC-BY-4.0"
    whole = torch.load(published)["conv1.weight"]
    torch.testing.assert_close(checkpoint.weights["encoder.conv1.weight"], whole[:, [11, 7]] * (13 / 2))
    again = ("train", tmp_path / "data", "-o", tmp_path / "other", *given, *short)
    refused(run(*again, *weights, "--pretrained"), "encoder_weights are in place of pretrained ones")
    refused(run(*again, "--encoder-bands", "red"), "encoder_bands name the channels")

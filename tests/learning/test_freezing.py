"""Parts of a network that stay as they are."""

import pytest
import torch

from geochange.detectors.networks.contract import Batch
from geochange.detectors.networks.registry import build_network
from geochange.errors import BadOption
from geochange.learning.freezing import freeze, set_training
from geochange.learning.losses import LOSSES
from tests.small_networks import SMALL
from tests.tiny_network import make_network

FINEST = ("conv_stem", "bn1", "blocks.0", "blocks.1")  # what the features at strides 2 and 4 are made of


@pytest.fixture
def network():
    torch.manual_seed(0)
    return build_network("attention-net", SMALL["attention-net"])


def updated(network, scales):
    """Names of weights and statistics that one update changes."""
    freeze(network, scales)
    set_training(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    batch = Batch(torch.randn(2, 2, 3, 32, 32), (torch.rand(2, 32, 32) > 0.5).long())
    network.loss(batch, LOSSES["bce-dice"]).backward()
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    torch.optim.SGD(learning, lr=0.1).step()
    return {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}


def test_frozen_scales_keep_weights_and_statistics(network):
    changed = updated(network, 2)
    assert not [name for name in changed if name.startswith(tuple(f"encoder.{part}" for part in FINEST))]
    assert [name for name in changed if name.startswith("encoder.blocks.2")]
    assert [name for name in changed if name.startswith("head")]


def test_all_scales_are_the_whole_encoder(network):
    changed = updated(network, 4)
    assert changed
    assert not [name for name in changed if name.startswith("encoder.")]


def test_without_frozen_scales_everything_learns(network):
    freeze(network, 4)
    changed = updated(network, 0)
    assert [name for name in changed if name.startswith("encoder.conv_stem")]


def test_more_scales_than_there_are_is_refused(network):
    with pytest.raises(BadOption, match="4 scales"):
        freeze(network, 5)
    with pytest.raises(BadOption, match="0 scales"):
        freeze(build_network("siamese-unet", {}), 1)
    freeze(make_network(), 0)


@pytest.mark.parametrize(("scales", "statistics"), [(0, True), (2, True), (2, False), (0, False)])
def test_normalisation_measures_batches_where_it_learns_and_is_asked_to(network, scales, statistics):
    freeze(network, scales)
    network.eval()
    set_training(network, statistics=statistics)
    norms = {name: each for name, each in network.named_modules() if isinstance(each, torch.nn.BatchNorm2d)}
    still = tuple(f"encoder.{part}" for part in FINEST) if scales else ()
    assert {name for name, each in norms.items() if each.training} == {
        name for name in norms if statistics and not name.startswith(still)
    }
    assert any(name.startswith("encoder.bn1") for name in norms)
    assert all(each.training for each in network.modules() if isinstance(each, torch.nn.Conv2d))

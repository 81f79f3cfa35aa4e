"""What every network is."""

import numpy as np
import pytest
import torch
from torch import nn

from geochange.arrays import IGNORE
from geochange.detectors.networks.contract import (
    OBJECT,
    Batch,
    Network,
    outputs_needed,
    probability,
    supervise,
)
from tests.tiny_network import TinyNet, TinyOptions, make_network


class Headed(TinyNet):
    """With two coarser auxiliary heads."""

    def outputs(self, dates):
        (fine,) = super().outputs(dates)
        return [fine, nn.functional.avg_pool2d(fine, 2) + 1, nn.functional.avg_pool2d(fine, 4) - 2]


def recorded(seen):
    def criterion(logits, labels):
        seen.append((logits, labels))
        return (logits.mean(dim=1) * labels).mean()

    return criterion


@pytest.mark.parametrize("label", [0, 1, 254, IGNORE])
@pytest.mark.parametrize("number", [0, 1, 300])
def test_a_label_and_the_number_of_its_object_can_be_taken_apart(label, number):
    assert divmod(label + OBJECT * number, OBJECT) == (number, label)


def test_a_single_class_needs_one_channel_several_one_more_for_no_change():
    assert [outputs_needed("abcd"[:count]) for count in (1, 2, 3, 4)] == [1, 3, 4, 5]


@pytest.mark.parametrize("temperature", [1.0, 2.5, 0.5])
def test_one_channel_is_a_sigmoid(temperature):
    logits = torch.randn(2, 1, 3, 5, dtype=torch.float64) * 4
    expected = 1 / (1 + np.exp(-logits.numpy() / temperature))
    np.testing.assert_allclose(probability(logits, temperature).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("channels", [2, 3, 5])
@pytest.mark.parametrize("temperature", [1.0, 2.5, 0.5])
def test_several_channels_are_a_softmax_whose_first_is_no_change(channels, temperature):
    logits = torch.randn(2, channels, 3, 5, dtype=torch.float64) * 4
    powers = np.exp(logits.numpy() / temperature)
    found = probability(logits, temperature).numpy()
    assert found.shape == (2, channels - 1, 3, 5)
    np.testing.assert_allclose(found, (powers / powers.sum(axis=1, keepdims=True))[:, 1:], rtol=1e-12)


def test_a_probability_has_temperature_one_unless_it_is_said():
    logits = torch.randn(1, 3, 2, 4)
    assert torch.equal(probability(logits), probability(logits, 1.0))
    before = logits.clone()
    probability(logits, 3.0)
    assert torch.equal(logits, before)


def test_the_loss_of_one_head_is_the_criterion():
    logits, labels = torch.randn(2, 3, 4, 6), torch.randint(0, 3, (2, 4, 6))
    seen = []
    loss = supervise([logits], labels, recorded(seen))
    torch.testing.assert_close(loss, (logits.mean(dim=1) * labels).mean())
    assert len(seen) == 1


def test_auxiliary_heads_are_enlarged_to_the_labels_and_count_three_tenths_each_of_a_mean():
    labels = torch.randint(0, 3, (2, 8, 12))
    outputs = [torch.randn(2, 3, *size) for size in ((8, 12), (4, 6), (2, 3))]
    seen = []
    loss = supervise(outputs, labels, recorded(seen))
    single = [(logits.mean(dim=1) * labels).mean() for logits, _ in seen]
    torch.testing.assert_close(loss, (single[0] + 0.3 * single[1] + 0.3 * single[2]) / 1.6)
    assert [tuple(logits.shape) for logits, _ in seen] == [(2, 3, 8, 12)] * 3
    assert all(given is labels for _, given in seen)
    assert torch.equal(seen[0][0], outputs[0])


def test_coarse_logits_are_enlarged_linearly_between_the_middles_of_their_pixels():
    seen = []
    row = torch.tensor([0.0, 4.0]).expand(1, 1, 1, 2)
    supervise([torch.zeros(1, 1, 2, 4), row], torch.ones(1, 2, 4, dtype=torch.int64), recorded(seen))
    assert seen[1][0].tolist() == [[[[0.0, 1.0, 3.0, 4.0]] * 2]]


def test_the_loss_is_computed_in_float32():
    seen = []
    outputs = [torch.randn(1, 1, 4, 4).bfloat16(), torch.randn(1, 1, 2, 2).bfloat16()]
    supervise(outputs, torch.ones(1, 4, 4, dtype=torch.int64), recorded(seen))
    assert [logits.dtype for logits, _ in seen] == [torch.float32] * 2


def test_a_network_gives_its_first_logits_and_is_trained_on_all():
    torch.manual_seed(0)
    network = Headed(TinyOptions(classes=("a", "b")))
    batch = Batch(torch.randn(2, 2, 3, 8, 12), torch.randint(0, 3, (2, 8, 12)))
    outputs = network.outputs(batch.dates)
    assert torch.equal(network(batch.dates), outputs[0])
    assert network(batch.dates).shape == (2, 3, 8, 12)
    loss = network.loss(batch, nn.functional.cross_entropy)
    torch.testing.assert_close(loss, supervise(outputs, batch.labels, nn.functional.cross_entropy))
    assert not torch.isclose(loss, nn.functional.cross_entropy(outputs[0], batch.labels))


def test_a_network_of_the_usual_kind_compares_two_dates_with_labels_and_finds_no_objects():
    network = make_network()
    assert (Network.dates, Network.supervised, Network.objects) == (2, True, False)
    assert network.layers(2) == {}
    dates = torch.randn(1, 2, 3, 4, 8)
    logits, layers = network.with_layers(dates)
    assert torch.equal(logits, network(dates))
    assert layers == {}
    with pytest.raises(NotImplementedError, match=r"^tiny finds no objects$"):
        network.with_objects(dates)
    assert network.convert_weight("head.weight", torch.zeros(1)) is None


def test_a_network_names_its_classes_as_its_options_do():
    options = TinyOptions(classes=["b", "a"])
    network = TinyNet(options)
    assert network.classes == ("b", "a")
    assert network.options is options


def test_a_network_without_outputs_cannot_be_built():
    class Unfinished(Network):
        name = "unfinished"

    with pytest.raises(TypeError, match="outputs"):
        Unfinished(TinyOptions())


def test_a_batch_is_moved_whole():
    batch = Batch(torch.randn(1, 2, 3, 4, 5), torch.randint(0, 2, (1, 4, 5)))
    moved = batch.to(torch.device("meta"))
    assert isinstance(moved, Batch)
    assert (moved.dates.device.type, moved.labels.device.type) == ("meta", "meta")
    assert (moved.dates.shape, moved.labels.shape) == (batch.dates.shape, batch.labels.shape)
    assert (moved.dates.dtype, moved.labels.dtype) == (torch.float32, torch.int64)
    stays = batch.to(torch.device("cpu"))
    assert torch.equal(stays.dates, batch.dates)
    assert torch.equal(stays.labels, batch.labels)


def test_a_batch_is_pinned_whole():
    class Pinnable:
        def __init__(self, name):
            self.name = name

        def pin_memory(self):
            return Pinnable(f"pinned {self.name}")

    pinned = Batch(Pinnable("dates"), Pinnable("labels")).pin_memory()
    assert (pinned.dates.name, pinned.labels.name) == ("pinned dates", "pinned labels")

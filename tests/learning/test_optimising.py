"""The optimizer, its rate, and the average of the weights."""

import copy
import math

import pytest
import torch
from torch import nn

from geochange.learning.optimising import average_weights, make_optimizer, mean_weights, rate_factor
from geochange.learning.options import TrainOptions
from tests.tiny_network import make_network


def named_groups(network, options):
    """Name of a parameter -> (rate, full rate, decay)."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = make_optimizer(network, options).param_groups
    found = [(names[id(each)], (g["lr"], g["full_rate"], g["weight_decay"])) for g in groups for each in g["params"]]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_the_encoder_moves_slower_and_only_kernels_decay():
    options = TrainOptions(rate=0.02, encoder_rate=0.25, weight_decay=0.3)
    assert named_groups(make_network(), options) == {
        "encoder.weight": (0.005, 0.005, 0.3),
        "encoder.bias": (0.005, 0.005, 0.0),
        "head.weight": (0.02, 0.02, 0.3),
        "head.bias": (0.02, 0.02, 0.0),
    }


def test_an_encoder_is_one_by_its_name_at_the_top_or_just_below():
    inner = nn.ModuleDict({"encoder": nn.Linear(2, 3, bias=False), "encoders": nn.Linear(2, 3, bias=False)})
    network = nn.ModuleDict(
        {
            "encoder": nn.ModuleDict({"deep": nn.ModuleDict({"er": nn.Linear(2, 3, bias=False)})}),
            "inner": inner,
            "outer": nn.ModuleDict({"inner": copy.deepcopy(inner)}),
        }
    )
    rates = {name: each[0] for name, each in named_groups(network, TrainOptions(rate=1.0, encoder_rate=0.5)).items()}
    assert rates == {
        "encoder.deep.er.weight": 0.5,
        "inner.encoder.weight": 0.5,
        "inner.encoders.weight": 1.0,
        "outer.inner.encoder.weight": 1.0,
        "outer.inner.encoders.weight": 1.0,
    }


def test_normalisation_does_not_decay():
    groups = named_groups(nn.ModuleDict({"norm": nn.BatchNorm2d(3)}), TrainOptions(rate=0.5, weight_decay=0.3))
    assert groups == {"norm.weight": (0.5, 0.5, 0.0), "norm.bias": (0.5, 0.5, 0.0)}


def test_frozen_weights_are_not_optimised():
    network = make_network()
    network.encoder.requires_grad_(False)
    assert set(named_groups(network, TrainOptions())) == {"head.weight", "head.bias"}


def test_parameters_of_one_rate_and_decay_are_one_group_in_the_order_of_the_network():
    network = make_network()
    groups = make_optimizer(network, TrainOptions(encoder_rate=1.0)).param_groups
    assert [len(group["params"]) for group in groups] == [2, 2]
    assert [id(each) for each in groups[0]["params"]] == [id(network.encoder.weight), id(network.head.weight)]


def test_weights_are_moved_by_adamw():
    network = make_network()
    optimizer = make_optimizer(network, TrainOptions(rate=0.01, encoder_rate=0.5, weight_decay=0.1))
    before = {name: each.detach().clone() for name, each in network.named_parameters()}
    gradients = {name: torch.randn_like(each) for name, each in before.items()}
    for name, parameter in network.named_parameters():
        parameter.grad = gradients[name]
    optimizer.step()
    for name, parameter in network.named_parameters():
        rate = 0.005 if "encoder" in name else 0.01
        kept = 1 - rate * (0.1 if name.endswith("weight") else 0)
        gradient = gradients[name]
        expected = before[name] * kept - rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-6)


def expected_factor(step, warmup, steps):
    if step < warmup:
        return (step + 1) / warmup
    return math.cos(math.pi / 2 * (step - warmup) / (steps - warmup)) ** 2


@pytest.mark.parametrize(
    ("steps", "asked", "warmup"), [(40, 5, 5), (40, 10, 10), (40, 11, 10), (43, 200, 10), (40, 0, 0), (3, 2, 0)]
)
def test_the_rate_grows_linearly_for_a_quarter_of_the_steps_at_most_then_falls_as_a_cosine(steps, asked, warmup):
    options = TrainOptions(steps=steps, warmup=asked)
    for step in range(steps + 1):
        assert rate_factor(step, options) == pytest.approx(expected_factor(step, warmup, steps), abs=1e-12)


def test_the_rate_is_whole_at_both_ends_of_the_warm_up_and_nothing_at_the_end_and_beyond():
    options = TrainOptions(steps=40, warmup=4)
    assert [rate_factor(step, options) for step in (0, 3, 4)] == [0.25, 1, 1]
    assert rate_factor(22, options) == pytest.approx(0.5)
    assert [rate_factor(step, options) for step in (40, 41, 60)] == [0, 0, 0]


def test_the_rate_of_a_single_step_is_whole():
    assert rate_factor(0, TrainOptions(steps=1, warmup=200)) == 1


class Counted(nn.Module):
    def __init__(self, value, count):
        super().__init__()
        self.weight = nn.Parameter(torch.full((2, 3), value))
        self.register_buffer("mean", torch.full((2,), 10 * value))
        self.register_buffer("count", torch.tensor(count))


@pytest.mark.parametrize(
    ("decay", "step", "kept"),
    [(0.9, 0, 0.1), (0.9, 2, 0.25), (0.9, 79, 80 / 89), (0.9, 80, 0.9), (0.9, 10**6, 0.9), (0.0, 5, 0.0)],
)
def test_the_average_keeps_less_of_itself_in_the_first_steps(decay, step, kept):
    averaged, network = Counted(1.0, 3), Counted(5.0, 8)
    average_weights(averaged, network, decay, step)
    torch.testing.assert_close(averaged.weight.detach(), torch.full((2, 3), kept + 5 * (1 - kept)))
    torch.testing.assert_close(averaged.mean, torch.full((2,), 10 * kept + 50 * (1 - kept)))


def test_counts_are_copied_and_the_network_stays_as_it_is():
    averaged, network = Counted(1.0, 3), Counted(5.0, 8)
    average_weights(averaged, network, 0.9, 100)
    assert averaged.count.item() == 8
    assert averaged.count.data_ptr() != network.count.data_ptr()
    assert averaged.weight.requires_grad
    assert averaged.weight.grad_fn is None
    for name, value in Counted(5.0, 8).state_dict().items():
        assert torch.equal(network.state_dict()[name], value)


def test_networks_of_different_parts_are_not_averaged():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        average_weights(Counted(1.0, 3), nn.Linear(3, 2), 0.9, 100)


@pytest.mark.parametrize("steps", [10, 37, 400])
def test_one_cycle_is_torch_s(steps):
    weights = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=steps, cycle_momentum=False)
    options = TrainOptions(steps=steps, schedule="one-cycle")
    for step in range(steps):
        assert rate_factor(step, options) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-9)
        optimizer.step()
        if step < steps - 1:
            schedule.step()


def test_other_schedules_begin_after_the_warm_up():
    factors = {
        name: [
            rate_factor(step, TrainOptions(steps=120, warmup=20, schedule=name)) for step in (9, 20, 79, 80, 105, 119)
        ]
        for name in ("step", "constant")
    }
    assert factors["step"] == pytest.approx([0.5, 1, 1, 0.1, 0.01, 0.01])
    assert factors["constant"] == [0.5, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_the_optimizer_is_torch_s_of_that_name(name, kind):
    network = torch.nn.Linear(3, 2)
    optimizer = make_optimizer(network, TrainOptions(optimizer=name, momentum=0.8, weight_decay=0.1))
    assert type(optimizer) is kind
    assert sorted(group["weight_decay"] for group in optimizer.param_groups) == [0.0, 0.1]
    if name == "sgd":
        assert {group["momentum"] for group in optimizer.param_groups} == {0.8}


def test_the_mean_of_weights_is_theirs_and_counts_are_the_first_ones():
    several = [
        {"w": torch.tensor([1.0, 2.0]) * k, "half": torch.ones(2).half() * k, "n": torch.tensor(k)} for k in (1, 5)
    ]
    found = mean_weights(several)
    assert found["w"].tolist() == [3, 6]
    assert (found["half"].dtype, found["half"].tolist()) == (torch.float16, [3, 3])
    assert found["n"] == 1
    assert all(torch.equal(value, several[0][name]) for name, value in mean_weights(several[:1]).items())

"""The state of a training as a file."""

import csv
import os

import pytest
import torch

from geochange.errors import BadOption, UnreadableInput
from geochange.learning.optimising import make_optimizer
from geochange.learning.options import TrainOptions
from geochange.learning.training_state import MAY_DIFFER, Running, State, write_history
from tests.tiny_network import make_network


class Scaler:
    """Of gradients; it has a state on a GPU alone."""

    def __init__(self, **state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def make_state(seed=0, scaler=None, **options):
    network, averaged = make_network(seed, **options), make_network(seed + 100, **options)
    return State(network, averaged, make_optimizer(network, TrainOptions(rate=0.01)), scaler or Scaler())


def run_on(state, updates=3):
    for _ in range(updates):
        state.optimizer.zero_grad()
        state.network(torch.rand(2, 2, 3, 8, 4)).square().mean().backward()
        state.optimizer.step()


def advanced(**options):
    """A state with no field as it begins."""
    state = make_state(1, Scaler(scale=512.0, growth=3), **options)
    run_on(state)
    state.step, state.best, state.best_epoch = 7, 0.625, 2
    state.history = [{"epoch": 1.0, "step": 3, "f1": 0.5}, {"epoch": 2.0, "step": 6, "f1": 0.625}]
    state.running = Running(torch.tensor([[5, 1], [2, 9]]), updates=1, loss=0.75, seconds=2.5)
    return state


def alike(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(alike(first[key], second[key]) for key in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(alike, first, second))
    return first == second


def test_a_state_that_begins_has_seen_nothing():
    state, other = make_state(), make_state()
    assert (state.step, state.best, state.best_epoch, state.history) == (0, -1.0, 0, [])
    assert state.running.confusion.tolist() == [[0, 0], [0, 0]]
    assert state.running.confusion.dtype == torch.int64
    assert (state.running.updates, state.running.loss, state.running.seconds) == (0, 0.0, 0.0)
    assert state.running is not other.running
    assert state.running.confusion is not other.running.confusion
    assert state.history is not other.history


def test_a_loaded_state_is_the_saved_one(tmp_path):
    saved, loaded = advanced(), make_state(2)
    saved.save(tmp_path / "state.pt", {})
    loaded.load(tmp_path / "state.pt")
    for part in ("network", "averaged", "optimizer", "scaler"):
        assert alike(getattr(loaded, part).state_dict(), getattr(saved, part).state_dict()), part
    assert not alike(loaded.network.state_dict(), loaded.averaged.state_dict())
    for name in ("step", "best", "best_epoch", "history"):
        assert getattr(loaded, name) == getattr(saved, name), name
    assert alike(vars(loaded.running), vars(saved.running))
    assert isinstance(loaded.running, Running)


def test_a_training_goes_on_from_a_file_as_it_would_have_without_one(tmp_path):
    state = advanced()
    state.save(tmp_path / "state.pt", {})
    run_on(state)
    torch.manual_seed(99)
    resumed = make_state(2)
    resumed.load(tmp_path / "state.pt")
    run_on(resumed)
    assert alike(resumed.network.state_dict(), state.network.state_dict())
    assert alike(resumed.optimizer.state_dict(), state.optimizer.state_dict())


def test_saving_draws_no_random_numbers(tmp_path):
    state = advanced()
    before = torch.get_rng_state()
    state.save(tmp_path / "state.pt", {})
    assert torch.equal(torch.get_rng_state(), before)


def test_a_scaler_without_a_state_leaves_that_of_the_training_alone(tmp_path):
    make_state(scaler=Scaler()).save(tmp_path / "state.pt", {})
    loaded = make_state(scaler=Scaler(scale=2.0))
    loaded.load(tmp_path / "state.pt")
    assert loaded.scaler.state == {"scale": 2.0}


def test_a_file_from_before_epochs_were_resumed_begins_its_epoch_again(tmp_path):
    advanced().save(tmp_path / "state.pt", {})
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    del saved["running"]
    torch.save(saved, tmp_path / "old.pt")
    loaded = make_state()
    loaded.load(tmp_path / "old.pt")
    assert loaded.step == 7
    assert loaded.running.confusion.sum() == 0
    assert loaded.running.updates == 0


def test_a_state_replaces_the_one_before_and_leaves_nothing_beside_it(tmp_path):
    make_state().save(tmp_path / "state.pt", {})
    advanced().save(tmp_path / "state.pt", {})
    loaded = make_state()
    loaded.load(tmp_path / "state.pt")
    assert loaded.step == 7
    assert os.listdir(tmp_path) == ["state.pt"]


@pytest.mark.parametrize("now", [{"rate": 0.5, "steps": 9}, {"rate": 0.5}, {"steps": 9, "new": 1}, {}, None])
def test_a_training_goes_on_under_the_same_options_as_far_as_both_have_them(tmp_path, now):
    advanced().save(tmp_path / "state.pt", {"rate": 0.5, "steps": 9, "old": 3})
    loaded = make_state()
    loaded.load(tmp_path / "state.pt", now)
    assert loaded.step == 7


def test_other_options_are_refused_the_first_by_name_and_nothing_is_loaded(tmp_path):
    path = tmp_path / "state.pt"
    advanced().save(path, {"steps": 9, "rate": 0.5, "batch": 4})
    loaded = make_state()
    with pytest.raises(BadOption) as raised:
        loaded.load(path, {"steps": 10, "rate": 0.25, "batch": 4})
    assert str(raised.value) == f"{path} was begun with rate 0.5, now it is 0.25; give the same, or begin again"
    assert loaded.step == 0
    assert alike(loaded.network.state_dict(), make_state().network.state_dict())
    with pytest.raises(BadOption, match="begun with steps 9, now it is None; give"):
        loaded.load(path, {"steps": None})


@pytest.mark.parametrize("name", ["loaders", "device", "patience", "every"])
def test_how_a_training_is_run_may_differ(tmp_path, name):
    assert name in MAY_DIFFER
    advanced().save(tmp_path / "state.pt", {name: 1})
    loaded = make_state()
    loaded.load(tmp_path / "state.pt", {name: 2})
    assert loaded.step == 7


@pytest.mark.parametrize("name", ["seed", "batch", "accumulate", "precision", "average", "loss", "frozen"])
def test_what_moves_the_weights_may_not_differ(tmp_path, name):
    advanced().save(tmp_path / "state.pt", {name: 1})
    with pytest.raises(BadOption, match=f"begun with {name} 1, now it is 2;"):
        make_state().load(tmp_path / "state.pt", {name: 2})


def test_a_state_of_another_network_is_refused(tmp_path):
    advanced(width=6).save(tmp_path / "state.pt", {})
    with pytest.raises(UnreadableInput, match=r"state\.pt cannot be read as a state of this training, and not of anot"):
        make_state().load(tmp_path / "state.pt")


def test_a_missing_a_damaged_and_a_foreign_file_are_refused(tmp_path):
    with pytest.raises(UnreadableInput, match=r"none\.pt does not exist"):
        make_state().load(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no state")
    with pytest.raises(UnreadableInput, match=r"text\.pt"):
        make_state().load(tmp_path / "text.pt")
    torch.save({"network": {}}, tmp_path / "other.pt")
    with pytest.raises(UnreadableInput, match=r"other\.pt cannot be read as a state of this training.*no 'options'"):
        make_state().load(tmp_path / "other.pt")


def test_the_scored_step_is_that_of_the_last_epoch():
    state = make_state()
    assert state.scored_step == 0
    state.step = 5
    assert state.scored_step == 0
    state.history = [{"step": 3.0}, {"step": 9.0}]
    assert state.scored_step == 9
    assert isinstance(state.scored_step, int)


def test_a_history_is_a_table_of_all_columns_in_the_order_in_which_they_come(tmp_path):
    rows = [{"epoch": 1, "loss": 0.123456789}, {"epoch": 2, "f1": 1 / 3, "loss": 1e-7}, {"step": 1234567.0}]
    write_history(tmp_path / "history.csv", rows)
    with open(tmp_path / "history.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["epoch", "loss", "f1", "step"],
            ["1", "0.123457", "", ""],
            ["2", "1e-07", "0.333333", ""],
            ["", "", "", "1.23457e+06"],
        ]
    assert os.listdir(tmp_path) == ["history.csv"]


def test_an_empty_history_is_an_empty_table(tmp_path):
    write_history(tmp_path / "history.csv", [])
    assert (tmp_path / "history.csv").read_text().strip() == ""

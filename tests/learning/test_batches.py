"""Reading the batches of a training."""

import signal

import pytest
import torch

from geochange.detectors.networks.contract import Batch
from geochange.errors import UnreadableInput
from geochange.learning.batches import Reading, _begin_worker, _collate, _loader, _Readable, read_batches
from geochange.system import STOP_SIGNALS


class Numbered:
    """Samples that hold their number; of one on, images are broken. Picklable, for workers."""

    def __init__(self, broken=None, error=UnreadableInput):
        self.broken, self.error = broken, error

    def __getitem__(self, number):
        if number == self.broken:
            raise self.error(f"image {number} is broken")
        return torch.full((2, 3, 4, 5), float(number)), torch.full((4, 5), number)


class Telling(Numbered):
    """Samples whose pixels are 1 where they are read by a process that Ctrl-C does not end."""

    def __getitem__(self, number):
        dates, labels = super().__getitem__(number)
        return torch.full_like(dates, float(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)), labels


def numbers(batches):
    return [batch.labels[:, 0, 0].tolist() for batch in batches]


def reading(**changes):
    return Reading(**{"steps": 3, "batch": 2, "loaders": 0, "seed": 0, **changes})


def test_each_step_has_the_next_samples_in_order():
    batches = list(read_batches(Numbered(), 0, reading()))
    assert numbers(batches) == [[0, 1], [2, 3], [4, 5]]
    for batch in batches:
        assert isinstance(batch, Batch)
        assert batch.dates.shape == (2, 2, 3, 4, 5)
        assert torch.equal(batch.dates[:, 0, 0].long(), batch.labels)


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_resumed_reading_gives_the_batches_of_a_whole_one_from_its_step_on(step):
    whole = numbers(read_batches(Numbered(), 0, reading(batch=3)))
    assert numbers(read_batches(Numbered(), step, reading(batch=3))) == whole[step:]


def test_processes_share_out_the_samples_of_each_step():
    ranks = [numbers(read_batches(Numbered(), 1, reading(rank=rank, ranks=3))) for rank in range(3)]
    assert ranks == [[[6, 7], [12, 13]], [[8, 9], [14, 15]], [[10, 11], [16, 17]]]


def test_the_error_of_a_broken_image_comes_at_its_batch_and_after_those_before():
    batches = read_batches(Numbered(broken=3), 0, reading())
    assert next(batches).labels[:, 0, 0].tolist() == [0, 1]
    with pytest.raises(UnreadableInput, match=r"^image 3 is broken$"):
        next(batches)
    assert list(batches) == []


def test_a_broken_image_beyond_the_last_step_is_not_read():
    assert len(list(read_batches(Numbered(broken=6), 0, reading()))) == 3
    with pytest.raises(UnreadableInput):
        list(read_batches(Numbered(broken=5), 0, reading()))


def test_the_fault_of_a_program_is_raised_as_it_is():
    with pytest.raises(ZeroDivisionError):
        list(read_batches(Numbered(broken=0, error=ZeroDivisionError), 0, reading()))


def test_a_reading_that_is_left_early_ends_without_an_error():
    batches = read_batches(Numbered(broken=2), 0, reading())
    next(batches)
    batches.close()
    assert list(batches) == []


def test_no_sample_is_read_before_it_is_asked_for():
    read = []

    class Watched(Numbered):
        def __getitem__(self, number):
            read.append(number)
            return super().__getitem__(number)

    batches = read_batches(Watched(), 0, reading())
    assert read == []
    next(batches)
    assert read == [0, 1]


def test_the_generator_of_torch_stays_where_it_is():
    before = torch.get_rng_state()
    list(read_batches(Numbered(), 0, reading(loaders=0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_read_the_same_batches_and_raise_the_same_error_in_turn_and_ignore_signals():
    batches = read_batches(Telling(broken=5), 1, reading(steps=4, loaders=1))
    first = next(batches)
    assert first.labels[:, 0, 0].tolist() == [2, 3]
    assert first.dates.all()
    with pytest.raises(UnreadableInput, match=r"^image 5 is broken$"):
        next(batches)


@pytest.mark.parametrize(("loaders", "ahead", "context"), [(0, None, None), (1, 4, "spawn")])
def test_workers_are_new_processes_that_read_four_batches_ahead(loaders, ahead, context):
    loader = _loader(Numbered(), 0, reading(loaders=loaders))
    assert (loader.num_workers, loader.prefetch_factor) == (loaders, ahead)
    assert (loader.multiprocessing_context and loader.multiprocessing_context.get_start_method()) == context


@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("seed", [0, 7])
def test_a_reading_is_seeded_and_pinned_as_it_says(pinned, seed):
    loader = _loader(Numbered(), 0, reading(pinned=pinned, seed=seed))
    assert loader.pin_memory is pinned
    assert loader.generator.initial_seed() == seed


def test_a_reading_is_of_one_process_and_in_usual_memory_unless_it_says_otherwise():
    options = reading()
    assert (options.pinned, options.rank, options.ranks) == (False, 0, 1)


def test_a_broken_image_stands_for_its_whole_batch():
    found = _Readable(Numbered(broken=4)).__getitems__([3, 4, 5])
    assert isinstance(found, UnreadableInput)
    assert _collate(found) is found
    assert numbers([_collate(_Readable(Numbered(broken=4)).__getitems__([7, 3]))]) == [[7, 3]]


def test_a_worker_computes_on_one_thread_and_leaves_signals_to_the_process_that_began_it():
    threads, handlers = torch.get_num_threads(), {each: signal.getsignal(each) for each in STOP_SIGNALS}
    try:
        torch.set_num_threads(2)
        _begin_worker(0)
        assert torch.get_num_threads() == 1
        assert all(signal.getsignal(each) == signal.SIG_IGN for each in STOP_SIGNALS)
    finally:
        torch.set_num_threads(threads)
        for each, handler in handlers.items():
            signal.signal(each, handler)

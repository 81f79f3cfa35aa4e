"""Reading the batches of a training ahead of their turn, in other processes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from geochange.detectors.networks.contract import Batch
from geochange.errors import GeochangeError
from geochange.interrupts import ignore_interrupts
from geochange.learning.samples import FromStep, TrainingSamples, collate
from geochange.system import START_METHOD


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Which batches are read, and how."""

    steps: int  # forward passes of the whole training
    batch: int  # batch size, on each process
    loaders: int  # processes that read ahead
    seed: int
    pinned: bool = False  # in memory that a GPU can copy from
    rank: int = 0
    ranks: int = 1


def read_batches(samples: TrainingSamples, step: int, options: Reading) -> Generator[Batch, None, None]:
    """Read the batches of forward passes from one on.

    Workers read ahead; the error of a broken image is raised when its batch's turn comes.
    """
    found: Batch | GeochangeError | None = None
    iterator: Iterator[Batch | GeochangeError] = iter(_loader(samples, step, options))
    try:
        for found in iterator:
            if isinstance(found, GeochangeError):
                break
            yield found
    finally:
        del iterator  # which ends the workers: they ignore signals
    if isinstance(found, GeochangeError):
        raise found


def _loader(samples: TrainingSamples, step: int, options: Reading) -> DataLoader[Any]:
    return DataLoader(
        _Readable(samples),
        batch_sampler=FromStep(step, options.steps, options.batch, options.rank, options.ranks),
        num_workers=options.loaders,
        collate_fn=_collate,
        prefetch_factor=4 if options.loaders else None,
        worker_init_fn=_begin_worker,
        multiprocessing_context=START_METHOD if options.loaders else None,
        pin_memory=options.pinned,
        generator=torch.Generator().manual_seed(options.seed),  # the global one must not depend on when a run resumed
    )


class _Readable(Dataset[Any]):
    """Samples, or in their place the error of a broken image: one that a worker raises loses its one line."""

    def __init__(self, samples: TrainingSamples) -> None:
        self.samples = samples

    def __getitems__(self, numbers: Sequence[int]) -> list[tuple[Tensor, Tensor]] | GeochangeError:
        try:
            return [self.samples[number] for number in numbers]
        except GeochangeError as error:
            return error


def _collate(found: list[tuple[Tensor, Tensor]] | GeochangeError) -> Batch | GeochangeError:
    return found if isinstance(found, GeochangeError) else collate(found)


def _begin_worker(worker: int) -> None:
    torch.set_num_threads(1)
    ignore_interrupts()

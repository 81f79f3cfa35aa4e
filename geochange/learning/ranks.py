"""Several processes that fit one network together, as torchrun starts them; alone, everything here is the identity."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that fit together."""

    rank: int = 0
    count: int = 1
    group: Any = None
    """Of gloo, for what lies on the CPU; None alone."""

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def share(self, module: nn.Module) -> nn.Module:
        """Return the module with its gradients averaged over all processes; weights begin as the first one's."""
        if self.count == 1:
            return module
        return DistributedDataParallel(module)

    def alone(self, module: nn.Module) -> AbstractContextManager[Any]:
        """Return a context in which gradients are added up and nothing is exchanged."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()

    def any(self, flag: bool) -> bool:
        """Return whether a flag is set on any process."""
        if self.count == 1:
            return flag
        found = torch.tensor(int(flag))
        distributed.all_reduce(found, distributed.ReduceOp.MAX, group=self.group)
        return bool(found)

    def gather(self, own: T) -> list[T]:
        """Return what each process has, in their order."""
        if self.count == 1:
            return [own]
        found: list[Any] = [None] * self.count
        distributed.all_gather_object(found, own, group=self.group)
        return found

    def copy_buffers(self, module: nn.Module) -> None:
        """Give all processes the first one's running statistics, which each takes of its own samples."""
        if self.count > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, src=0)


def here() -> tuple[int, int]:
    """Return rank and number of the processes under torchrun; 0 and 1 without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def join_ranks(device: torch.device) -> Iterator[Ranks]:
    """Meet the other processes: over nccl on GPUs, over gloo on CPUs."""
    rank, count = here()
    if count == 1:
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(rank, count, distributed.new_group(backend="gloo"))
    finally:
        distributed.destroy_process_group()

"""Where a network runs: chosen once for all blocks of a run, by what every worker has.

A last bit of a score depends on what computes it. So the device and the precision of "auto" are no choice of each
worker: all take what the least of them can.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from geochange.errors import BadOption

if TYPE_CHECKING:
    import torch

log = logging.getLogger("geochange")

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]
PrecisionChoice: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a worker can run a network on."""

    gpu: bool
    quick: tuple[Precision, ...] = ()
    """Precisions that its device computes faster than fp32, the best first."""


def choose(device: str, precision: PrecisionChoice, machines: Sequence[Machine]) -> tuple[str, Precision]:
    """Return a device and a precision that all machines have, in place of "auto"."""
    having = sum(each.gpu for each in machines)
    mixed = 0 < having < len(machines)
    if device == "auto":
        device = "cuda" if having == len(machines) else "cpu"
        if mixed:
            log.warning("%d of %d workers have a GPU: the network runs on the CPU of all", having, len(machines))
    if precision != "auto":
        return device, precision
    quick = () if mixed else machines[0].quick
    return device, next((each for each in quick if all(each in other.quick for other in machines)), "fp32")


def machine_of(device: torch.device) -> Machine:
    """Return what a device of torch is quick in."""
    import torch

    if device.type == "cuda":
        generation, _ = torch.cuda.get_device_capability(device)
        return Machine(gpu=True, quick=("bf16", "fp16") if generation >= 8 else ("fp16",) if generation == 7 else ())
    return Machine(gpu=False, quick=("bf16",) if _has_matrix_units() else ())


def _has_matrix_units() -> bool:
    """Whether the CPU announces AMX, and it works."""
    import torch

    from geochange.detectors.networks.engines import require_bf16

    if not torch.cpu._is_amx_tile_supported():
        return False
    try:
        require_bf16("torch")
    except BadOption:
        return False
    return True

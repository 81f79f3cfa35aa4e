"""What runs a network: torch on any device, or OpenVINO on a CPU."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from geochange.detectors.networks.conversion import openvino_model
from geochange.errors import BadOption
from geochange.extras import load_openvino
from geochange.system import available_cores

T = TypeVar("T")

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Run = Callable[[Tensor, Tensor], Tensor]
"""(n, time, band, y, x) as stored and (n, time, y, x) validity as 0 and 1, on the device -> (n, bands, y, x)."""

Find = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""As `Run`, and (m, 9) boxes of all tiles: the number of the tile, and what `ObjectNetwork.with_objects` gives."""


def _torch_engine(module: nn.Module, device: torch.device, precision: str) -> Run:
    require_precision(device, precision)
    return with_torch(module, module, device, precision)


def require_precision(device: torch.device, precision: str) -> None:
    """Refuse, with BadOption, a precision that torch cannot compute in on a device."""
    if precision == "fp16" and device.type == "cpu":
        raise BadOption("precision fp16 needs a GPU; a CPU takes fp32 or bf16")
    if precision == "bf16" and device.type == "cpu":
        require_bf16("torch")


def with_torch(
    module: nn.Module, call: Callable[[Tensor, Tensor], T], device: torch.device, precision: str
) -> Callable[[Tensor, Tensor], T]:
    """Bring a module, or a method of it, to a device and a precision."""
    module.to(device).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        _by_onednn(module)
    if device.type == "cuda" and precision == "fp32":
        torch.backends.cudnn.allow_tf32 = False  # else convolutions round to 10 bits: scores differ by up to 0.005
    dtype = PRECISIONS[precision]

    def run(dates: Tensor, valid: Tensor) -> T:
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return call(dates, valid)

    return run


def _by_onednn(module: nn.Module) -> None:
    """Have oneDNN compute 1 x 1 convolutions too, which takes a seventh off the time of a whole network.

    On one thread torch goes another way for them, unless they are dilated: a single cell does not notice.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
            layer.dilation = (2, 2)


def _openvino_engine(module: nn.Module, device: torch.device, precision: str) -> Run:
    """OpenVINO on the CPU: one model for each shape of tiles, one stream of one thread for each core."""
    openvino = load_openvino()
    if device.type != "cpu" or precision == "fp16":
        raise BadOption(f"the engine openvino runs on the CPU in fp32 or bf16, not on {device} in {precision}")
    if precision == "bf16":
        require_bf16("openvino")
    compiled: dict[tuple[int, ...], Any] = {}
    lock, local = threading.Lock(), threading.local()
    hints = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "NUM_STREAMS": str(available_cores()),
        "INFERENCE_NUM_THREADS": str(available_cores()),
    }

    def model_for(dates: Tensor, valid: Tensor) -> Any:
        shape = tuple(dates.shape)
        with lock:
            if shape not in compiled:
                model = openvino_model(module, dates, valid)
                compiled[shape] = openvino.Core().compile_model(model, "CPU", hints)
        requests = local.__dict__.setdefault("requests", {})
        if shape not in requests:
            requests[shape] = compiled[shape].create_infer_request()
        return requests[shape]

    def run(dates: Tensor, valid: Tensor) -> Tensor:
        found = model_for(dates, valid).infer([dates.contiguous().numpy(), valid.contiguous().numpy()])
        return torch.from_numpy(np.array(next(iter(found.values())), np.float32))

    return run


BF16_TRIALS = {
    "torch": """
import threading, torch
def run():
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for groups in (1, 64):
            torch.nn.Conv2d(64, 64, 3, groups=groups)(torch.ones(1, 64, 32, 32))
thread = threading.Thread(target=run)
thread.start()
thread.join()
""",
    "openvino": """
import numpy as np, openvino
from openvino import opset13 as ops
x = ops.parameter([1, 64, 32, 32], np.float32)
y = ops.convolution(x, np.ones((64, 64, 3, 3), np.float32), [1, 1], [1, 1], [1, 1], [1, 1])
model = openvino.Core().compile_model(openvino.Model([y], [x]), "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
model([np.ones((1, 64, 32, 32), np.float32)])
""",
}


@cache
def require_bf16(engine: str) -> None:
    """Refuse, with BadOption, a CPU that cannot compute in bf16.

    Some virtual machines announce instructions (AMX) that end the process when they are used, so another one tries.
    """
    trial = subprocess.run([sys.executable, "-c", BF16_TRIALS[engine]], capture_output=True, check=False)
    if trial.returncode != 0:
        raise BadOption(
            f"the engine {engine} cannot compute in bf16 on this CPU; use fp32, or set "
            "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 where the CPU has that"
        )


Engine = Callable[[nn.Module, torch.device, str], Run]
ENGINES: Mapping[str, Engine] = {"torch": _torch_engine, "openvino": _openvino_engine}
"""Name -> what makes a function of tiles."""

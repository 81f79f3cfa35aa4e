"""Running a network over tiles: stored values in, probabilities out, on any device and by either engine.

What makes it fast on a CPU is little: weights and activations with channels last, normalisation folded into the
convolutions before it, all of these by oneDNN, memory kept between tiles (`geochange.memory`), and one thread a tile,
since the workers are what runs in parallel.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geochange.arrays import Bools, Floats
from geochange.detectors.networks.contract import Network, probability
from geochange.detectors.networks.symmetry import symmetric_mean
from geochange.errors import BadOption

log = logging.getLogger("geochange")

T = TypeVar("T")

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
WARM_UP_SIDE = 64
IN_FLIGHT = 2  # batches on a GPU: one is computed while another is copied


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """How a network is run; none of it changes what the network is."""

    device: str = "auto"
    precision: str = "fp32"
    engine: str = "torch"
    batch: int = 1


class TileScores(nn.Module):
    """Stored values → probabilities: what the network was taught with comes before it, and its temperature after."""

    def __init__(self, network: Network, values: Preparation, *, temperature: float, augment: bool) -> None:
        super().__init__()
        self.network, self.augment, self.temperature = network, augment, temperature
        self.zoom, self.stride = values.zoom, network.stride
        self.register_buffer("gain", torch.tensor(values.gain, dtype=torch.float32)[..., None, None])
        self.register_buffer("offset", torch.tensor(values.offset, dtype=torch.float32)[..., None, None])

    def forward(self, dates: Tensor, valid: Tensor) -> Tensor:
        """(n, time, band, y, x) as stored and (n, time, y, x) validity as 0 and 1 -> (n, class, y, x)."""
        return probability(self._ask(self.network, dates, valid), self.temperature)

    def with_layers(self, dates: Tensor, valid: Tensor) -> Tensor:
        """As `forward`, followed by the bands of all layers of the network: (n, class + bands, y, x)."""
        said = self._ask(self._joined_layers, dates, valid)
        bands = sum(self.network.layers(dates.shape[1]).values())
        logits, layers = said[:, : said.shape[1] - bands], said[:, said.shape[1] - bands :]
        return torch.cat([probability(logits, self.temperature), layers], dim=1)

    def find(self, dates: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and the boxes of a network of objects, in the tiles' pixels: see `ObjectNetwork`."""
        rows, cols = dates.shape[-2:]
        logits, boxes = self.network.with_objects(self.prepared(dates, valid))
        if self.zoom != 1:
            boxes[:, [1, 2, 3, 4, 7, 8]] /= float(self.zoom)
        return probability(self.restored(logits, rows, cols), self.temperature), boxes

    def _joined_layers(self, dates: Tensor) -> Tensor:
        logits, layers = self.network.with_layers(dates)
        return torch.cat([logits, *layers.values()], dim=1)

    def _ask(self, network: Callable[[Tensor], Tensor], dates: Tensor, valid: Tensor) -> Tensor:
        """What a network says of stored values, pixel by pixel of the tile."""
        rows, cols = dates.shape[-2:]
        fitting = self.prepared(dates, valid)
        said = symmetric_mean(network, fitting) if self.augment else network(fitting)
        return self.restored(said, rows, cols)

    def prepared(self, dates: Tensor, valid: Tensor) -> Tensor:
        """Stored values as the network takes them."""
        return self._fit(self._normalise(dates, valid))

    def _normalise(self, dates: Tensor, valid: Tensor) -> Tensor:
        at_every_date = valid.amin(dim=1)[:, None, None]  # the edge of one date's data would look like a change
        normalised: Tensor = (dates * self.gain + self.offset) * at_every_date
        return normalised

    def restored(self, said: Tensor, rows: int, cols: int) -> Tensor:
        """A map of what `prepared` gave, on the tile's pixels."""
        if self.zoom != 1:
            size = round(said.shape[-2] / self.zoom), round(said.shape[-1] / self.zoom)
            said = functional.interpolate(said, size, mode="bilinear", align_corners=False)
        return said[..., :rows, :cols].float()

    def _fit(self, dates: Tensor) -> Tensor:
        """Dates with the pixel size that the network knows, and sides that are multiples of its stride."""
        n, times = dates.shape[:2]
        flat = dates.flatten(0, 1)
        step = input_stride(self.stride, self.zoom)
        below, right = -flat.shape[-2] % step, -flat.shape[-1] % step
        if below or right:
            flat = functional.pad(flat, (0, right, 0, below), mode="replicate")
        if self.zoom != 1:
            size = round(flat.shape[-2] * self.zoom), round(flat.shape[-1] * self.zoom)
            flat = functional.interpolate(flat, size, mode="bilinear", align_corners=False, antialias=self.zoom < 1)
        return flat.unflatten(0, (n, times))


Coefficients = tuple[float, ...] | tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """How stored values and pixels are brought to those that a network was taught with."""

    gain: Coefficients
    offset: Coefficients
    """For each band, or for each date and band: value * gain + offset is what the network takes."""
    zoom: Fraction = Fraction(1)
    """Pixels of the network for one of the scene."""


def input_stride(stride: int, zoom: Fraction) -> int:
    """Pixels of the scene by which a tile may move: they make whole strides of the network."""
    return stride * zoom.denominator // np.gcd(stride * zoom.denominator, zoom.numerator)


Run = Callable[[Tensor, Tensor], Tensor]
"""(n, time, band, y, x) as stored and (n, time, y, x) validity as 0 and 1, on the device -> (n, bands, y, x)."""

Find = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""As `Run`, and (m, 9) boxes of all tiles: the number of the tile, and what `ObjectNetwork.with_objects` gives."""


class Scorer:
    """A network in memory, ready for tiles. Safe to use from several threads."""

    def __init__(
        self,
        run: Run,
        device: torch.device,
        batch: int = 1,
        *,
        run_layers: Run | None = None,
        run_find: Find | None = None,
    ) -> None:
        self.run, self.run_layers, self.run_find, self.device = run, run_layers, run_find, device
        self.batch = batch  # tiles at once; fewer once memory has run out
        self._turns, self._own = threading.BoundedSemaphore(IN_FLIGHT), threading.local()

    def __call__(self, dates: Floats, valid: Bools, *, layers: bool = False) -> Floats:
        """(n, time, band, y, x) as stored and (n, time, y, x) -> (n, class, y, x) float32; layers behind the classes.

        Where memory runs out, the batch is halved, and stays so.
        """
        run = self.run_layers if layers else self.run
        assert run is not None  # make_scorer's caller asks whether an engine has layers
        parts = self._score(run, *_tensors(dates, valid))
        return torch.cat(parts)[: len(dates)].numpy()

    def find(self, dates: Floats, valid: Bools) -> tuple[Floats, list[Floats]]:
        """As the call, and for each tile (m, 8) boxes, for a network of objects."""
        assert self.run_find is not None
        maps, boxes = [], []
        for said, rows in self._score(self.run_find, *_tensors(dates, valid)):
            boxes += [rows[rows[:, 0] == k, 1:].numpy().astype(np.float64) for k in range(len(said))]
            maps.append(said)
        return torch.cat(maps)[: len(dates)].numpy(), boxes[: len(dates)]

    def _score(self, run: Callable[[Tensor, Tensor], T], dates: Tensor, valid: Tensor) -> list[T]:
        """What is said of each batch."""
        n, batch = len(dates), self.batch
        try:
            return [
                self._on_device(run, _padded(dates[k : k + batch], batch), _padded(valid[k : k + batch], batch))
                for k in range(0, n, batch)
            ]
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if batch == 1:
                rows, cols = dates.shape[-2:]
                raise BadOption(
                    f"one tile of {rows} x {cols} pixels is too much for the memory of {self.device}; "
                    "take a smaller --tile-size"
                ) from error
        self.batch = batch // 2
        log.warning("memory ran out with %d tiles at once; going on with %d", batch, self.batch)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return self._score(run, dates, valid)

    def _on_device(self, run: Callable[[Tensor, Tensor], T], dates: Tensor, valid: Tensor) -> T:
        if self.device.type != "cuda":
            if torch.get_num_threads() != 1:
                torch.set_num_threads(1)  # of this thread: workers are what runs in parallel
            return run(dates, valid)
        with self._turns, torch.cuda.stream(self._stream()):
            moved = [each.pin_memory().to(self.device, non_blocking=True) for each in (dates, valid)]
            return _to_cpu(run(*moved))

    def _stream(self) -> torch.cuda.Stream:
        """This thread's: memory that was freed on one stream is not given to another."""
        if not hasattr(self._own, "stream"):
            self._own.stream = torch.cuda.Stream(self.device)
        stream: torch.cuda.Stream = self._own.stream
        return stream


def _tensors(dates: Floats, valid: Bools) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(dates), torch.from_numpy(valid.astype(np.float32))


def _to_cpu(said: T) -> T:
    """A tensor, or several."""
    moved: Any = tuple(each.cpu() for each in said) if isinstance(said, tuple) else said.cpu()  # type: ignore[attr-defined]
    return cast(T, moved)


def _padded(tiles: Tensor, batch: int) -> Tensor:
    """A last batch of fewer tiles, filled up: a batch of another size may be summed in another order."""
    return tiles if len(tiles) == batch else torch.cat([tiles, tiles[:1].expand(batch - len(tiles), *tiles.shape[1:])])


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def make_scorer(module: TileScores, bands: int, options: ScoreOptions, dates: int = 2) -> Scorer:
    """A scorer on a device, by an engine.

    Raises:
        BadOption: the device, engine or precision cannot be had here.
    """
    if options.precision not in PRECISIONS:
        raise BadOption(f"precision {options.precision!r} is not one of {', '.join(PRECISIONS)}")
    if options.engine not in ENGINES:
        raise BadOption(f"engine {options.engine!r} is not one of {', '.join(ENGINES)}")
    if module.augment and options.engine != "torch":
        raise BadOption(f"--augment needs the engine torch: {options.engine} cannot flip and turn images")
    device = find_device(options.device)
    example = torch.zeros(1, dates, bands, WARM_UP_SIDE, WARM_UP_SIDE), torch.ones(1, dates, WARM_UP_SIDE, WARM_UP_SIDE)
    fold_normalisation(module.eval(), example)
    run = ENGINES[options.engine](module, device, options.precision)
    by_torch = options.engine == "torch"
    run_layers = _with_torch(module, module.with_layers, device, options.precision) if by_torch else None
    run_find = _with_torch(module, module.find, device, options.precision) if by_torch else None
    return Scorer(run, device, options.batch, run_layers=run_layers, run_find=run_find)


def find_device(name: str) -> torch.device:
    """The device of a name; "auto" takes a GPU where there is one.

    Raises:
        BadOption: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise BadOption(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def _torch_engine(module: TileScores, device: torch.device, precision: str) -> Run:
    if precision == "fp16" and device.type == "cpu":
        raise BadOption("precision fp16 needs a GPU; a CPU takes fp32 or bf16")
    if precision == "bf16" and device.type == "cpu":
        require_bf16("torch")
    return _with_torch(module, module, device, precision)


def _with_torch(
    module: TileScores, call: Callable[[Tensor, Tensor], T], device: torch.device, precision: str
) -> Callable[[Tensor, Tensor], T]:
    """A module, or a method of it, on a device and in a precision."""
    module.to(device, memory_format=torch.channels_last)
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


def _openvino_engine(module: TileScores, device: torch.device, precision: str) -> Run:
    """OpenVINO on the CPU: one model for each shape of tiles, one stream of one thread for each core."""
    try:
        import openvino
    except ImportError as error:
        raise BadOption("the engine openvino is not installed: pip install 'geochange[openvino]'") from error
    if device.type != "cpu" or precision == "fp16":
        raise BadOption(f"the engine openvino runs on the CPU in fp32 or bf16, not on {device} in {precision}")
    if precision == "bf16":
        require_bf16("openvino")
    compiled: dict[tuple[int, ...], Any] = {}
    lock, local = threading.Lock(), threading.local()
    hints = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "NUM_STREAMS": str(threads_at_most()),
        "INFERENCE_NUM_THREADS": str(threads_at_most()),
    }

    def model_for(dates: Tensor, valid: Tensor) -> Any:
        shape = tuple(dates.shape)
        with lock:
            if shape not in compiled:
                converted = convert_to_openvino(module, dates, valid)
                compiled[shape] = openvino.Core().compile_model(converted, "CPU", hints)
        requests = local.__dict__.setdefault("requests", {})
        if shape not in requests:
            requests[shape] = compiled[shape].create_infer_request()
        return requests[shape]

    def run(dates: Tensor, valid: Tensor) -> Tensor:
        found = model_for(dates, valid).infer([dates.contiguous().numpy(), valid.contiguous().numpy()])
        return torch.from_numpy(np.array(next(iter(found.values())), np.float32))

    return run


def convert_to_openvino(module: TileScores, dates: Tensor, valid: Tensor) -> Any:
    """An OpenVINO model for tiles of one shape."""
    import openvino

    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's tracer: sizes are fixed on purpose
        return openvino.convert_model(
            module, example_input=(dates, valid), input=[tuple(dates.shape), tuple(valid.shape)]
        )


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
    """Raises BadOption where the CPU cannot do it.

    Some virtual machines announce instructions (AMX) that end the process when they are used, so another one tries.
    """
    trial = subprocess.run([sys.executable, "-c", BF16_TRIALS[engine]], capture_output=True, check=False)
    if trial.returncode != 0:
        raise BadOption(
            f"the engine {engine} cannot compute in bf16 on this CPU; use fp32, or set "
            "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 where the CPU has that"
        )


def threads_at_most() -> int:
    """Cores of this machine that a process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Engine = Callable[[TileScores, torch.device, str], Run]
ENGINES: Mapping[str, Engine] = {"torch": _torch_engine, "openvino": _openvino_engine}
"""Name -> what makes a function of tiles."""


def fold_normalisation(module: nn.Module, example: tuple[Tensor, ...]) -> int:
    """Fold each batch normalisation into the convolution that feeds it; the module computes the same. Returns how many.

    Which one feeds which is seen by running the example through the module.
    """
    made_by: dict[int, tuple[nn.Conv2d, int]] = {}
    pairs: dict[nn.Module, set[nn.Conv2d | None]] = {}
    kept: list[Tensor] = []  # so that no address is used twice

    def after_convolution(convolution: nn.Module, inputs: Any, output: Tensor) -> None:
        assert isinstance(convolution, nn.Conv2d)
        made_by[id(output)] = convolution, output._version
        kept.append(output)

    def before_normalisation(normalisation: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        convolution, version = made_by.get(id(inputs[0]), (None, 0))
        unchanged = version == inputs[0]._version  # an activation in place gives the convolution's own tensor
        pairs.setdefault(normalisation, set()).add(convolution if unchanged else None)

    hooks = [each.register_forward_hook(after_convolution) for each in module.modules() if isinstance(each, nn.Conv2d)]
    hooks += [
        each.register_forward_pre_hook(before_normalisation)
        for each in module.modules()
        if isinstance(each, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        module(*example)
    for hook in hooks:
        hook.remove()
    feeding = [(found.pop(), bn) for bn, found in pairs.items() if len(found) == 1]
    for convolution, normalisation in feeding:
        if convolution is not None:
            _fold(module, convolution, normalisation)
    return sum(convolution is not None for convolution, _ in feeding)


def _fold(module: nn.Module, convolution: nn.Conv2d, normalisation: nn.Module) -> None:
    fused = fuse_conv_bn_eval(convolution, normalisation)  # type: ignore[type-var]
    convolution.weight, convolution.bias = fused.weight, fused.bias
    activation = getattr(normalisation, "act", nn.Identity())  # timm's carry their activation
    for parent in module.modules():
        for name, child in parent.named_children():
            if child is normalisation:
                setattr(parent, name, activation)

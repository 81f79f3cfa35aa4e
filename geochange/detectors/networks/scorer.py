"""Running a network over tiles: stored values in, probabilities out, on any device and by either engine.

What makes it fast on a CPU is little: weights and activations with channels last, normalisation folded into the
convolutions before it, all of these by oneDNN, memory kept between tiles (`geochange.allocator`), and one thread a
tile, since the workers are what runs in parallel.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from geochange.arrays import Bools, Floats
from geochange.detectors.networks.contract import PIXEL_POWERS, PLACE, Network, outputs_needed, probability
from geochange.detectors.networks.engines import ENGINES, Find, Run, with_torch
from geochange.detectors.networks.folding import fold_normalisation
from geochange.detectors.networks.symmetry import symmetric_mean
from geochange.detectors.preparation import Preparation, input_stride
from geochange.errors import BadOption

log = logging.getLogger("geochange")

T = TypeVar("T")

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
    """Stored values → probabilities: what the network was trained with comes before it, and its temperature after."""

    gain: Tensor
    offset: Tensor

    def __init__(self, network: Network, values: Preparation, *, temperature: float, augment: bool) -> None:
        super().__init__()
        self.network, self.augment, self.temperature = network, augment, temperature
        self.zoom, self.stride = values.zoom, network.stride
        self.register_buffer("gain", torch.tensor(values.gain, dtype=torch.float32)[..., None, None])
        self.register_buffer("offset", torch.tensor(values.offset, dtype=torch.float32)[..., None, None])

    def forward(self, dates: Tensor, valid: Tensor) -> Tensor:
        """(n, time, band, y, x) as stored and (n, time, y, x) validity as 0 and 1 -> (n, class, y, x)."""
        return probability(self._run(self.network, dates, valid), self.temperature)

    def with_layers(self, dates: Tensor, valid: Tensor) -> Tensor:
        """As `forward`, followed by the bands of all layers of the network: (n, class + bands, y, x)."""
        layers = self.network.layers(dates.shape[1])
        classes = outputs_needed(self.network.classes)
        names = [name for name, bands in layers.items() for _ in range(bands)]
        output = self._run(
            self._joined_layers, dates, valid, pointing=classes + names.index(PLACE) if PLACE in names else None
        )
        scale = [float(self.zoom) ** -PIXEL_POWERS.get(name, 0) for name in names]  # to the tile's pixels
        measured = output[:, classes:] * torch.tensor(scale, device=output.device)[:, None, None]
        return torch.cat([probability(output[:, :classes], self.temperature), measured], dim=1)

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

    def _run(
        self, network: Callable[[Tensor], Tensor], dates: Tensor, valid: Tensor, pointing: int | None = None
    ) -> Tensor:
        """Run a network on stored values, and bring its output to the tile's pixels."""
        rows, cols = dates.shape[-2:]
        fitting = self.prepared(dates, valid)
        output = symmetric_mean(network, fitting, torch.flip, pointing) if self.augment else network(fitting)
        return self.restored(output, rows, cols)

    def prepared(self, dates: Tensor, valid: Tensor) -> Tensor:
        """Bring stored values to what the network takes."""
        return self._fit(self._normalise(dates, valid))

    def _normalise(self, dates: Tensor, valid: Tensor) -> Tensor:
        at_every_date = valid.amin(dim=1)[:, None, None]  # the edge of one date's data would look like a change
        normalised: Tensor = (dates * self.gain + self.offset) * at_every_date
        return normalised

    def restored(self, output: Tensor, rows: int, cols: int) -> Tensor:
        """Bring a map of what `prepared` returned back to the tile's pixels."""
        if self.zoom != 1:
            size = round(output.shape[-2] / self.zoom), round(output.shape[-1] / self.zoom)
            output = functional.interpolate(output, size, mode="bilinear", align_corners=False)
        return output[..., :rows, :cols].float()

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
        return flat.view(n, times, *flat.shape[1:])


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
        maps: list[Tensor] = []
        boxes: list[Floats] = []
        for output, rows in self._score(self.run_find, *_tensors(dates, valid)):
            boxes += [rows[rows[:, 0] == k, 1:].numpy().astype(np.float64) for k in range(len(output))]
            maps.append(output)
        return torch.cat(maps)[: len(dates)].numpy(), boxes[: len(dates)]

    def _score(self, run: Callable[[Tensor, Tensor], T], dates: Tensor, valid: Tensor) -> list[T]:
        """Run each batch."""
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
        """Return this thread's stream: memory that was freed on one is not given to another."""
        if not hasattr(self._own, "stream"):
            self._own.stream = cast(Any, torch.cuda.Stream)(self.device)  # torch gives it no types
        stream: torch.cuda.Stream = self._own.stream
        return stream


def _tensors(dates: Floats, valid: Bools) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(dates), torch.from_numpy(valid.astype(np.float32))


def _to_cpu(output: T) -> T:
    """Move a tensor, or several."""
    given: Any = output
    return cast(T, tuple(each.cpu() for each in given) if isinstance(given, tuple) else given.cpu())


def _padded(tiles: Tensor, batch: int) -> Tensor:
    """Fill up a last batch of fewer tiles: a batch of another size may be summed in another order."""
    return tiles if len(tiles) == batch else torch.cat([tiles, tiles[:1].expand(batch - len(tiles), *tiles.shape[1:])])


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def make_scorer(module: TileScores, bands: int, options: ScoreOptions, dates: int = 2) -> Scorer:
    """Make a scorer on a device, by an engine.

    Raises:
        BadOption: the device, engine or precision cannot be used here.
    """
    device = find_device(options.device)
    example = torch.zeros(1, dates, bands, WARM_UP_SIDE, WARM_UP_SIDE), torch.ones(1, dates, WARM_UP_SIDE, WARM_UP_SIDE)
    fold_normalisation(module.eval(), example)
    run = ENGINES[options.engine](module, device, options.precision)
    by_torch = options.engine == "torch"
    run_layers = with_torch(module, module.with_layers, device, options.precision) if by_torch else None
    run_find = with_torch(module, module.find, device, options.precision) if by_torch else None
    return Scorer(run, device, options.batch, run_layers=run_layers, run_find=run_find)


def find_device(name: str) -> torch.device:
    """Find the device of a name; "auto" takes a GPU where there is one.

    Of several GPUs "auto" and "cuda" take the one of the process's number, which torchrun gives it, and `--workers`.

    Raises:
        BadOption: the device cannot be used here.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", own_number(torch.cuda.device_count()))
    if name == "auto":
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadOption(f"device {name!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return device


def own_number(count: int) -> int:
    """Return which of so many GPUs is this process's."""
    return int(os.environ.get("LOCAL_RANK", "0")) % count

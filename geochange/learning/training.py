"""Fitting a network on labelled samples: a straight loop that can be stopped and goes on bit for bit."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geochange.allocator import keep_freed_memory
from geochange.datasets.balance import class_shares, label_counts
from geochange.datasets.collection import Collection
from geochange.detectors.networks.checkpoint import About, Checkpoint
from geochange.detectors.networks.contract import Batch, Criterion, Network, outputs_needed
from geochange.detectors.networks.object_network import ObjectNetwork
from geochange.detectors.networks.scorer import find_device
from geochange.engine.progress import Listener, Silent
from geochange.errors import BadOption, DiskFull, GeochangeError, NotFinite
from geochange.interrupts import Interrupts
from geochange.learning.batches import Reading, read_batches
from geochange.learning.freezing import freeze, set_training
from geochange.learning.losses import anchored, criterion_of
from geochange.learning.object_scoring import ItemObjects, find_items, object_figures, score_histogram
from geochange.learning.optimising import average_weights, make_optimizer, rate_factor
from geochange.learning.options import PrecisionName, TrainOptions
from geochange.learning.ranks import Ranks, join_ranks
from geochange.learning.samples import TrainingSamples
from geochange.learning.scoring import (
    CollectionScores,
    ScoringOptions,
    class_figures,
    confusion_of,
    merit_name,
    pool_scores,
    score_items,
)
from geochange.learning.training_state import Row, Running, State, write_classes, write_history

LAST, BEST, HISTORY, CLASSES = "last.pt", "best.pt", "history.csv", "classes.csv"
DTYPES: Mapping[PrecisionName, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Anchor:
    """The network whose scores are kept where nothing is labelled."""

    network: Network
    weight: float

    def hold(self, criterion: Criterion, dates: Tensor) -> Criterion:
        """Return the criterion of a batch."""
        with torch.no_grad():
            before = self.network.to(dates.device)(dates).float()
        return anchored(criterion, before, self.weight)


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same while a network is fitted."""

    about: About
    held_out: tuple[Collection, ...]
    gsd: float | None
    folder: Path
    options: TrainOptions
    device: torch.device
    ranks: Ranks
    interrupts: Interrupts
    listener: Listener
    anchor: Anchor | None

    @property
    def record(self) -> dict[str, Any]:
        return asdict(self.options) | {"processes": self.ranks.count}

    @property
    def reading(self) -> Reading:
        options = self.options
        return Reading(
            steps=options.steps * options.accumulate,
            batch=options.batch,
            loaders=options.loaders,
            seed=options.seed,
            pinned=self.device.type == "cuda",
            rank=self.ranks.rank,
            ranks=self.ranks.count,
        )

    def save(self, state: State) -> None:
        if self.ranks.first:
            state.save(self.folder / LAST, self.record)


Show = Callable[[Row, Network, CollectionScores | None], None]
"""Receives each epoch: its figures, the averaged network, and its scores on held-out items."""


def fit(  # noqa: PLR0917, network, data, folder and options: all are needed
    network: Network,
    about: About,
    samples: TrainingSamples,
    held_out: Sequence[Collection],
    folder: Path,
    options: TrainOptions,
    *,
    anchor: Anchor | None = None,
    show: Show | None = None,
    listener: Listener | None = None,
) -> State:
    """Fit a network; RUN/last.pt holds the whole state after each epoch, RUN/best.pt the best averaged weights.

    A folder that holds a state already is gone on with. After Ctrl-C, SIGTERM or a broken image the state of the last
    finished update is kept. Under torchrun all processes fit together, and the first one writes.

    Args:
        network: with the weights to begin with; it is changed.
        about: description that its checkpoints hold.
        samples: to train on.
        held_out: to score on after each epoch; may be empty.
        folder: exists.
        options: how.
        anchor: what is kept where nothing is labelled.
        show: receives each epoch with its network, on the first process.
        listener: receives each update and the figures of each epoch, on the first process.

    Raises:
        BadOption: the folder holds a state of other options, or the device cannot be had.
        NotFinite: the loss overflows; the state of the last finished epoch is kept.
        DiskFull: the last good state is kept.
        UnreadableInput: an image is broken.
    """
    keep_freed_memory()
    options = with_class_weights(options, samples.collections)
    criterion_of(options, len(network.classes))  # weights that do not fit are refused now
    device = require_possible(options, held_out)
    with join_ranks(device) as ranks, Interrupts() as interrupts:
        listener = listener if listener is not None and ranks.first else Silent()
        run = _Run(
            about, tuple(held_out), samples.options.gsd, folder, options, device, ranks, interrupts, listener, anchor
        )
        state = begin(network, options, device)
        if (folder / LAST).exists():
            state.load(folder / LAST, run.record)
        _fit(state, samples, run, show)
    return state


def _fit(state: State, samples: TrainingSamples, run: _Run, show: Show | None) -> None:
    criterion = run.ranks.share(NetworkLoss(state.network))
    options = run.options
    run.listener.begin("train", options.steps - state.step, 0)
    try:
        with closing(read_batches(samples, state.step * options.accumulate, run.reading)) as batches:
            while state.scored_step < options.steps and not _out_of_patience(state, options):
                _finish_epoch(state, criterion, batches, run)
                scores, objects = _score(state, run), _find_objects(state, run)
                with run.interrupts.hold():
                    row = _close_epoch(state, scores, objects, run)
                run.listener.report({**row, "steps": options.steps})
                if run.ranks.first and show is not None:
                    show(row, state.averaged, scores)
                run.interrupts.obey()
    except (NotFinite, DiskFull):
        raise  # weights may be spoilt, or nothing can be written: the file is good as it is
    except (KeyboardInterrupt, GeochangeError):
        with run.interrupts.hold():
            run.save(state)
        raise
    run.listener.end("train", sum(row["seconds"] for row in state.history))


def begin(network: Network, options: TrainOptions, device: torch.device) -> State:
    """Return the state before the first step."""
    network = network.to(device).to(memory_format=torch.channels_last)
    freeze(network, options.frozen)
    averaged = copy.deepcopy(network).eval().requires_grad_(False)
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16" and device.type == "cuda")
    state = State(network, averaged, make_optimizer(network, options), scaler)
    state.running = _nothing_yet(network, device)
    return state


def _nothing_yet(network: Network, device: torch.device) -> Running:
    classes = 1 + len(network.classes)
    return Running(torch.zeros(classes, classes, dtype=torch.int64, device=device))


class NetworkLoss(nn.Module):
    """A network's loss as the forward pass of a module: what DistributedDataParallel wants."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, dates: Tensor, labels: Tensor, criterion: Criterion) -> Tensor:
        """Return the loss of a batch."""
        return self.network.loss(Batch(dates, labels), criterion)


class Counting:
    """A criterion that also counts predictions of the first logits that it receives."""

    def __init__(self, criterion: Criterion, classes: Sequence[str]) -> None:
        self.criterion, self.channels = criterion, outputs_needed(classes)
        self.confusion: Tensor | None = None

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the value of the criterion."""
        if self.confusion is None and logits.shape[1:] == (self.channels, *labels.shape[-2:]):
            with torch.no_grad():
                self.confusion = confusion_of(logits.detach(), labels)
        return self.criterion(logits, labels)


def _finish_epoch(state: State, criterion: nn.Module, batches: Iterator[Batch], run: _Run) -> None:
    """Run updates up to the end of the epoch that the state is in."""
    options, interrupts = run.options, run.interrupts
    end = min(options.steps, (state.scored_step // options.every + 1) * options.every)
    set_training(state.network, statistics=options.batch_statistics)
    state.running.confusion = state.running.confusion.to(run.device)
    while state.step < end:
        began = time.perf_counter()
        with interrupts.hold() if run.ranks.count > 1 else nullcontext():  # others wait for this one's update
            passes = [next(batches) for _ in range(options.accumulate)]
        with interrupts.hold():
            _update(state, criterion, passes, run)
            state.running.seconds += time.perf_counter() - began
        if run.ranks.any(interrupts.wanted):
            interrupts.stop()
        run.listener.advance(0)


def _update(state: State, criterion: nn.Module, passes: Sequence[Batch], run: _Run) -> None:
    """Update the weights once, and their average.

    Raises:
        NotFinite: the loss or its gradient overflows; the weights stay as they were.
    """
    options, total = run.options, 0.0
    confusion = torch.zeros_like(state.running.confusion)
    for group in state.optimizer.param_groups:
        group["lr"] = group["full_rate"] * rate_factor(state.step, options)
    for k, batch in enumerate(passes):
        moved = batch.to(run.device)
        wanted = criterion_of(options, len(state.network.classes))
        if run.anchor is not None:
            wanted = run.anchor.hold(wanted, moved.dates)
        counting = Counting(wanted, state.network.classes)
        with run.ranks.alone(criterion) if k < len(passes) - 1 else nullcontext():
            with autocast(options.precision, run.device):
                loss = criterion(moved.dates, moved.labels, counting) / len(passes)
            total += _finite(float(loss.detach()), "loss", state, options)
            state.scaler.scale(loss).backward()
        confusion += 0 if counting.confusion is None else counting.confusion
    _apply_gradients(state, options)
    state.step += 1
    average_weights(state.averaged, state.network, options.average, state.step)
    running = state.running
    running.updates, running.loss, running.confusion = (
        running.updates + 1,
        running.loss + total,
        running.confusion + confusion,
    )


def _apply_gradients(state: State, options: TrainOptions) -> None:
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), options.clip)
    if not state.scaler.is_enabled():  # else the scaler leaves an update out, and goes on with a smaller factor
        _finite(float(norm), "gradient of the loss", state, options)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)


def _finite(value: float, what: str, state: State, options: TrainOptions) -> float:
    if math.isfinite(value):
        return value
    precision = "" if options.precision == "fp32" else f", or precision fp32 in place of {options.precision}"
    raise NotFinite(
        f"the {what} is {value} at step {state.step + 1}; train with a rate lower than {options.rate:g}{precision}"
    )


def _score(state: State, run: _Run) -> CollectionScores | None:
    """Score the averaged weights on held-out items, each process on its part of them."""
    if not any(map(len, run.held_out)):
        return None
    run.ranks.copy_buffers(state.averaged)
    options = ScoringOptions(device=run.device, gsd=run.gsd)
    rank, count = run.ranks.rank, run.ranks.count
    own = [
        item
        for each in run.held_out
        for item in score_items(state.averaged, each, run.about.normalisation, options, range(rank, len(each), count))
    ]
    return pool_scores(item for part in run.ranks.gather(own) for item in part)


def _find_objects(state: State, run: _Run) -> list[ItemObjects]:
    """Find objects in held-out items; nothing for other networks, or where nothing is held out."""
    network = state.averaged
    if not (isinstance(network, ObjectNetwork) and any(map(len, run.held_out))):
        return []
    options = ScoringOptions(device=run.device, gsd=run.gsd)
    rank, count = run.ranks.rank, run.ranks.count
    own = [
        item
        for each in run.held_out
        for item in find_items(network, each, run.about.normalisation, options, range(rank, len(each), count))
    ]
    return [item for part in run.ranks.gather(own) for item in part]


def _close_epoch(state: State, scores: CollectionScores | None, objects: Sequence[ItemObjects], run: _Run) -> Row:
    """Write the epoch into the history, and the state and what is the best so far to disk."""
    row = _training_figures(state, run)
    if scores is None:
        state.best_epoch = len(state.history)
        _keep_best(state, {}, 0.5, run)
    else:
        threshold = scores.histogram.best_threshold()
        figures = scores.figures(threshold, run.options.seed) | (object_figures(objects) if objects else {})
        shown = {f"val_{name}": value for name, value in figures.items() if name not in ("f1_low", "f1_high")}
        row |= {"val_loss": scores.entropy, "threshold": threshold, **shown}
        merit = figures[merit_name(figures)]
        if merit > state.best:
            state.best, state.best_epoch = merit, len(state.history)
            least = (score_histogram(objects).best_threshold() or 0.5) if objects else threshold  # 0: nothing was hit
            _keep_best(state, figures, least, run)
            if run.ranks.first:
                write_classes(run.folder / CLASSES, scores.confusion_at(threshold), state.network.classes)
    state.history.append(row)
    state.running = _nothing_yet(state.network, run.device)
    run.save(state)
    if run.ranks.first:
        write_history(run.folder / HISTORY, state.history)
    return row


def _keep_best(state: State, figures: Mapping[str, float], threshold: float, run: _Run) -> None:
    if run.ranks.first:
        checkpoint_of(state.averaged, run.about, figures, threshold).save(run.folder / BEST)


def _training_figures(state: State, run: _Run) -> Row:
    """Return figures of the epoch's training batches, at probability 0.5; over all processes."""
    parts = run.ranks.gather(replace(state.running, confusion=state.running.confusion.cpu()))
    updates = max(sum(part.updates for part in parts), 1)
    confusion = sum((part.confusion for part in parts), torch.zeros((), dtype=torch.int64)).numpy()
    return {
        "step": state.step,
        "loss": sum(part.loss for part in parts) / updates,
        **(class_figures(confusion) if confusion.any() else {}),
        "rate": run.options.rate * rate_factor(state.step, run.options),
        "seconds": state.running.seconds,
    }


def checkpoint_of(network: Network, about: About, metrics: Mapping[str, float], threshold: float) -> Checkpoint:
    """Return a network as a checkpoint."""
    weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    return Checkpoint(replace(about, metrics=dict(metrics), thresholds={"default": threshold}), weights)


def autocast(precision: PrecisionName, device: torch.device) -> Any:
    """Return a context of mixed precision where it is asked for."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


def with_class_weights(options: TrainOptions, collections: Sequence[Collection]) -> TrainOptions:
    """Return options with the numbers that balanced weights stand for: one over the share of each class, mean 1."""
    if options.class_weights != "balanced":
        return options
    counts = np.concatenate([label_counts(each) for each in collections])
    shares = class_shares(counts)
    if not shares.all():
        raise BadOption("class_weights balanced needs a pixel of each class in the training data; give numbers")
    return replace(options, class_weights=tuple(float(x) for x in 1 / (len(shares) * shares)))


def require_possible(options: TrainOptions, held_out: Sequence[Collection]) -> torch.device:
    """Return the device to fit on.

    Raises:
        BadOption: it cannot be had, or options do not go with it or with what is held out.
    """
    device = find_device(options.device)
    if options.precision == "fp16" and device.type != "cuda":
        raise BadOption(f"precision fp16 needs a GPU, the device is {device.type}; take bf16 or fp32")
    if options.patience is not None and not held_out:
        raise BadOption(f"patience {options.patience} needs held-out items to score on; there are none")
    return device


def _out_of_patience(state: State, options: TrainOptions) -> bool:
    return options.patience is not None and len(state.history) - 1 - state.best_epoch >= options.patience

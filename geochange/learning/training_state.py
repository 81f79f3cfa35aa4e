"""All that changes while a network is fitted, as a file that a training goes on from."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geochange.arrays import Ints
from geochange.detectors.networks.checkpoint import load_tensors
from geochange.detectors.networks.contract import Network
from geochange.errors import BadOption
from geochange.evaluation.classes import Classes
from geochange.evaluation.pixel_scores import AVERAGES, score_pixels
from geochange.files import write_whole
from geochange.parsing import parsing

MAY_DIFFER = ("loaders", "device", "patience", "every")  # between the parts of a run that was resumed

CLASS_FIGURES = ("precision", "recall", "f1")

Row = dict[str, float]
"""An epoch in figures."""


@dataclass
class Running:
    """What an unfinished epoch has seen so far."""

    confusion: Tensor  # (label, prediction)
    updates: int = 0
    loss: float = 0.0  # summed over updates
    seconds: float = 0.0


@dataclass
class State:
    """All that changes while a network is fitted."""

    network: Network
    averaged: Network
    optimizer: torch.optim.Optimizer
    scaler: Any
    step: int = 0
    best: float = -1.0
    best_epoch: int = 0
    history: list[Row] = field(default_factory=list)
    running: Running = field(default_factory=lambda: Running(torch.zeros(2, 2, dtype=torch.int64)))

    def save(self, path: Path, options: Mapping[str, Any]) -> None:
        """Write the state, whole.

        Raises:
            DiskFull: it does not fit; the file is as it was before.
        """
        buffer = io.BytesIO()
        torch.save(
            {
                "network": self.network.state_dict(),
                "averaged": self.averaged.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "step": self.step,
                "best": self.best,
                "best_epoch": self.best_epoch,
                "history": self.history,
                "running": {**vars(self.running), "confusion": self.running.confusion.cpu()},
                "random": torch.get_rng_state(),
                "options": dict(options),
            },
            buffer,
        )
        write_whole(path, buffer.getbuffer())

    def load(self, path: Path, options: Mapping[str, Any] | None = None) -> None:
        """Load what `save` wrote.

        Raises:
            UnreadableInput: the file is damaged, or of another network.
            BadOption: it was written under other options.
        """
        saved = load_tensors(path)
        with parsing(path, "a state of this training, and not of another network"):
            _require_same(saved["options"], options or {}, path)
            self.network.load_state_dict(saved["network"])
            self.averaged.load_state_dict(saved["averaged"])
            self.optimizer.load_state_dict(saved["optimizer"])
            if saved["scaler"]:
                self.scaler.load_state_dict(saved["scaler"])
            self.step, self.best, self.best_epoch = saved["step"], saved["best"], saved["best_epoch"]
            self.history = saved["history"]
            if "running" in saved:
                self.running = Running(**saved["running"])
            torch.set_rng_state(saved["random"])

    @property
    def scored_step(self) -> int:
        """The step at which the last finished epoch ended."""
        return int(self.history[-1]["step"]) if self.history else 0


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> None:
    for name in sorted({*before} & {*now} - {*MAY_DIFFER}):
        if before[name] != now[name]:
            raise BadOption(
                f"{path} was begun with {name} {before[name]}, now it is {now[name]}; give the same, or begin again"
            )


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write one row an epoch."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in history)
    write_whole(path, text.getvalue().encode())


def write_classes(path: Path, confusion: Ints, classes: Sequence[str]) -> None:
    """Write a CSV of precision, recall, F1 and support: of no change, of each class, and their averages.

    Args:
        path: the file.
        confusion: (label, prediction) pixels.
        classes: names of the labels 1, 2, ...
    """
    names = ("no change", *classes)
    scores = score_pixels(confusion[None], Classes(labels=tuple(range(len(names))), names=names)).to_dict()
    averages = {name: scores[name] | {"support": scores["count"]} for name in AVERAGES}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("class", *CLASS_FIGURES, "support"))
    for name, found in (*scores["per_class"].items(), *averages.items()):
        figures = ("" if found[each] is None else f"{found[each]:.4f}" for each in CLASS_FIGURES)
        writer.writerow((name, *figures, found["support"]))
    write_whole(path, text.getvalue().encode())

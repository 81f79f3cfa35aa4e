"""Figures of a run for TensorBoard: by step, a few held-out items, and the precision-recall curve."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from geochange.arrays import IGNORE, Array, Bools, Floats
from geochange.datasets.collection import Collection, Sample
from geochange.detectors.networks.checkpoint import Normalisation
from geochange.detectors.networks.contract import Network, probability
from geochange.files import naming_full_disks
from geochange.learning.scoring import SCORE_BINS, CollectionScores, ProbabilityHistogram, score_sample

ITEMS = 4  # held-out items that are drawn
PICTURE_SIDE = 256  # px of each picture, at most
CURVE_POINTS = 127  # TensorBoard's own number


class Events:
    """A file of events, written as they come.

    torch's own `SummaryWriter` writes in a thread, in which a full disk ends in a traceback, and its words are lost.

    Args:
        folder: made where it is missing.

    Raises:
        ImportError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = Event
        self.path = folder / f"events.out.tfevents.{int(time.time())}.{platform.node()}.{uuid4().hex[:8]}"
        with naming_full_disks(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._records: Any = RecordWriter(self.path.open("wb", buffering=0))
            self._write(file_version="brain.Event:2")

    def add(self, summary: Any, step: int) -> None:
        """Add a summary.

        Raises:
            DiskFull: there is no room for it.
        """
        with naming_full_disks(self.path):
            self._write(summary=summary, step=step)

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def _write(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())


class Board:
    """Writes into one folder of events.

    Raises:
        ImportError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path, held_out: Sequence[Collection], normalisation: Normalisation) -> None:
        from torch.utils.tensorboard import summary

        self.summary: Any = summary
        self.events = Events(folder)
        self.held_out, self.normalisation = held_out, normalisation

    def show(self, row: dict[str, float], network: Network, scores: CollectionScores | None) -> None:
        """Add an epoch; see `training.Show`."""
        step = int(row["step"])
        for name, value in row.items():
            if name not in ("step", "seconds"):
                self.events.add(self.summary.scalar(_tag(name), value), step)
        if scores is not None:
            self._draw_curve(scores.histogram, step)
        for collection, index in shown_items(self.held_out, ITEMS):
            self._draw_item(network, collection, index, step)

    def close(self) -> None:
        """Finish the file of events."""
        self.events.close()

    def _draw_curve(self, histogram: ProbabilityHistogram, step: int) -> None:
        at = np.linspace(0, SCORE_BINS - 1, CURVE_POINTS).round().astype(int)
        hits, false = (counts[at] for counts in histogram.predicted())
        unchanged, changed = histogram.counts.sum(axis=1)
        precision, recall = (curve[at] for curve in histogram.precision_recall())
        counts = hits, false, unchanged - false, changed - hits
        curve = self.summary.pr_curve_raw("held out", *counts, precision, recall, CURVE_POINTS)
        self.events.add(curve, step)

    def _draw_item(self, network: Network, collection: Collection, index: int, step: int) -> None:
        sample = collection.read(index)
        device = next(network.parameters()).device
        logits = score_sample(network, sample, self.normalisation, device).float()
        picture = draw_sample(sample, probability(logits)[0].amax(dim=0).numpy())
        name = f"held out/{collection.items[index].name}"
        self.events.add(self.summary.image(name, torch.from_numpy(picture), dataformats="CHW"), step)


def _tag(name: str) -> str:
    """Return the tag of a figure, by which training and held-out items stand side by side."""
    return f"{name.removeprefix('val_')}/{'held out' if name.startswith('val_') else 'training'}"


def shown_items(collections: Sequence[Collection], most: int) -> list[tuple[Collection, int]]:
    """Return items spread evenly over the collections."""
    places = [(each, index) for each in collections for index in range(len(each))]
    chosen = sorted({round(k) for k in np.linspace(0, len(places) - 1, min(most, len(places)))})
    return [places[k] for k in chosen]


def draw_sample(sample: Sample, changed: Floats) -> Array:
    """Draw the dates, the labels and the probability of change side by side: (3, y, x) float32 in 0..1."""
    step = max(1, -(-max(changed.shape) // PICTURE_SIDE))
    dates = [_stretch(date, valid) for date, valid in zip(sample.dates, sample.valid, strict=True)]
    labels = np.where(sample.labels == IGNORE, 0.5, sample.labels > 0)
    grey = [np.broadcast_to(each.astype(np.float32), (3, *changed.shape)) for each in (labels, changed)]
    picture: Array = np.concatenate([each[:, ::step, ::step] for each in (*dates, *grey)], axis=2)
    return picture


def _stretch(date: Array, valid: Bools) -> Array:
    """Stretch the first three bands, or the first as grey, between their 2nd and 98th percentiles."""
    bands = (date[:3] if len(date) >= 3 else np.repeat(date[:1], 3, axis=0)).astype(np.float32)
    low, high = np.percentile(bands[:, valid], (2, 98)) if valid.any() else (0.0, 1.0)
    stretched: Array = np.clip((bands - low) / max(high - low, 1e-6), 0, 1)
    return stretched

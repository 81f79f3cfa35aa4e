"""Scores of a network on labelled samples: from a histogram of its probabilities, so for every threshold at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geochange.arrays import IGNORE, Array, Bools, Floats, Ints
from geochange.datasets.collection import Collection, Sample
from geochange.detectors.networks.checkpoint import Normalisation
from geochange.detectors.networks.contract import Network, probability
from geochange.detectors.networks.symmetry import symmetric_mean
from geochange.errors import NotFinite
from geochange.evaluation.bootstrap import Bootstrap, Interval, bound_figures, hit_rates, resample_sums
from geochange.learning.samples import normalise

SCORE_BINS = 1000
MERITS = {"ap50": "AP50 of objects", "macro_f1": "mean F1 of the classes", "f1": "F1"}
"""Figures that networks are compared by, the first that there is -> what they are."""
REPLICATES = 2000
_PLACE_IN_SCENE = re.compile(r"(?<=.)_\d+_\d+$")


@dataclass
class ProbabilityHistogram:
    """Counts of labelled pixels by the probability of change that they were given."""

    counts: Ints = field(default_factory=lambda: np.zeros((2, SCORE_BINS), np.int64))
    """(unchanged or changed, bin)."""

    def add(self, probability: Floats, changed: Bools) -> None:
        """Count (k,) pixels."""
        bins = np.minimum((probability * SCORE_BINS).astype(np.int64), SCORE_BINS - 1)
        self.counts += np.bincount(bins + SCORE_BINS * changed, minlength=2 * SCORE_BINS).reshape(2, SCORE_BINS)

    def predicted(self) -> tuple[Ints, Ints]:
        """Return, at each threshold k / SCORE_BINS, hits and false alarms among pixels predicted as change."""
        false, hits = self.counts[:, ::-1].cumsum(axis=1)[:, ::-1]
        return hits, false

    def precision_recall(self) -> tuple[Floats, Floats]:
        """Return, at each threshold k / SCORE_BINS, precision (1 where nothing is predicted as change) and recall."""
        hits, false = self.predicted()
        precision = np.where(hits + false > 0, hits / np.maximum(hits + false, 1), 1.0)
        return precision, hits / max(int(self.counts[1].sum()), 1)

    def average_precision(self) -> float:
        """Return the area under the precision-recall curve: the sum of precision times the gain in recall."""
        precision, recall = self.precision_recall()
        return float((precision * -np.diff(recall, append=0.0)).sum())

    def f1(self) -> Floats:
        """Return F1 at each threshold k / SCORE_BINS."""
        precision, recall = self.precision_recall()
        return 2 * precision * recall / np.maximum(precision + recall, 1e-12)

    def best_threshold(self) -> float:
        """Return the threshold of the greatest F1; the middle one of equals."""
        f1 = self.f1()
        best = np.nonzero(f1 >= f1.max() - 1e-12)[0]
        return float(best[len(best) // 2]) / SCORE_BINS

    def outcomes(self, threshold: float) -> tuple[int, int, int]:
        """Return hits, false alarms and misses at a threshold."""
        k = min(round(threshold * SCORE_BINS), SCORE_BINS - 1)
        false, hits = (int(row[k:].sum()) for row in self.counts)
        return hits, false, int(self.counts[1].sum()) - hits

    def at(self, threshold: float) -> dict[str, float]:
        """Return precision, recall, F1, IoU and accuracy at a threshold."""
        hits, false, misses = self.outcomes(threshold)
        changed, total = hits + misses, int(self.counts.sum())
        return {
            "precision": hits / (hits + false) if hits + false else 1.0,
            "recall": hits / changed if changed else 1.0,
            "f1": 2 * hits / max(2 * hits + false + misses, 1),
            "iou": hits / max(hits + false + misses, 1),
            "accuracy": (total - false - misses) / max(total, 1),
        }


@dataclass(frozen=True, slots=True)
class ItemScores:
    """Scores of one item."""

    scene: str
    counts: Ints
    """(unchanged or changed, bin): those of a `ProbabilityHistogram` of the likeliest class of change."""
    confusion: Ints
    """(label, prediction), without a threshold: see `confusion_of`."""
    entropy: float
    """Mean cross-entropy of its labelled pixels."""


@dataclass(frozen=True, slots=True)
class CollectionScores:
    """Scores of many items together, and scene by scene."""

    histogram: ProbabilityHistogram
    confusion: Ints
    entropy: float
    scenes: Mapping[str, ProbabilityHistogram]

    def confusion_at(self, threshold: float) -> Ints:
        """Return (label, prediction) pixels: of one class at a threshold, of several the likeliest one."""
        if len(self.confusion) > 2:
            return self.confusion
        hits, false, misses = self.histogram.outcomes(threshold)
        return np.array([[int(self.histogram.counts[0].sum()) - false, false], [misses, hits]])

    def figures(self, threshold: float, seed: int = 0) -> dict[str, float]:
        """Return pooled scores at a threshold, the interval of F1 where there is one, and macro F1 of classes."""
        figures = self.histogram.at(threshold)
        if len(self.confusion) > 2:
            figures["macro_f1"] = class_figures(self.confusion)["f1"]
        outcomes = np.array([each.outcomes(threshold) for each in self.scenes.values()])
        interval = pooled_f1_interval(outcomes, seed)
        if interval is not None:
            figures |= {"f1_low": interval[0], "f1_high": interval[1]}
        return figures


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringOptions:
    """How samples are scored."""

    device: torch.device | None = None
    augment: bool = False  # average over the eight flips and quarter turns
    gsd: float | None = None  # metres a pixel that the network wants; None: as the images lie
    temperature: float = 1.0  # that logits are divided by


def score_items(
    network: Network,
    collection: Collection,
    normalisation: Normalisation,
    options: ScoringOptions,
    indices: Iterable[int] | None = None,
) -> Iterator[ItemScores]:
    """Score some items of a collection, or all, one by one.

    Raises:
        NotFinite: the network's weights have diverged.
    """
    network.eval()
    zoom = collection.zoom(options.gsd)
    for index in range(len(collection)) if indices is None else indices:
        sample = collection.read(index)
        logits = score_sample(
            network, sample, normalisation, options.device, augment=options.augment, zoom=zoom
        ).float()
        if not logits.isfinite().all():
            raise NotFinite("the network's scores are not finite; train it again with a lower rate")
        labels = torch.from_numpy(sample.labels.astype(np.int64))
        counted = labels != IGNORE
        histogram = ProbabilityHistogram()
        histogram.add(
            probability(logits, options.temperature)[0].amax(dim=0)[counted].numpy(), (labels[counted] > 0).numpy()
        )
        confusion = confusion_of(logits, labels[None]).numpy()
        scene = scene_of(collection.items[index].pair.name)
        yield ItemScores(scene, histogram.counts, confusion, _entropy(logits[0], labels, counted))


def pool_scores(items: Iterable[ItemScores]) -> CollectionScores:
    """Add up the scores of items; those of an order give the same to the last bit."""
    histogram, confusion, entropies = ProbabilityHistogram(), np.zeros((1, 1), np.int64), []
    scenes: dict[str, ProbabilityHistogram] = {}
    for item in items:
        histogram.counts += item.counts
        scenes.setdefault(item.scene, ProbabilityHistogram()).counts += item.counts
        confusion = confusion + item.confusion
        entropies.append(item.entropy)
    return CollectionScores(histogram, confusion, float(np.mean(entropies)) if entropies else 0.0, scenes)


def merit_name(figures: Mapping[str, float]) -> str:
    """Return the name of the figure that networks are compared by."""
    return next(name for name in MERITS if name in figures)


def scene_of(name: str) -> str:
    """Return the scene that a tile was cut from: `val004_0_3` -> `val004`; a name without row and column is its own."""
    return _PLACE_IN_SCENE.sub("", name)


def score_sample(
    network: Network,
    sample: Sample,
    normalisation: Normalisation,
    device: torch.device | None = None,
    *,
    augment: bool = False,
    zoom: float = 1.0,
) -> Tensor:
    """Return the logits of a sample.

    Args:
        network: in the state that it is to be scored in.
        sample: of any size; it is reflected up to a size that the network takes.
        normalisation: that of the network.
        device: where the network lies; None: the CPU.
        augment: average over the eight flips and quarter turns.
        zoom: pixels of the network for one of the sample; the logits are brought back to the sample's.

    Returns:
        (1, k, y, x) on the CPU.
    """
    padded, (rows, cols) = network_input(network, sample, normalisation, zoom)
    padded = padded.to(device or torch.device("cpu"))
    with torch.inference_mode():
        logits = symmetric_mean(network, padded, torch.flip) if augment else network(padded)
    logits = logits.cpu()[..., :rows, :cols]
    return logits if zoom == 1 else _resize(logits.float(), list(sample.labels.shape))


def network_input(
    network: Network, sample: Sample, normalisation: Normalisation, zoom: float = 1.0
) -> tuple[Tensor, tuple[int, int]]:
    """Return a sample as a network takes it: (1, time, band, y, x), reflected to whole strides; and the size before."""
    dates = torch.stack([normalise(torch.from_numpy(date.astype(np.float32)), normalisation) for date in sample.dates])
    dates = dates * torch.from_numpy(sample.valid.all(axis=0))
    if zoom != 1:
        dates = _resize(dates, [max(1, round(length * zoom)) for length in dates.shape[-2:]])
    rows, cols = dates.shape[-2:]
    beyond = (0, 0), (0, 0), (0, -rows % network.stride), (0, -cols % network.stride)
    return torch.from_numpy(np.pad(dates.numpy(), beyond, mode="reflect"))[None], (rows, cols)


def _resize(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Resize (n, c, y, x) to (n, c, *shape), bilinear."""
    return functional.interpolate(x, tuple(shape), mode="bilinear", align_corners=False)


def _entropy(logits: Tensor, labels: Tensor, counted: Tensor) -> float:
    if not counted.any():
        return 0.0
    chosen = logits[:, counted]  # (k, pixels)
    if logits.shape[0] == 1:
        return float(functional.binary_cross_entropy_with_logits(chosen[0], (labels[counted] > 0).float()))
    return float(functional.cross_entropy(chosen.T, labels[counted]))


def confusion_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Count labelled pixels by label and prediction: probability 0.5 for one class, the likeliest one for several.

    Args:
        logits: (n, k, y, x).
        labels: (n, y, x) int64; with one class, every label from 1 on stands for it.

    Returns:
        (label, prediction) int64, on the device of the logits.
    """
    classes = max(2, logits.shape[1])
    predicted = (logits[:, 0] >= 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
    counted = labels.clamp(max=classes - 1) if classes == 2 else labels
    cells = (counted * classes + predicted).masked_fill(labels == IGNORE, classes**2)
    return torch.bincount(cells.flatten(), minlength=classes**2 + 1)[:-1].view(classes, classes)


def class_figures(confusion: Array) -> dict[str, float]:
    """Return accuracy, and F1 and IoU averaged over the classes that occur in labels or predictions; else 0."""
    hits = np.diag(confusion)[1:].astype(float)
    alarms, misses = confusion.sum(axis=0)[1:] - hits, confusion.sum(axis=1)[1:] - hits
    _, _, f1, iou = hit_rates(hits, alarms, misses)
    occurs = hits + alarms + misses > 0
    return {
        "accuracy": float(np.trace(confusion) / max(int(confusion.sum()), 1)),
        "f1": float(f1[occurs].mean()) if occurs.any() else 0.0,
        "iou": float(iou[occurs].mean()) if occurs.any() else 0.0,
    }


def pooled_f1_interval(counts: Array, seed: int = 0) -> Interval | None:
    """Return the 95 % interval of the F1 of summed counts, from a bootstrap over whole groups (Efron 1979).

    Pixels of one scene err together, so groups should be scenes, or items where scenes are not known.

    Args:
        counts: (group, 3) hits, false alarms and misses.
        seed: of the resampling.

    Returns:
        Low and high; None for fewer than two groups, or where F1 is undefined.
    """
    bootstrap = Bootstrap(replicates=REPLICATES, seed=seed)
    drawn = resample_sums(np.asarray(counts).reshape(-1, 3), bootstrap)  # (replicate, 3)
    pooled = hit_rates(*np.asarray(counts, float).reshape(-1, 3).sum(axis=0)[:, None])[2]  # (1,)
    return bound_figures(("f1",), pooled, hit_rates(*drawn.T)[2][:, None], bootstrap.level).intervals["f1"]

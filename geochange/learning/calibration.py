"""Calibrated probabilities, and thresholds for a wanted precision or recall, from held-out samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional

from geochange.arrays import IGNORE
from geochange.datasets.collection import Collection, evenly
from geochange.detectors.networks.checkpoint import Checkpoint, Normalisation
from geochange.detectors.networks.contract import Network, probability
from geochange.detectors.networks.object_network import ObjectNetwork
from geochange.errors import NothingValid
from geochange.learning.object_scoring import find_items, score_histogram
from geochange.learning.scoring import ProbabilityHistogram, ScoringOptions, score_sample

WANTED = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99)
COLDEST, HOTTEST = 0.1, 20.0
PIXELS = 400_000  # that the temperature is fitted on, at most
MOST_MEASURED = 200  # items whose distances are measured


@dataclass(frozen=True, slots=True)
class LabelledLogits:
    """Logits and labels of held-out pixels."""

    logits: Tensor
    """(pixel, k) float32."""
    labels: Tensor
    """(pixel,) int64, none of them IGNORE."""


def fit_temperature(held_out: LabelledLogits) -> float:
    """Return the number by which logits are divided so that their likelihood is greatest (Guo et al. 2017)."""

    def cost(log_temperature: float) -> float:
        scaled = held_out.logits / float(np.exp(log_temperature))
        if scaled.shape[1] == 1:
            return float(functional.binary_cross_entropy_with_logits(scaled[:, 0], (held_out.labels > 0).float()))
        return float(functional.cross_entropy(scaled, held_out.labels))

    found = minimize_scalar(cost, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def thresholds_for(histogram: ProbabilityHistogram, wanted: Sequence[float] = WANTED) -> dict[str, float]:
    """Return thresholds by purpose: "default" is that of the best F1.

    "precision=0.9" is the lowest threshold from which on precision holds, so the one of the best recall; "recall=0.9"
    the highest at which recall holds. What cannot be reached is left out.
    """
    precision, recall = histogram.precision_recall()
    steps = np.arange(len(precision)) / len(precision)
    predicted = histogram.counts[:, ::-1].sum(axis=0).cumsum()[::-1] > 0
    found = {"default": histogram.best_threshold()}
    for share in wanted:
        short = np.nonzero((precision < share) & predicted)[0]
        first = int(short[-1]) + 1 if short.size else 0
        if first < len(steps) and predicted[first]:
            found[f"precision={share:g}"] = float(steps[first])
        reached = np.nonzero(recall >= share)[0]
        if reached.size and reached[-1] > 0:
            found[f"recall={share:g}"] = float(steps[reached[-1]])
    return found


@dataclass(frozen=True, slots=True)
class Calibration:
    """How probabilities are to be read."""

    temperature: float
    """That logits are divided by."""
    thresholds: dict[str, float]
    """See `thresholds_for`."""

    def given_to(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint with it; its metrics are kept."""
        return replace(checkpoint, about=replace(checkpoint.about, **asdict(self)))


def measure_calibration(
    parts: Sequence[tuple[Checkpoint, Sequence[Collection]]], gsd: float | None = None
) -> Calibration:
    """Measure temperature and thresholds from held-out samples, pooled over networks that were trained alike.

    Args:
        parts: each checkpoint, and what was held out from it.
        gsd: metres a pixel that the networks want; None: as the images lie.

    Raises:
        NothingValid: no pixel is labelled, or none as changed.
    """
    scored, found = [], []
    for checkpoint, collections in parts:
        network, normalisation = checkpoint.build(), checkpoint.about.normalisation
        scored += [each for part in collections for each in _scored(network, normalisation, part, gsd)]
        if isinstance(network, ObjectNetwork):
            options = ScoringOptions(gsd=gsd)
            found += [item for each in collections for item in find_items(network, each, normalisation, options)]
    temperature = fit_temperature(pool(scored))
    histogram = ProbabilityHistogram()
    for part in scored:
        scores = probability(part.logits.T[None, :, :, None], temperature)[0].amax(dim=0)[:, 0]
        histogram.add(scores.numpy(), (part.labels > 0).numpy())
    if not histogram.counts[1].any():
        raise NothingValid("no held-out pixel is labelled as changed, so no threshold can be chosen")
    if found:
        histogram = score_histogram(found)
        if not histogram.counts[1, 1:].any():
            raise NothingValid("no held-out object was found, so no threshold can be chosen")
    return Calibration(temperature, thresholds_for(histogram))


def calibrate(checkpoint: Checkpoint, collections: Sequence[Collection], gsd: float | None = None) -> Checkpoint:
    """Calibrate a checkpoint: temperature and thresholds from held-out samples; see `measure_calibration`."""
    return measure_calibration([(checkpoint, collections)], gsd).given_to(checkpoint)


def calibrate_distances(
    checkpoint: Checkpoint, collections: Sequence[Collection], gsd: float | None = None
) -> Checkpoint:
    """Calibrate the checkpoint of a network of distances: how large a distance is unusual.

    Args:
        checkpoint: of a network with `distance` and `calibrate`, as `change-vae`.
        collections: pairs of which most has not changed; labels are not used.
        gsd: metres a pixel that the network wants; None: as the images lie.

    Raises:
        NothingValid: no pixel holds data at every date.
    """
    network: Any = checkpoint.build()
    found = []
    for collection in collections:
        zoom = collection.zoom(gsd)
        for index in evenly(len(collection), MOST_MEASURED // len(collections)):
            sample = collection.read(index)
            distances = score_sample(_Distances(network), sample, checkpoint.about.normalisation, zoom=zoom)[0, 0]
            found.append(distances[torch.from_numpy(sample.valid.all(axis=0))])
    if not sum(map(len, found)):
        raise NothingValid("no pixel holds data at every date, so no distance can be measured")
    network.calibrate(torch.cat(found))
    return replace(checkpoint, weights=network.state_dict())


class _Distances(Network):
    """Distances in place of logits."""

    def __init__(self, network: Any) -> None:
        super().__init__(network.options)
        self.network, self.stride = network, network.stride

    def outputs(self, dates: Tensor) -> list[Tensor]:
        return [self.network.distance(dates).unsqueeze(1)]


def pool(parts: Sequence[LabelledLogits], most: int = PIXELS) -> LabelledLogits:
    """Pool every so many pixels of all parts.

    Raises:
        NothingValid: no pixel is labelled.
    """
    step = max(1, sum(len(each.labels) for each in parts) // most)
    if not sum(len(each.labels) for each in parts):
        raise NothingValid("no held-out pixel is labelled")
    return LabelledLogits(
        torch.cat([each.logits[::step] for each in parts]), torch.cat([each.labels[::step] for each in parts])
    )


def _scored(
    network: Network, normalisation: Normalisation, collection: Collection, gsd: float | None
) -> Iterator[LabelledLogits]:
    """Score the labelled pixels of each item."""
    zoom = collection.zoom(gsd)
    for index in range(len(collection)):
        sample = collection.read(index)
        logits = score_sample(network, sample, normalisation, zoom=zoom)[0].float()
        labels = torch.from_numpy(sample.labels.astype(np.int64))
        counted = labels != IGNORE
        yield LabelledLogits(logits[:, counted].T.contiguous(), labels[counted])

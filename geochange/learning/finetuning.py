"""Fitting a trained network to other imagery: transfer of weights, statistics of a target, confident pseudo-labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from geochange.arrays import IGNORE, Ints
from geochange.datasets.collection import Collection, Item
from geochange.detectors.networks.checkpoint import About, Checkpoint, adapt_bands
from geochange.detectors.networks.contract import Batch, Network, probability
from geochange.detectors.networks.registry import build_network
from geochange.errors import NothingValid
from geochange.files import appearing
from geochange.learning.scoring import score_sample
from geochange.scenes.grid import Tile
from geochange.scenes.scene import open_file, rasterio_crs


@dataclass(frozen=True, slots=True)
class Transferred:
    """A network that begins with the weights of another one."""

    network: Network
    fresh: tuple[str, ...]
    """Names of weights that the other one could not give."""


def transfer(start: Checkpoint, bands: int, classes: Sequence[str]) -> Transferred:
    """Build a network for other bands or classes, with all weights of a checkpoint that fit.

    A first convolution is given its bands over and over, scaled so that its answer to equal bands stays.

    Args:
        start: what to begin with.
        bands: that the new network takes.
        classes: that it finds.
    """
    about = start.about
    network: Network = build_network(about.network, {**about.options, "bands": bands, "classes": tuple(classes)})
    own, taken, fresh = network.state_dict(), {}, []
    for name, value in own.items():
        given = start.weights.get(name)
        found = None if given is None else _fitting(network, name, given.to(value.dtype), value.shape)
        if found is None:
            fresh.append(name)
        else:
            taken[name] = found
    network.load_state_dict(own | taken)
    return Transferred(network, tuple(fresh))


def _fitting(network: Network, name: str, given: torch.Tensor, shape: torch.Size) -> torch.Tensor | None:
    """Return a weight in the shape that is wanted; None where it cannot be had."""
    if given.shape == shape:
        return given
    bands = network.options.bands
    if given.ndim == 4 and shape[1] == bands and (given.shape[0], *given.shape[2:]) == (shape[0], *shape[2:]):
        return adapt_bands(given, bands)
    converted = network.convert_weight(name, given)
    return converted if converted is not None and converted.shape == shape else None


@torch.no_grad()
def adapt_statistics(network: Network, batches: Iterable[Batch], share: float = 1.0) -> None:
    """Give normalisation layers the statistics that they have on other imagery (AdaBN, Li 2016).

    Args:
        network: is changed; its weights stay.
        batches: of the other imagery; labels are not used.
        share: of the new statistics, the rest being those that were there (Schneider 2020).
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [({name: value.clone() for name, value in layer.named_buffers()}, layer.momentum) for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the mean over all batches
        layer.train()
    for batch in batches:
        network(batch.dates)
    for layer, (kept, momentum) in zip(layers, before, strict=True):
        for name, value in layer.named_buffers():
            if value.is_floating_point():
                value.lerp_(kept[name], 1 - share)
        layer.momentum = momentum
    network.eval()


def pseudo_label(
    checkpoint: Checkpoint, collection: Collection, folder: Path, *, sure: float = 0.8, gsd: float | None = None
) -> Collection:
    """Label a collection by a network where the network is sure, and write the labels as rasters.

    Scores are the mean over eight flips and turns. Labels are 0 unchanged, k for the k-th class, 255 in between.

    Args:
        checkpoint: what labels.
        collection: its own labels are not used.
        folder: folder of the rasters, created where it is missing.
        sure: how far from the threshold to the end of the range a probability must lie, from 0 to 1.
        gsd: metres a pixel that the network wants; None: as the images lie.

    Returns:
        The collection with the new labels.

    Raises:
        NothingValid: the network is sure of no change.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network, about = checkpoint.build(), checkpoint.about
    zoom = collection.zoom(gsd)
    threshold = about.thresholds.get("default", 0.5)
    labelled: list[Item] = []
    changed = 0
    by_scene: dict[str, list[int]] = {}
    for index, item in enumerate(collection.items):
        by_scene.setdefault(item.pair.name, []).append(index)
    for number, indices in enumerate(by_scene.values()):
        parts = []
        for index in indices:
            sample = collection.read(index)
            logits = score_sample(network, sample, about.normalisation, augment=True, zoom=zoom).float()
            labels = _sure_labels(probability(logits, about.temperature)[0], threshold, sure)
            labels[~sample.valid.all(axis=0)] = IGNORE
            changed += int(((labels > 0) & (labels != IGNORE)).sum())
            parts.append((collection.label_tile(collection.items[index]), labels))
        path = folder / f"{number:05d}.tif"
        _write_labels(path, collection.items[indices[0]], parts)
        labelled += [
            replace(item, pair=replace(item.pair, labels=str(path)))
            for item in (collection.items[index] for index in indices)
        ]
    options = replace(collection.options, classes=about.classes, values=None, ignore=(), objects=False, dated=False)
    if not changed:
        raise NothingValid("the network is sure of no change in the target, so there is nothing to train on")
    return replace(collection, items=tuple(labelled), options=options)


def _sure_labels(scores: torch.Tensor, threshold: float, sure: float) -> Ints:
    """Turn (class, y, x) probabilities into (y, x) labels."""
    likeliest, which = scores.max(dim=0)
    low, high = threshold * (1 - sure), threshold + sure * (1 - threshold)
    labels = torch.where(likeliest >= high, which + 1, torch.where(likeliest <= low, 0, IGNORE))
    return labels.numpy().astype(np.uint8)


def _write_labels(path: Path, item: Item, parts: Sequence[tuple[Tile, Ints]]) -> None:
    grid = open_file(item.pair.dates[0]).grid
    whole = np.full(grid.shape, IGNORE, np.uint8)
    for tile, labels in parts:
        whole[tile.slices()] = labels
    georeferenced = {} if grid.crs is None else {"crs": rasterio_crs(grid.crs), "transform": grid.transform}
    profile = {"driver": "GTiff", "height": grid.shape[0], "width": grid.shape[1], "count": 1, "dtype": "uint8"}
    with (
        appearing(path) as temporary,
        rasterio.open(temporary, "w", **profile, **georeferenced, compress="deflate") as dataset,
    ):
        dataset.write(whole, 1)


def adapted_about(about: About, checkpoint: Checkpoint) -> About:
    """Return the description of a checkpoint trained without labels: thresholds stay those of its start."""
    before = checkpoint.about
    return replace(about, thresholds=before.thresholds, temperature=before.temperature)

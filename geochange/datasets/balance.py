"""How often each class occurs in collections, and how often to draw what is rare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geochange.arrays import IGNORE, Floats, Ints
from geochange.datasets.collection import Collection
from geochange.errors import BadOption


def count_classes(labels: Ints, classes: int) -> Ints:
    """Count the pixels of (y, x) labels: unchanged, of each class, and last those not labelled."""
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)
    return np.append(counts[: classes + 1], counts[IGNORE])


def label_counts(collection: Collection) -> Ints:
    """Count (item, 1 + classes + 1) pixels: unchanged, of each class, not labelled; images are not read."""
    classes = len(collection.options.classes)
    counts = [count_classes(collection.read_labels(k), classes) for k in range(len(collection))]
    return np.array(counts, np.int64).reshape(-1, classes + 2)


def class_shares(counts: Ints) -> Floats:
    """Return the share of labelled pixels that are unchanged, and of each class, from `label_counts`.

    All 0 where nothing is labelled.
    """
    pixels = np.asarray(counts)[:, :-1].sum(axis=0)
    shares: Floats = pixels / max(int(pixels.sum()), 1)
    return shares


def drawing_weights(counts: Ints) -> Floats:
    """Return weights of items by which those with rare classes are drawn more often; they sum to 1.

    An item weighs as its rarest class: one over the square root of the share of items that hold it (Gupta 2019, LVIS,
    with a threshold of 1). Items without a labelled pixel are never drawn where others have some.

    Args:
        counts: as `label_counts` gives them.
    """
    holds = np.asarray(counts)[:, :-1] > 0  # (item, class)
    shares = holds.mean(axis=0)
    weights = (holds / np.sqrt(np.where(shares > 0, shares, 1))).max(axis=1)
    return weights / weights.sum() if weights.any() else np.full(len(weights), 1 / max(len(weights), 1))


STORED_ADVICE = "add examples, or give what stored labels stand for (classes and values)"


def require_classes(collections: Sequence[Collection], advice: str = "") -> tuple[str, ...]:
    """Refuse training data in which nothing is unchanged, or nothing changed; reads all labels.

    Args:
        collections: of one set of classes.
        advice: what to do about it; empty: `STORED_ADVICE`.

    Returns:
        Names of the classes that no pixel is labelled with.

    Raises:
        BadOption: the message names what no pixel is labelled with.
    """
    classes = ("unchanged", *collections[0].options.classes)
    missing = {*range(len(classes))}
    for collection in collections:
        for index in range(len(collection)):
            missing -= {*np.unique(collection.read_labels(index)).tolist()}
            if not missing:
                return ()
    names = [classes[k] for k in sorted(missing)]
    if 0 not in missing and len(missing) < len(classes) - 1:
        return tuple(names)
    items = sum(map(len, collections))
    raise BadOption(
        f"no pixel of the training data is labelled {' and '.join(names)} ({items} items from "
        f"{collections[0].items[0].pair.labels if items else 'nowhere'} on); {advice or STORED_ADVICE}"
    )

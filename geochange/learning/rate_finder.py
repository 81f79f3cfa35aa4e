"""A learning rate by a range test (Smith 2017): the rate grows with each update until the loss does, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from torch import nn

from geochange.arrays import Floats
from geochange.detectors.networks.contract import Network
from geochange.detectors.networks.scorer import find_device
from geochange.engine.progress import Listener
from geochange.errors import NothingValid
from geochange.learning.batches import Reading, read_batches
from geochange.learning.losses import criterion_of
from geochange.learning.options import FEWEST_RATES, TrainOptions
from geochange.learning.samples import TrainingSamples
from geochange.learning.training import NetworkLoss, begin, with_class_weights

SMOOTHING = 0.9  # share of the mean loss so far, at each update
DIVERGED = 3.0  # of the least loss so far


@dataclass(frozen=True, slots=True)
class RateTest:
    """What a range test found."""

    rates: Floats
    """(update,) learning rates, growing."""
    losses: Floats
    """(update,) loss of each batch."""

    @property
    def best(self) -> float:
        """The rate at which the loss, smoothed, falls most steeply by the logarithm of the rate."""
        return best_rate(self.rates, self.losses)


def find_rate(
    network: Network, samples: TrainingSamples, options: TrainOptions, rates: tuple[float, float], listener: Listener
) -> RateTest:
    """Update a network with a rate that grows evenly by its logarithm, until the loss diverges.

    Args:
        network: is changed.
        samples: to train on.
        options: steps, batch, loss, optimizer; its rate and schedule are not used.
        rates: the least and the greatest.
        listener: receives each update.

    Raises:
        NothingValid: the loss diverges at once; begin with a lower rate.
    """
    device, options = find_device(options.device), with_class_weights(options, samples.collections)
    state = begin(network, options, device)
    state.network.train()
    loss_of, criterion = NetworkLoss(state.network), criterion_of(options, len(network.classes))
    tried, losses = np.geomspace(*rates, options.steps), list[float]()
    reading = Reading(steps=options.steps, batch=options.batch, loaders=options.loaders, seed=options.seed)
    with closing(read_batches(samples, 0, reading)) as batches:
        for rate, batch in zip(tried, batches, strict=True):
            for group in state.optimizer.param_groups:
                group["lr"] = rate * group["full_rate"] / options.rate
            moved = batch.to(device)
            loss = loss_of(moved.dates, moved.labels, criterion)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]) or smoothed(losses)[-1] > DIVERGED * smoothed(losses).min():
                losses.pop()
                break
            state.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(state.network.parameters(), options.clip)
            state.optimizer.step()
            listener.advance(0)
    if len(losses) < FEWEST_RATES:
        raise NothingValid(f"the loss grows from the start; begin with a lower rate than {rates[0]:g}")
    return RateTest(tried[: len(losses)], np.array(losses))


def smoothed(losses: Sequence[float] | Floats) -> Floats:
    """Return running means of losses, without the pull of the first one."""
    mean, found = 0.0, []
    for count, loss in enumerate(losses, start=1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * float(loss)
        found.append(mean / (1 - SMOOTHING**count))
    return np.array(found)


def best_rate(rates: Floats, losses: Floats) -> float:
    """Return the rate at which smoothed losses fall most steeply, before they are least."""
    curve = smoothed(losses)
    end = max(int(curve.argmin()), 1)
    slopes = np.gradient(curve[: end + 1], np.log(rates[: end + 1]))
    return float(rates[int(slopes.argmin())])

"""What a network looked at when it predicted a change: integrated gradients (Sundararajan 2017) of each pixel.

Dates are led from being alike, where nothing has changed, to what they are; each pixel has what its gradients add to
the score on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from geochange.arrays import Bools, Floats
from geochange.detectors.networks.checkpoint import load_checkpoint
from geochange.detectors.networks.scorer import TileScores
from geochange.detectors.preparation import Preparation

if TYPE_CHECKING:
    from geochange.detectors.network import NetworkFitted

STEPS = 16  # of the integral


class NetworkEvidence:
    """A trained network, with what comes before it, whose scores can be explained."""

    def __init__(self, fitted: NetworkFitted) -> None:
        recipe, checkpoint = fitted.recipe, load_checkpoint(fitted.recipe.checkpoint)
        values = Preparation(gain=recipe.gain, offset=recipe.offset, zoom=recipe.zoom)
        module = TileScores(checkpoint.build(), values, temperature=checkpoint.about.temperature, augment=False)
        self._module = module.eval()  # not folded: layers that are joined have no gradients of their own

    def probability(self, dates: Floats, valid: Bools) -> Floats:
        """(time, band, y, x) as stored and (time, y, x) validity -> (class, y, x)."""
        with torch.no_grad():
            found: Floats = self._module(*_tensors(dates, valid))[0].numpy()
        return found

    def maps(self, dates: Floats, valid: Bools, wanted: Floats) -> Floats:
        """Return (time, y, x) in 0..1: where each date raised the score of (class, y, x) weighted pixels."""
        with torch.no_grad():
            prepared = self._module.prepared(*_tensors(dates, valid))
        weights = torch.from_numpy(wanted.astype(np.float32))[None]
        sized = functional.interpolate(weights, prepared.shape[-2:], mode="nearest")[0]
        heat = integrated_gradients(self._module.network, prepared, sized)[None]
        found: Floats = self._module.restored(heat, *dates.shape[-2:])[0].numpy()
        return found


def _tensors(dates: Floats, valid: Bools) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(dates[None]), torch.from_numpy(valid[None].astype(np.float32))


def integrated_gradients(run: Callable[[Tensor], Tensor], dates: Tensor, wanted: Tensor) -> Tensor:
    """Find what each pixel of each date adds to a score, on the way from dates that are alike to those that are given.

    Args:
        run: a network, or any function with gradients: dates -> (1, k, y, x) logits.
        dates: (1, time, band, y, x).
        wanted: (class, y, x) weights of the pixels and classes whose logits are explained.

    Returns:
        (time, y, x) in 0..1: what raises the score, as a share of the most that one pixel does.
    """
    alike = dates.mean(dim=1, keepdim=True).expand_as(dates)
    total = torch.zeros_like(dates)
    for step in range(STEPS):
        at = torch.lerp(alike, dates, (step + 0.5) / STEPS).detach().requires_grad_()
        with torch.enable_grad():
            explained = run(at)[0][-len(wanted) :]
            total += torch.autograd.grad((explained * wanted).sum(), at)[0]
    raised = functional.relu(((dates - alike) * total / STEPS).sum(dim=2))[0]
    return (raised / raised.amax().clamp(min=1e-12)).detach()

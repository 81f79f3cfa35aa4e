"""What a model of another program looked at, where it has gradients: TorchScript and torch.export."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geochange.arrays import Bools, Floats
from geochange.detectors.model import model_of
from geochange.detectors.models.programs import flat
from geochange.detectors.models.tiles import inputs_of, map_of
from geochange.errors import BadOption

if TYPE_CHECKING:
    from torch import Tensor

    from geochange.detectors.model import ModelFitted


class ModelEvidence:
    """A model, with what comes before it, whose scores can be explained.

    Raises:
        BadOption: it has no gradients.
    """

    def __init__(self, fitted: ModelFitted) -> None:
        self._tiles = model_of(fitted.recipe)
        if self._tiles.program.module is None:
            raise BadOption(
                f"a model in {self._tiles.program.form} has no gradients to explain it by; export it to TorchScript or "
                "torch.export"
            )
        if self._tiles.manifest.activation == "labels":
            raise BadOption("a model that gives the numbers of classes has no gradients to explain it by")

    def probability(self, dates: Floats, valid: Bools) -> Floats:
        """(time, band, y, x) as stored and (time, y, x) validity -> (class, y, x)."""
        found: Floats = self._tiles(dates[None], valid[None])[0]
        return found

    def maps(self, dates: Floats, valid: Bools, wanted: Floats) -> Floats:
        """Return (time, y, x) in 0..1: where each date raised the score of (class, y, x) weighted pixels."""
        import torch
        from torch.nn import functional

        from geochange.detectors.networks.explanation import integrated_gradients

        tiles = self._tiles
        prepared = torch.from_numpy(np.ascontiguousarray(tiles.prepared(dates[None], valid[None])))
        weights = torch.from_numpy(wanted.astype(np.float32))[None]
        side = tuple(round(each * tiles.preparation.zoom) for each in wanted.shape[-2:])
        sized = functional.interpolate(weights, side, mode="nearest")
        below, right = (whole - part for whole, part in zip(prepared.shape[-2:], side, strict=True))
        sized = functional.pad(sized, (0, right, 0, below))[0]

        def run(at: Tensor) -> Tensor:
            given: Any = inputs_of(at, tiles.manifest)  # type: ignore[arg-type]  # slices and shapes are alike in torch
            outputs = flat(tiles.program.module(*given))
            found: Tensor = map_of(outputs, tiles.manifest)  # type: ignore[assignment]
            return functional.interpolate(found, at.shape[-2:], mode="bilinear", align_corners=False)

        heat = integrated_gradients(run, prepared, sized)[None]
        if tiles.preparation.zoom != 1:
            size = [round(each / tiles.preparation.zoom) for each in heat.shape[-2:]]
            heat = functional.interpolate(heat, size, mode="bilinear", align_corners=False)
        found: Floats = heat[0, :, : dates.shape[-2], : dates.shape[-1]].numpy()
        return found

"""A program run over tiles: stored values in, probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geochange.arrays import Array, Bools, Floats
from geochange.detectors.models.manifest import Manifest
from geochange.detectors.models.programs import Program
from geochange.detectors.models.resampling import resize
from geochange.detectors.networks.symmetry import symmetric_mean
from geochange.detectors.preparation import Preparation
from geochange.errors import BadOption

NEAR = 1e-3  # how far a probability may lie outside of 0..1, by rounding


@dataclass(frozen=True)
class TileModel:
    """A program, with what comes before and after it; the manifest is complete. Safe to use from several threads."""

    program: Program
    manifest: Manifest
    preparation: Preparation
    augment: bool = False
    batch: int = 1

    def __call__(self, dates: Floats, valid: Bools) -> Floats:
        """(n, time, band, y, x) as stored and (n, time, y, x) validity -> (n, class, y, x) float32 in 0..1."""
        rows, cols = dates.shape[-2:]
        prepared = self.prepared(dates, valid)
        output = symmetric_mean(self.output, prepared, np.flip) if self.augment else self.output(prepared)
        return self._activated(self._restored(output, rows, cols))

    def prepared(self, dates: Floats, valid: Bools) -> Floats:
        """(n, time, band, y, x) of what the program takes; validity is one more band where it takes that."""
        gain, offset = (
            np.array(each, np.float32)[..., None, None] for each in (self.preparation.gain, self.preparation.offset)
        )
        # the edge of one date's data would look like a change
        at_every_date = np.asarray(valid.all(axis=1))[:, None, None]
        normalised = (dates * gain + offset) * at_every_date
        if self.manifest.valid:
            normalised = np.concatenate([normalised, valid[:, :, None].astype(np.float32)], axis=2)
        return self._fit(normalised)

    def _fit(self, dates: Floats) -> Floats:
        """Dates with the pixel size and the sides that the program takes: reflected beyond the tile, where need be."""
        assert self.manifest.stride is not None
        zoom, step = self.preparation.zoom, self.preparation.stride(self.manifest.stride)
        rows, cols = dates.shape[-2:]
        below, right = -rows % step, -cols % step
        if self.manifest.fixed:
            assert self.manifest.tile is not None
            side = round(self.manifest.tile / zoom)
            if max(rows, cols) > side:
                raise BadOption(f"the model takes tiles of {side} x {side} pixels, not of {rows} x {cols}")
            below, right = side - rows, side - cols
        if below or right:
            dates = np.pad(dates, [(0, 0)] * 3 + [(0, below), (0, right)], mode="symmetric")
        if zoom == 1:
            return dates
        return resize(dates, (round(dates.shape[-2] * zoom), round(dates.shape[-1] * zoom)))

    def _restored(self, output: Floats, rows: int, cols: int) -> Floats:
        """Bring a map of what `prepared` returned back to the tile's pixels."""
        zoom = self.preparation.zoom
        if zoom != 1:
            output = resize(output, (round(output.shape[-2] / zoom), round(output.shape[-1] / zoom)))
        return output[..., :rows, :cols]

    def output(self, prepared: Floats) -> Floats:
        """(n, time, band, y, x) -> (n, k, y, x): what the program gives, at the size of its input."""
        maps = []
        for start in range(0, len(prepared), self.batch):
            part = prepared[start : start + self.batch]
            missing = self.batch - len(part)  # another batch size may be summed in another order
            whole = np.concatenate([part, np.repeat(part[:1], missing, axis=0)]) if missing else part
            maps.append(map_of(self.program.run(inputs_of(whole, self.manifest)), self.manifest)[: len(part)])
        found = np.concatenate(maps)
        if self.manifest.activation == "labels":
            found = _one_hot(found, self.channels)
        return resize(found.astype(np.float32, copy=False), (prepared.shape[-2], prepared.shape[-1]))

    @property
    def channels(self) -> int:
        """How many channels there are where the output is a number: no change, and the classes."""
        assert self.manifest.classes is not None
        return 1 + len(self.manifest.classes)

    def _activated(self, output: Floats) -> Floats:
        """(n, k, y, x) -> (n, class, y, x) in 0..1."""
        classes, name = self.manifest.classes, self.manifest.activation
        assert classes is not None
        if not np.isfinite(output).all():
            raise BadOption("the model gives values that are not finite; check the values that it is given")
        if output.shape[1] not in (len(classes), len(classes) + 1):
            raise BadOption(
                f"the model gives {output.shape[1]} channels, but the manifest names {len(classes)} classes "
                f"({', '.join(classes)}): there must be as many, or one more for no change"
            )
        if name == "sigmoid":
            output = _sigmoid(output)
        elif name == "softmax":
            raised = np.exp(output - output.max(axis=1, keepdims=True))
            output = raised / raised.sum(axis=1, keepdims=True)
        elif output.min() < -NEAR or output.max() > 1 + NEAR:
            raise BadOption(
                f"the model gives values of {output.min():.3g} to {output.max():.3g}, which are not probabilities; "
                'set activation = "sigmoid" or "softmax" in its manifest'
            )
        probability: Floats = np.clip(output[:, -len(classes) :], 0, 1).astype(np.float32)
        return probability


def inputs_of(prepared: Floats, manifest: Manifest) -> list[Array]:
    """(n, time, band, y, x), the last band validity where the program takes that -> its inputs."""
    dates = prepared[:, :, :-1] if manifest.valid else prepared
    validity = [prepared[:, :, -1]] if manifest.valid else []
    if manifest.inputs == "pair":
        return [*(dates[:, k] for k in range(dates.shape[1])), *validity]
    if manifest.inputs == "stacked":
        return [dates.reshape(len(dates), -1, *dates.shape[-2:]), *validity]
    return [dates, *validity]


def map_of(outputs: Sequence[Array], manifest: Manifest) -> Array:
    """(n, k, y, x): the output that is asked for, or the first of the largest ones."""
    maps = [each[:, None] if each.ndim == 3 else each for each in outputs]
    if manifest.head is not None:
        if manifest.head >= len(maps):
            raise BadOption(f"the model has {len(maps)} outputs, so there is no head {manifest.head}")
        chosen = maps[manifest.head]
    else:
        chosen = max((each for each in maps if each.ndim == 4), key=lambda each: each.shape[-1], default=maps[0])
    if chosen.ndim != 4:
        raise BadOption(f"the output of the model has {outputs[0].ndim} dimensions, where (n, class, y, x) has four")
    return chosen


def _one_hot(labels: Array, channels: int) -> Floats:
    """(n, 1, y, x) numbers of classes -> (n, channels, y, x) of 0 and 1."""
    if labels.shape[1] != 1:
        raise BadOption(f"the model gives {labels.shape[1]} channels, where labels have one")
    found: Floats = (np.rint(labels) == np.arange(channels)[:, None, None]).astype(np.float32)
    return found


def _sigmoid(logits: Floats) -> Floats:
    small = np.exp(-np.abs(logits))
    found: Floats = np.where(logits >= 0, 1, small) / (1 + small)
    return found

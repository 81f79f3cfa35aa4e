"""A recurrent convolutional network over a series: whether a pixel changed, and between which two dates.

Features of every date, by one encoder, run through a convolutional GRU (Ballas 2016; for change, Mou 2019) forwards
and backwards in time. Interval k lies between dates k and k + 1 (from 0): what the one pass knows of the dates up to k
is compared with what the other knows of the dates from k + 1 on, which gives the interval a log-odds z_k. Both answers
come from these: a pixel changes at most once, with weights 1 for never and exp(z_k) for interval k, so that

    P(change) = sum exp(z) / (1 + sum exp(z)), whose log-odds are logsumexp(z),   P(interval k | change) = softmax(z)_k.

Both passes share their weights, and the two sides are compared without order: a series played backwards has the same
probability of change, and its intervals in backward order. The recurrent convolutions are 1 x 1, those of the input
3 x 3, so that what a score depends on in space does not grow with the number of dates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from geochange.arrays import IGNORE
from geochange.detectors.networks.contract import Batch, Criterion, Network
from geochange.detectors.networks.layers import conv_block, conv_blocks, enlarge, enlarged_radius
from geochange.errors import BadOption

RARE = -5.0  # log-odds of an interval before anything is learned: else most pixels would begin as changed (Lin 2017)
CONVOLUTIONS = 2  # that follow each other at each scale, on either way


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvGRUOptions:
    """How the network is built, and what its labels mean."""

    bands: int = 3
    classes: tuple[str, ...] = ("change",)
    """One; the intervals are no classes."""
    widths: tuple[int, ...] = (16, 32, 48, 64)
    """Channels at strides 1, 2, 4, ...; the recurrent state has those of the last."""
    dated: bool = False
    """Labels 1..time-1 name the interval of the change, 1 being that between the first two dates; else each of them
    means a change at some time."""

    def __post_init__(self) -> None:
        if len(self.classes) != 1:
            raise BadOption(
                f"conv-gru finds one class and its date, not {len(self.classes)} ({', '.join(self.classes)})"
            )
        if not self.widths:
            raise BadOption("widths () must name the channels of one scale at least")


class Recurrence(nn.Module):
    """A convolutional GRU (Ballas 2016) that runs over a series from both ends, with the same weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.see = nn.Conv2d(channels, 3 * channels, 3, padding=1)
        self.gates = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.candidate = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, series: Tensor) -> tuple[Tensor, Tensor]:
        """(n, time, c, y, x) -> twice as much: the states that know the dates up to each, and from each on."""
        n, times = series.shape[:2]
        seen = self.see(series.flatten(0, 1)).unflatten(0, (n, times))  # (n, time, 3c, y, x)
        return self._run(seen), self._run(seen.flip(1)).flip(1)

    def _run(self, seen: Tensor) -> Tensor:
        states = [torch.zeros_like(seen[:, 0].chunk(3, dim=1)[0])]
        for now in seen.unbind(1):
            states.append(self._step(now, states[-1]))
        return torch.stack(states[1:], dim=1)

    def _step(self, now: Tensor, state: Tensor) -> Tensor:
        update, reset, fresh = now.chunk(3, dim=1)
        update_by_state, reset_by_state = self.gates(state).chunk(2, dim=1)
        update, reset = torch.sigmoid(update + update_by_state), torch.sigmoid(reset + reset_by_state)
        fresh = torch.tanh(fresh + self.candidate(reset * state))
        return (1 - update) * state + update * fresh


def running_means(series: Tensor) -> tuple[Tensor, Tensor]:
    """(n, time, c, y, x) -> twice as much: the means over the dates up to each, and from each on."""
    return _means_so_far(series), _means_so_far(series.flip(1)).flip(1)


def _means_so_far(series: Tensor) -> Tensor:
    counts = torch.arange(1, series.shape[1] + 1, device=series.device, dtype=series.dtype)
    return series.cumsum(dim=1) / counts.view(-1, 1, 1, 1)


class Comparison(nn.Module):
    """One scale's features on both sides of each interval -> one map an interval, the same for exchanged sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = conv_block(3 * channels, channels, 1)

    def forward(self, series: Tensor, up_to: Tensor, from_on: Tensor) -> Tensor:
        """(n, time, c, y, x) each: the dates, what is known up to each, and from each on -> (n (time-1), c, y, x)."""
        early, late = up_to[:, :-1], from_on[:, 1:]
        parts = [torch.abs(series[:, 1:] - series[:, :-1]), torch.abs(late - early), late + early]
        mixed: Tensor = self.mix(torch.cat(parts, dim=2).flatten(0, 1))
        return mixed


class ConvGRU(Network):
    """Change and its date from a series of two dates or more."""

    name = "conv-gru"
    Options = ConvGRUOptions
    dates = None

    def __init__(self, options: ConvGRUOptions) -> None:
        super().__init__(options)
        widths = options.widths
        entering, finer = (options.bands, *widths), range(len(widths) - 1)
        self.stride = 2 ** (len(widths) - 1)
        self.receptive_radius = reach(len(widths))
        self.down = nn.ModuleList(conv_blocks(entering[s], widths[s], CONVOLUTIONS) for s in range(len(widths)))
        self.recurrence = Recurrence(widths[-1])
        self.compare = nn.ModuleList(Comparison(width) for width in widths)
        self.context = conv_blocks(widths[-1], widths[-1], CONVOLUTIONS)
        self.back = nn.ModuleList(conv_blocks(widths[s] + widths[s + 1], widths[s], CONVOLUTIONS) for s in finer)
        self.head = nn.Conv2d(widths[0], 1, 1)
        nn.init.constant_(self.head.bias, RARE)  # type: ignore[arg-type]

    def outputs(self, dates: Tensor) -> list[Tensor]:
        """Log-odds (n, 1, y, x) of change within the series."""
        return [change_log_odds(self.interval_logits(dates))]

    def layers(self, dates: int) -> Mapping[str, int]:
        """The probability of each interval, given that there was change."""
        return {"interval": dates - 1}

    def with_layers(self, dates: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        logits = self.interval_logits(dates)
        return change_log_odds(logits), {"interval": torch.softmax(logits, dim=1)}

    def intervals(self, dates: Tensor) -> Tensor:
        """(n, time, band, y, x) -> (n, time-1, y, x): the probability of each interval, given that there was change."""
        return torch.softmax(self.interval_logits(dates), dim=1)

    def interval_logits(self, dates: Tensor) -> Tensor:
        """(n, time, band, y, x) -> (n, time-1, y, x): the log of each interval's weight, where never has weight 1."""
        n, times = dates.shape[:2]
        scales = self._features(dates)
        deep = scales.pop()  # (n, time, w, y/stride, x/stride)
        x = self.context(self.compare[-1](deep, *self.recurrence(deep)))  # (n (time-1), w, y/stride, x/stride)
        for s in reversed(range(len(scales))):
            compared = self.compare[s](scales[s], *running_means(scales[s]))
            x = self.back[s](torch.cat([enlarge(x, 2), compared], dim=1))  # (n (time-1), ws, y/2^s, x/2^s)
        found: Tensor = self.head(x).unflatten(0, (n, times - 1)).squeeze(2)
        return found

    def _features(self, dates: Tensor) -> list[Tensor]:
        """(n, time, ws, y/2^s, x/2^s) for each scale."""
        x = dates.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        scales = []
        for s, level in enumerate(self.down):
            x = level(functional.max_pool2d(x, 2) if s else x)
            scales.append(x.unflatten(0, dates.shape[:2]))
        return scales

    def loss(self, batch: Batch, criterion: Criterion) -> Tensor:
        """The criterion on change or none; where labels are dated, its mean with that on (never, interval 1, ...).

        With `dated`, label 0 is no change and k in 1..time-1 a change between dates k - 1 and k, counted from 0. Else
        every label from 1 on is a change at some time. IGNORE is neither.

        Raises:
            BadOption: a dated label names an interval that the series does not have.
        """
        logits, labels = self.interval_logits(batch.dates).float(), batch.labels
        changed = criterion(change_log_odds(logits), torch.where(labels == IGNORE, labels, labels.clamp(max=1)))
        if not self.options.dated:
            return changed
        _require_intervals(labels, logits.shape[1])
        weights = torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)  # (n, time, y, x)
        return (changed + criterion(weights, labels)) / 2


def change_log_odds(interval_logits: Tensor) -> Tensor:
    """(n, time-1, y, x) -> (n, 1, y, x)."""
    return torch.logsumexp(interval_logits, dim=1, keepdim=True)


def _require_intervals(labels: Tensor, intervals: int) -> None:
    latest = int(labels.masked_fill(labels == IGNORE, 0).max())
    if latest > intervals:
        raise BadOption(
            f"a label names interval {latest}, but {intervals + 1} dates have {intervals}; number them from 1, or "
            " teach without dates (dated=False)"
        )


def reach(levels: int) -> int:
    """Receptive radius in pixels, whatever the number of dates."""
    radius, at_scale = 0, []
    for s in range(levels):
        radius += CONVOLUTIONS * 2**s
        at_scale.append(radius)
    radius += (1 + CONVOLUTIONS) * 2 ** (levels - 1)  # what the recurrence sees, and the context
    for s in reversed(range(levels - 1)):
        radius = max(enlarged_radius(radius, 2 ** (s + 1), 2), at_scale[s]) + CONVOLUTIONS * 2**s
    return radius

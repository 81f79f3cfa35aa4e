"""Change without labels: a variational autoencoder of images, and the distance of two dates in its latent space.

As RaVAEn (Růžička 2022), which encodes tiles of 32 x 32 pixels one by one. Here the autoencoder is convolutional
throughout, so each cell of a grid with the network's stride has a latent of its own, which sees somewhat beyond its
cell, and a score does not depend on where a tile was cut. Train it with `loss`, on any images; then give
`calibrate` distances of unlabelled pairs, which define how large a distance is unusual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from geochange.detectors.mixture import bin_values, fit_posterior, statistic_histogram
from geochange.detectors.networks.contract import Batch, Criterion, Network
from geochange.detectors.networks.layers import conv_block, upsample, upsampled_radius
from geochange.errors import BadOption

UNUSUAL = 3.0  # deviations above the median distance at which change is as likely as none, where little changed
SELDOM = 1.5  # deviations above the median that count as change at the least
MAD_TO_DEVIATION = 1.4826  # of a normal distribution
LOG_VARIANCES = (-10.0, 10.0)  # beyond these exponentials lose their meaning


class Latents(NamedTuple):
    """Normal distributions of the latents, independent of each other; (n, latent, y/stride, x/stride) both."""

    mean: Tensor
    log_variance: Tensor


Distance = Callable[[Latents, Latents], Tensor]
"""Two dates' posteriors -> (n, y/stride, x/stride), the same for exchanged dates."""


def cosine(a: Latents, b: Latents) -> Tensor:
    """1 - the cosine of the angle between the means (Růžička 2022)."""
    return 1 - (functional.normalize(a.mean, dim=1) * functional.normalize(b.mean, dim=1)).sum(dim=1)


def euclidean(a: Latents, b: Latents) -> Tensor:
    """Between the means."""
    return (a.mean - b.mean).square().sum(dim=1).sqrt()


def wasserstein(a: Latents, b: Latents) -> Tensor:
    """2-Wasserstein distance of the posteriors (Givens & Shortt 1984, for diagonal covariances)."""
    deviations = torch.exp(a.log_variance / 2) - torch.exp(b.log_variance / 2)
    return ((a.mean - b.mean).square() + deviations.square()).sum(dim=1).sqrt()


def jeffreys(a: Latents, b: Latents) -> Tensor:
    """Square root of the mean of both Kullback-Leibler divergences (Jeffreys 1946): sure latents weigh more."""
    between = a.log_variance - b.log_variance
    precisions = torch.exp(-a.log_variance) + torch.exp(-b.log_variance)
    divergence = (a.mean - b.mean).square() * precisions + (torch.exp(between) + torch.exp(-between)) - 2
    return (divergence.clamp(min=0).sum(dim=1) / 4).sqrt()


DISTANCES: Mapping[str, Distance] = {
    "cosine": cosine,
    "euclidean": euclidean,
    "wasserstein": wasserstein,
    "jeffreys": jeffreys,
}
"""Name -> distance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeVAEOptions:
    """How the autoencoder is built and trained, and what distance is taken."""

    bands: int = 3
    classes: tuple[str, ...] = ("change",)
    widths: tuple[int, ...] = (32, 64)
    """Channels at strides 2, 4, 8, ...; the last is that of the latents. One stride where changes are a few pixels."""
    latent: int = 32
    """Numbers for each cell."""
    beta: float = 0.05
    """Weight of the divergence from the prior (Higgins 2017): as large as the variance, of normalised values, that
    the reconstruction may leave out as noise."""
    distance: str = "wasserstein"
    """cosine, euclidean, wasserstein or jeffreys."""

    def __post_init__(self) -> None:
        if self.distance not in DISTANCES:
            raise BadOption(f"distance {self.distance!r} is not one of {', '.join(DISTANCES)}")
        if len(self.classes) != 1:
            raise BadOption(f"change-vae finds one class, not {len(self.classes)} ({', '.join(self.classes)})")
        if not self.widths:
            raise BadOption("widths () must name the channels of one scale at least")


class ChangeVAE(Network):
    """Distance of the first date and the last in the latent space of a variational autoencoder."""

    name = "change-vae"
    Options = ChangeVAEOptions
    dates = None
    supervised = False
    offset: Tensor
    scale: Tensor

    def __init__(self, options: ChangeVAEOptions) -> None:
        super().__init__(options)
        entering = (options.bands, *options.widths)
        leaving = (options.widths[0], *options.widths)
        levels = range(len(options.widths))
        self.stride = 2 ** len(options.widths)
        self.receptive_radius = _receptive_radius(len(options.widths))
        self.down = nn.Sequential(*(_halving(entering[s], entering[s + 1]) for s in levels))
        self.mean = nn.Conv2d(options.widths[-1], options.latent, 1)
        self.log_variance = nn.Conv2d(options.widths[-1], options.latent, 1)
        self.widen = conv_block(options.latent, options.widths[-1])
        self.back = nn.ModuleList(conv_block(leaving[s + 1], leaving[s]) for s in reversed(levels))
        self.paint = nn.Conv2d(options.widths[0], options.bands, 1)
        self.register_buffer("offset", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))

    def encode(self, images: Tensor) -> Latents:
        """(m, band, y, x) -> posteriors of the latents, (m, latent, y/stride, x/stride)."""
        x = self.down(images.contiguous(memory_format=torch.channels_last))
        return Latents(self.mean(x), self.log_variance(x).clamp(*LOG_VARIANCES))

    def decode(self, latents: Tensor) -> Tensor:
        """(m, latent, y/stride, x/stride) -> (m, band, y, x) images."""
        x = self.widen(latents)
        for level in self.back:
            x = level(upsample(x, 2))
        images: Tensor = self.paint(x)
        return images

    def distance(self, dates: Tensor) -> Tensor:
        """(n, time, band, y, x) -> (n, y, x) distance of the first date's latents from the last's, enlarged."""
        n = dates.shape[0]
        mean, log_variance = self.encode(torch.cat([dates[:, 0], dates[:, -1]]))
        first, last = Latents(mean[:n], log_variance[:n]), Latents(mean[n:], log_variance[n:])
        cells = DISTANCES[self.options.distance](first, last)  # (n, y/stride, x/stride)
        return upsample(cells.unsqueeze(1), self.stride).squeeze(1)

    def outputs(self, dates: Tensor) -> list[Tensor]:
        """(n, 1, y, x): (distance - offset) / scale; 0 where the distance is just unusual, as `calibrate` found it."""
        return [((self.distance(dates) - self.offset) / self.scale).unsqueeze(1)]

    @torch.no_grad()
    def calibrate(self, distances: Tensor) -> None:
        """Set `offset` and `scale`, which make logits of distances, from pairs of which most has not changed.

        The scale is a deviation, estimated from the median absolute deviation, so that the few pixels that did change
        hardly count. The offset is where `mixture.fit_posterior`, the rule of detectors without training, sees change
        as likely as none, but at least `SELDOM` deviations above the median; where it finds no change, `UNUSUAL` ones.

        Args:
            distances: of any shape, from `distance`; NaN where there are no data.

        Raises:
            ValueError: there are none.
        """
        known = distances[torch.isfinite(distances)].float()
        if not known.numel():
            raise ValueError("no distances to calibrate with")
        median = known.median()
        deviation = ((known - median).abs().median() * MAD_TO_DEVIATION).clamp(min=1e-6)
        even = even_distance(known)
        self.offset.copy_(median + UNUSUAL * deviation if even is None else max(even, median + SELDOM * deviation))
        self.scale.copy_(deviation)

    def loss(self, batch: Batch, criterion: Criterion) -> Tensor:
        """Half the squared error of the reconstruction plus beta times the divergence from the prior, a valid pixel.

        Every date is an image of its own; neither labels nor criterion are used. Pixels that are 0 in all bands hold
        no data and are left out; a cell's divergence counts by its share of valid pixels. In training,
        latents are drawn from their posterior; else they are its mean.
        """
        images = batch.dates.flatten(0, 1)
        valid = (images != 0).any(dim=1, keepdim=True).float()  # (n time, 1, y, x)
        posterior = self.encode(images)
        error = (self.decode(self._draw(posterior)).float() - images).square() * valid
        divergence = divergence_from_prior(posterior) * functional.avg_pool2d(valid, self.stride)
        total: Tensor = error.sum() / 2 + self.options.beta * divergence.sum()
        return total / valid.sum().clamp(min=1)

    def _draw(self, posterior: Latents) -> Tensor:
        if not self.training:
            return posterior.mean
        return posterior.mean + torch.randn_like(posterior.mean) * torch.exp(posterior.log_variance / 2)


def even_distance(distances: Tensor) -> Tensor | None:
    """Find the distance at which a mixture of unchanged and changed is even; None where it finds no change."""
    squared = distances.flatten().square().cpu().numpy()
    posterior = fit_posterior(statistic_histogram(squared, np.ones(squared.shape, bool)))
    if posterior.mixture.share == 0:
        return None
    return torch.tensor(bin_values()[np.searchsorted(posterior.log_odds, 0)] ** 0.5)


def divergence_from_prior(posterior: Latents) -> Tensor:
    """(m, 1, y/stride, x/stride) Kullback-Leibler divergence from the standard normal (Kingma & Welling 2014)."""
    mean, log_variance = posterior.mean.float(), posterior.log_variance.float()
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1, keepdim=True) / 2


def _halving(channels_in: int, channels: int) -> nn.Sequential:
    """(n, c, y, x) -> (n, channels, y/2, x/2)."""
    return nn.Sequential(conv_block(channels_in, channels, stride=2), conv_block(channels, channels))


def _receptive_radius(levels: int) -> int:
    """Receptive radius in pixels of a distance: the encoder, and the way from cells to pixels."""
    radius = sum(2**s + 2 ** (s + 1) for s in range(levels))
    return upsampled_radius(radius, 2**levels, 2**levels)

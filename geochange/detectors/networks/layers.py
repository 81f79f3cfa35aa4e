"""Layers that networks share. All of them are shift-equivariant: none looks at where a tile was cut."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


def conv_block(channels_in: int, channels: int, kernel: int = 3, groups: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; the size stays, or is divided by the stride."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


def conv_blocks(channels_in: int, channels: int, count: int) -> nn.Sequential:
    """`count` blocks of 3 x 3 one after the other."""
    return nn.Sequential(*(conv_block(channels if k else channels_in, channels) for k in range(count)))


def upsample(x: Tensor, times: int) -> Tensor:
    """(n, c, y, x) -> (n, c, times y, times x), bilinear."""
    return functional.interpolate(x, scale_factor=float(times), mode="bilinear", align_corners=False)


class Resample(nn.Module):
    """Every `before` cells become `after`, bilinear, as `interpolate` with half-pixel centres does.

    The weights are those of one such group, so groups are treated alike to the last bit wherever a tile was cut; the
    coordinates that `interpolate` computes are rounded, the more the farther they lie from the corner.
    """

    weights: Tensor

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.before, self.after = before, after
        self.register_buffer("weights", _bilinear_weights(before, after), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> (n, c, y * after / before, x * after / before)."""
        if self.before == self.after:
            return x
        return self._along_rows(self._along_rows(x).transpose(-1, -2)).transpose(-1, -2)

    def _along_rows(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> (n, c, y, x * after / before)."""
        n, c, rows, cols = x.shape
        padded = functional.pad(x, (1, 1, 0, 0), mode="replicate").reshape(n * c, 1, rows, cols + 2)
        groups = functional.conv2d(padded, self.weights, stride=(1, self.before))  # (n * c, after, y, group)
        return groups.permute(0, 2, 3, 1).reshape(n, c, rows, -1)


def _bilinear_weights(before: int, after: int) -> Tensor:
    """(after, 1, 1, before + 2) what each new cell takes of a group of old ones, and of one more on each side."""
    places = (np.arange(after) + 0.5) * before / after + 0.5  # in the group with its neighbours
    distances = np.abs(places[:, None] - np.arange(before + 2))
    return torch.from_numpy(np.maximum(1 - distances, 0).astype(np.float32))[:, None, None]


def upsampled_radius(radius: int, stride: int, times: int) -> int:
    """Receptive radius in pixels of what `upsample` makes of cells with a radius and a stride.

    A new cell looks at the old one that it lies in, and at the next one on the side to which it lies.
    """
    return radius + 3 * stride // 2 - stride // times


def window_mean(x: Tensor, window: int) -> Tensor:
    """Average over a window x window neighbourhood of each cell; cells beyond the border do not count."""
    return functional.avg_pool2d(x, window, stride=1, padding=window // 2, count_include_pad=False)


class ChannelAttention(nn.Module):
    """Squeeze and excitation (Hu 2018) over a window that slides, in place of the whole tile."""

    def __init__(self, channels: int, window: int, reduction: int = 4) -> None:
        super().__init__()
        self.window = window
        self.gate = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1), nn.ReLU(), nn.Conv2d(channels // reduction, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> the same, gated channel by channel."""
        return x * torch.sigmoid(self.gate(window_mean(x, self.window)))


class SpatialAttention(nn.Module):
    """A gate for each pixel from the mean and the maximum over the channels around it (Woo 2018)."""

    def __init__(self, kernel: int = 5) -> None:
        super().__init__()
        self.window = kernel
        self.gate = nn.Conv2d(2, 1, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> the same, gated pixel by pixel."""
        seen = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)  # (n, 2, y, x)
        return x * torch.sigmoid(self.gate(seen))


class NeighbourhoodAttention(nn.Module):
    """Self-attention of each cell to the window x window cells around it (Ramachandran 2019; Hassani 2023).

    Windows slide, so nothing depends on where a tile was cut. Relative places enter as a bias learned for each head.
    Cells are taken in blocks that share their neighbours, as matrix products: a cell's own window is what the bias
    leaves of those, and the result does not depend on where blocks begin.
    """

    block = 8  # cells per side that share neighbours
    entry: Tensor

    def __init__(self, channels: int, window: int = 7, heads: int = 4) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        self.norm = nn.BatchNorm2d(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.place = nn.Parameter(torch.zeros(heads, window * window))
        self.project = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.project.weight)  # begins as the identity
        nn.init.zeros_(self.project.get_parameter("bias"))
        self.register_buffer("entry", _window_entries(self.block, window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> the same, with what was attended to added."""
        rows, cols = x.shape[-2:]
        below, right = -rows % self.block, -cols % self.block
        query, key, value = functional.pad(self.qkv(self.norm(x)), (0, right, 0, below)).chunk(3, dim=1)
        query, key, value = self._blocks(query), self._surroundings(key), self._surroundings(value)
        inside = functional.pad(torch.ones_like(x[:1, : self.heads]), (0, right, 0, below))
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5  # (n, block, heads, cell, key)
        scores = scores + self._bias() + (self._surroundings(inside).transpose(-1, -2) - 1) * -OUTSIDE
        mixed = torch.softmax(scores, dim=-1) @ value  # (n, block, heads, cell, depth)
        mixed = mixed.permute(0, 2, 4, 3, 1).flatten(1, 3)  # (n, channels * cell, block)
        whole = functional.fold(mixed, (rows + below, cols + right), self.block, stride=self.block)
        attended: Tensor = x + self.project(whole[..., :rows, :cols])
        return attended

    def _blocks(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> (n, block, heads, cell of the block, depth)."""
        return self._by_head(functional.unfold(x, self.block, stride=self.block), x.shape[1])

    def _surroundings(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> (n, block, heads, cell of the block and around it, depth); 0 beyond the border."""
        reach = self.window // 2
        return self._by_head(functional.unfold(x, self.block + 2 * reach, padding=reach, stride=self.block), x.shape[1])

    def _by_head(self, unfolded: Tensor, channels: int) -> Tensor:
        n, _, blocks = unfolded.shape
        return unfolded.view(n, self.heads, channels // self.heads, -1, blocks).permute(0, 4, 1, 3, 2)

    def _bias(self) -> Tensor:
        """(heads, cell, key): what was learned for their places, and next to nothing for keys out of the window."""
        learned = functional.pad(self.place, (0, 1), value=OUTSIDE)
        return learned[:, self.entry]


OUTSIDE = -1e4  # added to the score of a key that does not count: its weight is 0 in float32


def _window_entries(block: int, window: int) -> Tensor:
    """(cell, key) which entry of the cell's window a key of its block's surroundings is; window² where it is none."""
    cells, keys = np.arange(block), np.arange(block + window - 1)
    step = keys[None, :] - cells[:, None]  # 0 at the first key of the cell's window
    rows, cols = step[:, None, :, None], step[None, :, None, :]
    inside = (rows >= 0) & (rows < window) & (cols >= 0) & (cols < window)
    return torch.from_numpy(np.where(inside, rows * window + cols, window**2).reshape(block**2, -1))


class PyramidPooling(nn.Module):
    """Context from means over windows of several fixed sizes (Zhao 2017, there over parts of the whole image)."""

    def __init__(self, channels: int, windows: tuple[int, ...]) -> None:
        super().__init__()
        self.windows = windows
        part = channels // len(windows)
        self.reduce = nn.ModuleList(conv_block(channels, part, 1) for _ in windows)
        self.join = conv_block(channels + part * len(windows), channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> the same, with context."""
        parts = [reduce(window_mean(x, window)) for reduce, window in zip(self.reduce, self.windows, strict=True)]
        joined: Tensor = self.join(torch.cat([x, *parts], dim=1))
        return joined

"""EfficientNet-Lite0 (Tan 2019; without squeezing and with ReLU6, as TensorFlow publishes it): its first stages alone.

Names of tensors, their order and what they compute are those of timm's `tf_efficientnet_lite0` with symmetric padding;
importing timm takes longer than scoring a small scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from torch import Tensor, nn

STEM = 32
EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks of one width."""

    blocks: int
    channels: int
    kernel: int
    stride: int
    ends_scale: bool
    """Whether the next stage halves the size, so that this one's features are the last of their scale."""
    expand: int = 6


STAGES = (
    Stage(1, 16, 3, 1, ends_scale=True, expand=1),
    Stage(2, 24, 3, 2, ends_scale=True),
    Stage(2, 40, 5, 2, ends_scale=True),
    Stage(3, 80, 3, 2, ends_scale=False),
    Stage(3, 112, 5, 1, ends_scale=True),
    Stage(4, 192, 5, 2, ends_scale=False),
    Stage(1, 320, 3, 1, ends_scale=True),
)


class Normalised(nn.BatchNorm2d):
    """Batch normalisation and the activation behind it."""

    def __init__(self, channels: int, *, active: bool = True) -> None:
        super().__init__(channels, eps=EPSILON)
        self.act = nn.ReLU6(inplace=True) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> the same."""
        active: Tensor = self.act(super().forward(x))
        return active


class Separable(nn.Module):
    """A depthwise convolution, then one across channels."""

    def __init__(self, channels_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        self.conv_dw = _depthwise(channels_in, stage.kernel, stride)
        self.bn1 = Normalised(channels_in)
        self.conv_pw = _pointwise(channels_in, stage.channels)
        self.bn2 = Normalised(stage.channels, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> (n, channels, y / stride, x / stride)."""
        out: Tensor = self.bn2(self.conv_pw(self.bn1(self.conv_dw(x))))
        return out


class Inverted(nn.Module):
    """Channels are widened, convolved one by one, and narrowed again; added to an input of the same shape."""

    def __init__(self, channels_in: int, stage: Stage, stride: int) -> None:
        super().__init__()
        wide = channels_in * stage.expand
        self.residual = stride == 1 and channels_in == stage.channels
        self.conv_pw = _pointwise(channels_in, wide)
        self.bn1 = Normalised(wide)
        self.conv_dw = _depthwise(wide, stage.kernel, stride)
        self.bn2 = Normalised(wide)
        self.conv_pwl = _pointwise(wide, stage.channels)
        self.bn3 = Normalised(stage.channels, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, y, x) -> (n, channels, y / stride, x / stride)."""
        out: Tensor = self.bn3(self.conv_pwl(self.bn2(self.conv_dw(self.bn1(self.conv_pw(x))))))
        return out + x if self.residual else out


class Scales:
    """What an encoder gives at each scale, finest first, by the methods of timm's `FeatureInfo`."""

    def __init__(self, stages: dict[int, Stage]) -> None:
        self._stages = stages

    def module_name(self) -> list[str]:
        """Return the names of the stages that end a scale."""
        return [f"blocks.{number}" for number in self._stages]

    def channels(self) -> list[int]:
        """Return their channels."""
        return [stage.channels for stage in self._stages.values()]

    def reduction(self) -> list[int]:
        """Return their strides."""
        return [2 ** (k + 1) for k in range(len(self._stages))]


class EfficientNetLite0(nn.Module):
    """The encoder: images -> features of the first scales, at strides 2, 4, 8, ..."""

    def __init__(self, bands: int, scales: int) -> None:
        """Build it with fresh weights.

        Args:
            bands: of the images.
            scales: how many, 1 to 5.
        """
        super().__init__()
        ends = [number for number, stage in enumerate(STAGES) if stage.ends_scale][:scales]
        self.feature_info = Scales({number: STAGES[number] for number in ends})
        self.conv_stem = nn.Conv2d(bands, STEM, 3, 2, padding=1, bias=False)
        self.bn1 = Normalised(STEM)
        self.blocks = nn.Sequential()
        channels = STEM
        for stage in STAGES[: ends[-1] + 1]:
            self.blocks.append(_blocks(channels, stage))
            channels = stage.channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:  # drawing nothing would import a compiler
                _begin(module)

    @property
    def reach(self) -> int:
        """Pixels on each side that a feature of the last scale depends on."""
        reach, stride = 1, 2  # of the stem
        for stage in STAGES[: len(self.blocks)]:
            side = stage.kernel // 2
            reach += side * stride
            stride *= stage.stride
            reach += (stage.blocks - 1) * side * stride
        return reach

    def forward(self, x: Tensor) -> list[Tensor]:
        """(n, band, y, x) -> (n, c, y/s, x/s) of each scale."""
        x, found = self.bn1(self.conv_stem(x)), []
        for number, blocks in enumerate(self.blocks):
            x = blocks(x)
            if STAGES[number].ends_scale:
                found.append(x)
        return found


def _blocks(channels: int, stage: Stage) -> nn.Sequential:
    kind = Separable if stage.expand == 1 else Inverted
    first = kind(channels, stage, stage.stride)
    return nn.Sequential(first, *(kind(stage.channels, stage, 1) for _ in range(stage.blocks - 1)))


def _depthwise(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride, padding=kernel // 2, groups=channels, bias=False)


def _pointwise(channels_in: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 1, bias=False)


def _begin(convolution: nn.Conv2d) -> None:
    """Draw weights by what each channel feeds, as TensorFlow does."""
    fan_out = convolution.kernel_size[0] * convolution.kernel_size[1] * convolution.out_channels // convolution.groups
    nn.init.normal_(convolution.weight, 0.0, sqrt(2.0 / fan_out))

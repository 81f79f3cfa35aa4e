"""Encoders: the part of a network that looks at each date by itself, as timm names them."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from geochange.detectors.networks.efficientnet_lite import EfficientNetLite0
from geochange.errors import BadOption
from geochange.extras import require_packages

DEFAULT_ENCODER = "tf_efficientnet_lite0"


def feature_encoder(name: str, bands: int, strides: tuple[int, ...]) -> tuple[nn.Module, list[int]]:
    """Make a model that gives the features of its first stages, without the layers behind them.

    TensorFlow's padding depends on the size of the input, so the usual one takes its place.

    Args:
        name: of the model in timm, which is needed but for the default.
        bands: of the images.
        strides: that the stages must have.

    Returns:
        The model, and the channels of each stage.

    Raises:
        BadOption: timm has no such model, it has other strides, or squeezes whole tiles: scores would depend on where
            tiles are cut.
    """
    if name == DEFAULT_ENCODER:
        own = EfficientNetLite0(bands, len(strides))
        return own, own.feature_info.channels()
    require_packages(f"the encoder {name}", "torch", "timm")
    import timm

    settings: dict[str, Any] = {"in_chans": bands, "out_indices": tuple(range(len(strides)))}
    if name.startswith("tf_"):
        settings["pad_type"] = ""
    try:
        encoder: Any = timm.create_model(name, features_only=True, **settings)
    except (RuntimeError, AttributeError, AssertionError, IndexError, TypeError) as error:
        raise BadOption(f"timm cannot make an encoder {name!r}: {str(error).splitlines()[0]}") from error
    if hasattr(encoder, "blocks") and isinstance(encoder.blocks, nn.Sequential):
        last = max(encoder.feature_info.get_dicts(keys=["stage"]), key=lambda each: each["stage"])["stage"]
        encoder.blocks = encoder.blocks[:last]
    if squeezing := sorted({type(each).__name__ for each in encoder.modules() if "Squeeze" in type(each).__name__}):
        raise BadOption(f"{name} looks at whole tiles ({', '.join(squeezing)}); take one without, as {DEFAULT_ENCODER}")
    if tuple(found := encoder.feature_info.reduction()) != strides:
        raise BadOption(f"{name} has strides {found}, not {strides}; take another encoder, as {DEFAULT_ENCODER}")
    return encoder, encoder.feature_info.channels()


@torch.no_grad()
def encoder_radius(encoder: nn.Module, bands: int, stride: int = 16, side: int = 64) -> int:
    """Pixels on each side that features can depend on, in whole strides of the coarsest.

    It is the sum of what each convolution and pooling adds, as seen on a small image; where paths are parallel, this is
    more than needed.
    """
    if isinstance(encoder, EfficientNetLite0):
        return stride * ceil(encoder.reach / stride)
    reach = 0.0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal reach
        kernel, dilation = (np.max(getattr(layer, name, 1)) for name in ("kernel_size", "dilation"))
        reach += (kernel - 1) * dilation / 2 * side / inputs[0].shape[-1]

    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    hooks = [layer.register_forward_hook(add) for layer in encoder.modules() if isinstance(layer, kinds)]
    training = encoder.training
    encoder.eval()(torch.zeros(1, bands, side, side))
    encoder.train(training)
    for hook in hooks:
        hook.remove()
    return stride * ceil(reach / stride)

"""Weights of an encoder from a file, as torchgeo and others publish them, whose channels are matched by name."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geochange.detectors.networks.checkpoint import load_tensors
from geochange.detectors.networks.contract import Network
from geochange.errors import BadOption, UnreadableInput

WRAPPERS = ("state_dict", "model", "teacher", "model_state_dict", "weights")
PREFIXES = ("module.", "backbone.", "encoder.", "encoder_q.", "model.", "student.", "teacher.", "resnet.")
FEWEST_FITTING = 0.9  # of an encoder's tensors
ALIASES: Mapping[str, str] = {
    "B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "rededge1", "B6": "rededge2", "B7": "rededge3",
    "B8": "nir", "B8A": "nir08", "B9": "watervapour", "B10": "cirrus", "B11": "swir1", "B12": "swir2",
}  # fmt: skip
"""Bands of Sentinel-2 by what they show, with and without a 0 before the number."""

SENTINEL_2 = tuple(ALIASES.values())
KNOWN_CHANNELS: Mapping[int, tuple[str, ...]] = {
    2: ("vv", "vh"),
    3: ("red", "green", "blue"),
    4: ("red", "green", "blue", "nir"),
    6: ("blue", "green", "red", "nir", "swir1", "swir2"),
    12: tuple(name for name in SENTINEL_2 if name != "cirrus"),
    13: SENTINEL_2,
}
"""Channels of published weights by their number: Sentinel-1, colour, NAIP, Landsat surface reflectance, Sentinel-2."""


def load_encoder_weights(
    network: Network, path: str | os.PathLike[str], bands: Sequence[str], channels: Sequence[str] | None = None
) -> str:
    """Give a network's encoder the weights of a file.

    Args:
        network: its encoder is changed.
        path: tensors by timm's names, bare or within a checkpoint of another program.
        bands: what the network's bands are, in order.
        channels: names of the file's channels, in order; None: as their number says.

    Returns:
        The name of the file.

    Raises:
        UnreadableInput: the file is broken, or holds no tensors by name.
        BadOption: they are of another encoder, or their channels are not known.
    """
    if not hasattr(network.options, "encoder"):
        raise BadOption(f"{network.name} has no encoder that could take weights")
    encoder, found = network.get_submodule("encoder"), _tensors_in(path)
    own = encoder.state_dict()
    first = next(name for name, value in own.items() if value.ndim == 4)  # the one that sees the bands
    given = _by_own_names(found, own)
    if first in given:
        given[first] = match_channels(given[first], bands, channels, path)
    taken = {name: value for name, value in given.items() if value.shape == own[name].shape}
    if first not in taken or len(taken) < FEWEST_FITTING * len(own):
        kind = getattr(network.options, "encoder", "")
        raise BadOption(
            f"{path} holds weights of another encoder: {len(taken)} of {len(own)} tensors of {kind} fit; name theirs "
            "with --network-option encoder=NAME"
        )
    encoder.load_state_dict({**own, **{name: value.to(own[name].dtype) for name, value in taken.items()}})
    return Path(path).name


def _tensors_in(path: str | os.PathLike[str]) -> Mapping[str, Tensor]:
    content: Any = load_tensors(path)
    while isinstance(content, dict) and (inner := next((name for name in WRAPPERS if name in content), None)):
        content = content[inner]
    found = (
        {name: value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not found:
        raise UnreadableInput(f"{path} holds no tensors by name")
    return found


def _by_own_names(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the encoder's names: without the prefix under which another program kept them."""

    def fitting(prefix: str) -> dict[str, Tensor]:
        bare = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        return {name: bare[name] for name in own if name in bare}

    prefixes = ["", *PREFIXES, *(first + second for first in PREFIXES for second in PREFIXES)]
    return max((fitting(prefix) for prefix in prefixes), key=len)


def match_channels(
    kernel: Tensor, bands: Sequence[str], channels: Sequence[str] | None, path: str | os.PathLike[str]
) -> Tensor:
    """(c, channel, y, x) first kernel -> (c, band, y, x): each band's own channel, with the same sum.

    Raises:
        BadOption: a band is none of the channels.
    """
    count = kernel.shape[1]
    names = tuple(channels) if channels is not None else KNOWN_CHANNELS.get(count)
    if names is None or len(names) != count:
        raise BadOption(f"{path} has weights for {count} channels; name them, in order, with --encoder-bands")
    known = {role_of(name): place for place, name in enumerate(names)}
    wanted = [role_of(band) for band in bands]
    if missing := [band for band, role in zip(bands, wanted, strict=True) if role not in known]:
        if len(bands) == count and all(band.startswith("band ") for band in bands):
            return kernel  # nothing is known of either: in their order
        raise BadOption(
            f"{path} has no channel for {missing[0]}; it has {', '.join(names)}: pick bands with --bands, or name its "
            "channels with --encoder-bands"
        )
    picked = kernel[:, torch.tensor([known[role] for role in wanted])]
    return picked * (count / len(bands))


def role_of(name: str) -> str:
    """Return what a band shows, by any of its names."""
    text = name.strip()
    plain = text.upper()
    if len(plain) > 2 and plain.startswith("B0"):
        plain = f"B{plain[2:]}"
    return ALIASES.get(plain, text.lower())

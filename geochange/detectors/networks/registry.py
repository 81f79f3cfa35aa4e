"""What networks there are: name -> lazy "module:Class"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any

from geochange.errors import BadOption

NETWORKS = {
    "attention-net": "geochange.detectors.networks.attention_net:AttentionNet",
    "siamese-unet": "geochange.detectors.networks.siamese_unet:SiameseUNet",
    "conv-gru": "geochange.detectors.networks.conv_gru:ConvGRU",
    "change-rcnn": "geochange.detectors.networks.change_rcnn:ChangeRCNN",
    "change-ssd": "geochange.detectors.networks.change_ssd:ChangeSSD",
    "change-selective": "geochange.detectors.networks.change_selective:ChangeSelective",
    "change-vae": "geochange.detectors.networks.change_vae:ChangeVAE",
}


def network_class(name: str) -> type[Any]:
    """Import the class of a network.

    Raises:
        BadOption: the network is unknown.
    """
    if name not in NETWORKS:
        raise BadOption(f"unknown network {name!r}; choose from {', '.join(NETWORKS)}")
    module, _, attribute = NETWORKS[name].partition(":")
    kind: type[Any] = getattr(import_module(module), attribute)
    return kind


def build_network(name: str, options: Mapping[str, Any]) -> Any:
    """Build a network with fresh weights.

    Args:
        name: in `NETWORKS`.
        options: fields of the network's options; lists stand for tuples, as in JSON.

    Raises:
        BadOption: the network or the option is unknown.
    """
    kind = network_class(name)
    known = [field.name for field in fields(kind.Options)]
    if unknown := sorted(set(options) - set(known)):
        raise BadOption(f"{name} has no option {unknown[0]!r}; it has {', '.join(known)}")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    return kind(kind.Options(**values))

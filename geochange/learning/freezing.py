"""Parts of a network that stay as they are while the others are trained."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from geochange.detectors.networks.contract import Network
from geochange.errors import BadOption


def freeze(network: Network, scales: int) -> None:
    """Keep the first scales of a network's pretrained encoder as they are; all else is trained.

    Args:
        network: its parameters' `requires_grad` is set.
        scales: how many of the encoder's features, the finest first; 0: everything is trained.

    Raises:
        BadOption: the network has no encoder, or one of fewer scales.
    """
    network.requires_grad_(True)
    if not scales:
        return
    ends = encoder_scales(network)
    if scales > len(ends):
        raise BadOption(f"frozen {scales}: the encoder of {network.name} has {len(ends)} scales")
    parameters = list(network.get_submodule("encoder").named_parameters())  # in the order in which they are used
    last = max(k for k, (name, _) in enumerate(parameters) if name.startswith(f"{ends[scales - 1]}."))
    for _, parameter in parameters[: last + 1]:
        parameter.requires_grad_(False)


def encoder_scales(network: Network) -> list[str]:
    """Return the names of the parts of a network's encoder that end each of its scales, the finest first."""
    described = getattr(getattr(network, "encoder", None), "feature_info", None)
    return [] if described is None else list(described.module_name())


def set_training(network: Network, *, statistics: bool = True) -> None:
    """Call `network.train()`, but normalisation that is frozen keeps its statistics; without `statistics` all of it."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not (statistics and _learns(module)):
            module.eval()


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters(recurse=False))

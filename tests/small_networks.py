"""Small networks with random weights that say something: no part of them is dead or saturated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from geochange.detectors.networks.checkpoint import About, Checkpoint, Normalisation
from geochange.detectors.networks.registry import build_network
from tests.stand_ins import changed_pair

SMALL = {
    "attention-net": {"widths": [8, 8, 8, 16]},
    "siamese-unet": {"widths": [4, 8, 8, 8]},
}
OBJECTS = {"change-rcnn": {"width": 8}, "change-ssd": {"width": 8}}
ENLARGING = "attention-net cell=13"
LAWFUL = {
    **SMALL,
    ENLARGING: {**SMALL["attention-net"], "cell": 13},
    "conv-gru": {"widths": [4, 6, 8]},
    "change-vae": {"widths": [6, 8, 8], "latent": 6},
    **OBJECTS,
}
"""What the engine's laws are tested on: every network, and what moves by another stride."""
SLOW = {"change-selective": {"width": 8}}
"""What has tests of its own for them."""
NORMALISATION = Normalisation(mean=(110.0, 100.0, 90.0), spread=(45.0, 40.0, 50.0))


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network weights and statistics as after some training."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


def save_small(path: Path, name: str = "attention-net", *, seed: int = 0, **about: object) -> str:
    """A checkpoint of a small network, whose scores lie about its threshold; returns its path."""
    torch.manual_seed(seed)
    options = {"bands": 3, "classes": ["change"], **(LAWFUL | SLOW)[name]}
    name = name.split(maxsplit=1)[0]
    network = lively(build_network(name, options), seed)
    mean, spread = (torch.tensor(each)[:, None, None] for each in (NORMALISATION.mean, NORMALISATION.spread))
    dates = torch.from_numpy(np.stack(changed_pair((160, 160))).astype(np.float32))
    dates = ((dates - mean) / spread)[None, ..., : 160 // network.stride * network.stride]
    dates = dates[..., : 160 // network.stride * network.stride, :]
    with torch.no_grad():
        if name == "conv-gru":
            network.head.bias.zero_()  # it begins with change as rare
        if name == "change-vae":
            network.calibrate(network.distance(dates))
        if name == "change-ssd":
            network.kind.bias.zero_()  # so does it
        if network.objects:
            network.mask[-1].bias -= network(dates).mean()
        logits = network(dates)
        likely = network.with_objects(dates)[1][:, 6] if network.objects else torch.sigmoid(logits / logits.std())
    temperature = float(logits.std())
    if network.objects:  # whose logits have outliers
        temperature = float(logits.quantile(0.75) - logits.quantile(0.25))
    values = {
        "network": name,
        "options": options,
        "bands": ("red", "green", "blue"),
        "normalisation": NORMALISATION,
        "value_range": (0.0, 255.0),
        "gsd": (1.5, 2.5),
        "thresholds": {"default": round(float(likely.median()), 3)},
        "temperature": temperature,
        "trained_on": "nothing",
        **about,
    }
    Checkpoint(About(**values), network.state_dict()).save(path)
    return str(path)

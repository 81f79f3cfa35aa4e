"""What each part of `attention-net` is worth, and `siamese-unet` beside it at equal training time.

    python benchmarks/ablation.py RUNS [--minutes 4] [--seeds 0 1] [--only full,no-multi-scale]
    python benchmarks/ablation.py RUNS --steps 1000

With `--steps` all variants of `attention-net` have as many updates, and `siamese-unet` as many as it does in the time
that `full` takes. Trains on LEVIR-CD's training scenes at 1 m a pixel (crops of 128², of 130² where a cell is 13
pixels), and scores on the validation scenes at 1 m: the threshold is that of the best F1 on the even ones, the figures
are of the odd ones. `small` are changes of fewer than 100 pixels: hits are their pixels that are predicted as change,
false alarms the pixels of predicted regions of that size that touch no change. Intervals are of 95 %, from a bootstrap
over scenes. RUNS keeps each network of one budget; what is there is not trained again. Prints a line of JSON for each
run, then means over seeds.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from imagery import parser_with_data
from scipy import ndimage

from geochange.allocator import keep_freed_memory
from geochange.arrays import IGNORE, Bools, Ints
from geochange.datasets.collection import Collection, open_collection
from geochange.datasets.options import CollectionOptions
from geochange.detectors.networks.checkpoint import About, load_checkpoint, use_pretrained_encoder
from geochange.detectors.networks.contract import Network
from geochange.detectors.networks.registry import build_network
from geochange.detectors.networks.scorer import find_device
from geochange.engine.progress import Relay, Silent
from geochange.learning.options import TrainOptions
from geochange.learning.samples import SampleOptions, TrainingSamples, measure_normalisation
from geochange.learning.scoring import ProbabilityHistogram, pooled_f1_interval, score_sample
from geochange.learning.training import BEST, fit

SMALL = 100  # pixels
SIZE, BATCH = 128, 8
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("attention-net", {}),
    "no-channel-attention": ("attention-net", {"channel_attention": False}),
    "no-spatial-attention": ("attention-net", {"spatial_attention": False}),
    "no-self-attention": ("attention-net", {"self_attention": False}),
    "no-attention": (
        "attention-net",
        {"channel_attention": False, "spatial_attention": False, "self_attention": False},
    ),
    "no-pyramid-pooling": ("attention-net", {"pyramid_pooling": False}),
    "no-multi-scale": ("attention-net", {"multi_scale": False}),
    "enlarged": ("attention-net", {"cell": 13}),
    "siamese-unet": ("siamese-unet", {}),
}


@dataclass(frozen=True, slots=True)
class Material:
    training: Collection
    even: Collection
    odd: Collection


def open_material(data: Path) -> Material:
    training, held_out = (
        open_collection(data / "levir" / f"{name}_512px_1m", CollectionOptions(gsd=1.0)) for name in ("train", "val")
    )
    parity = [int("".join(filter(str.isdigit, item.pair.name))) % 2 for item in held_out.items]
    even, odd = (held_out.part([k for k, each in enumerate(parity) if each == side]) for side in (0, 1))
    return Material(training, even, odd)


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a variant is trained: for so many minutes, estimated from its first steps, or for so many updates."""

    minutes: float
    steps: int | None


def train_variant(variant: str, seed: int, budget: Budget, material: Material, folder: Path) -> None:
    """Train one variant."""
    name, options = VARIANTS[variant]
    normalisation, value_range = measure_normalisation([material.training])
    stride = fresh(name, options, seed).stride
    drawn = SampleOptions(size=round(SIZE / stride) * stride, seed=seed)
    samples = TrainingSamples([material.training], normalisation, drawn)
    about = About(
        network=name,
        options={"bands": 3, "classes": ("change",), **options},
        bands=("red", "green", "blue"),
        normalisation=normalisation,
        value_range=value_range,
        trained_on="LEVIR-CD (training scenes at 1 m)",
    )

    def seconds(name: str, options: dict[str, Any]) -> float:
        described = replace(about, network=name, options={**about.options, **options})
        return seconds_of_step(fresh(name, options, seed), described, samples, folder / "trial")

    if budget.steps is None:
        steps = int(60 * budget.minutes / seconds(name, options))
    elif name == VARIANTS["full"][0]:
        steps = budget.steps
    else:
        steps = int(budget.steps * seconds(*VARIANTS["full"]) / seconds(name, options))
    fitting = TrainOptions(steps=steps, batch=BATCH, every=steps, seed=seed, warmup=50, average=0.99)
    fit(fresh(name, options, seed), about, samples, (), folder, fitting)


def fresh(name: str, options: dict[str, Any], seed: int) -> Network:
    torch.manual_seed(seed)
    network: Network = build_network(name, options)
    if hasattr(network, "encoder"):
        use_pretrained_encoder(network)
    return network


def seconds_of_step(network: Network, about: About, samples: TrainingSamples, folder: Path, steps: int = 12) -> float:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    heard: list[float] = []
    fitting = TrainOptions(steps=2 * steps, batch=BATCH, every=steps)
    fit(
        network,
        about,
        samples,
        (),
        folder,
        fitting,
        listener=Relay(Silent(), lambda row: heard.append(row["seconds"])),
    )
    return heard[-1] / steps


def score(checkpoint: Path, material: Material) -> dict[str, float]:
    loaded = load_checkpoint(checkpoint)
    device = find_device("auto")
    network = loaded.build().to(device)

    def scored(collection: Collection) -> list[tuple[np.ndarray, Ints]]:
        found = []
        for index in range(len(collection)):
            sample = collection.read(index)
            logits = score_sample(network, sample, loaded.about.normalisation, device)
            found.append((torch.sigmoid(logits[0, 0]).numpy(), sample.labels))
        return found

    histogram = ProbabilityHistogram()
    for probability, labels in scored(material.even):
        counted = labels != IGNORE
        histogram.add(probability[counted], labels[counted] > 0)
    threshold = histogram.best_threshold()
    odd = [(probability >= threshold, labels > 0) for probability, labels in scored(material.odd)]
    answer = {"threshold": threshold}
    for name, count in (("all", all_outcomes), ("small", small_outcomes)):
        outcomes = np.array([count(predicted, truth) for predicted, truth in odd])
        hits, false, misses = outcomes.sum(axis=0)
        answer[f"f1_{name}"] = 2 * hits / max(2 * hits + false + misses, 1)
        answer[f"recall_{name}"] = hits / max(hits + misses, 1)
        interval = pooled_f1_interval(outcomes)
        if interval is not None:
            answer[f"f1_{name}_low"], answer[f"f1_{name}_high"] = interval
    return answer


def all_outcomes(predicted: Bools, truth: Bools) -> tuple[int, int, int]:
    """Hits, false alarms and misses in pixels."""
    return int((predicted & truth).sum()), int((predicted & ~truth).sum()), int((~predicted & truth).sum())


def small_outcomes(predicted: Bools, truth: Bools) -> tuple[int, int, int]:
    """As `all_outcomes`, of changes and predicted regions of fewer than SMALL pixels."""
    wanted = small_regions(truth)
    alarms = small_regions(predicted)
    regions, count = ndimage.label(alarms)
    touching = np.zeros(count + 1, bool)
    touching[np.unique(regions[truth])] = True
    return int((predicted & wanted).sum()), int((alarms & ~touching[regions]).sum()), int((~predicted & wanted).sum())


def small_regions(mask: Bools) -> Bools:
    regions, count = ndimage.label(mask)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    small: Bools = mask & (sizes[regions] < SMALL)
    return small


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--steps", type=int, help="updates, in place of minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()
    material, found = open_material(chosen.data), {}
    for seed in chosen.seeds:
        for variant in chosen.only.split(","):
            folder, began = chosen.runs / f"{variant}-{seed}", time.perf_counter()
            if not (folder / BEST).exists():
                folder.mkdir(parents=True, exist_ok=True)
                train_variant(variant, seed, Budget(chosen.minutes, chosen.steps), material, folder)
            figures = score(folder / BEST, material)
            found.setdefault(variant, []).append(figures)
            row = {"variant": variant, "seed": seed, "minutes": (time.perf_counter() - began) / 60, **figures}
            print(json.dumps({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}), flush=True)
    means = {
        variant: {key: round(float(np.mean([each[key] for each in rows])), 4) for key in ("f1_all", "f1_small")}
        for variant, rows in found.items()
    }
    print(json.dumps(means, indent=1))


if __name__ == "__main__":
    main()

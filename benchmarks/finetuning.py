"""What fine-tuning brings on another continent: `buildings` on tiles of DSIFN. Prints a line of JSON a run.

    python benchmarks/finetuning.py RUNS [--start buildings] [--steps 300] [--counts 5 10 20 50] [--only tuned]

Of the tiles of DSIFN (256², about 2 m; built-up change, roads and plots, coarsely outlined) 50 are drawn to learn from
and 100 to score on; the smaller counts are the first of the 50. Compared are the start as it is (`none`), fine-tuning
(`tuned`), training from ImageNet's encoder for as many steps (`scratch`), and the unsupervised kind on the 50 without
their labels (`unlabelled`; `statistics` is its first half, normalisation alone). `recipe` and `auto`, which run where
`--only` names them, are `geochange finetune` by its defaults and with `--auto`, both on crops of 130². Thresholds: the
start's own for `none` and `unlabelled`; chosen on what each holds out itself for `recipe` and `auto`; 0.5 for the
others, since nothing is held out to choose one; `best` is the F1 at the threshold that is best on the 100, for
comparison. Intervals are of 95 %, from a bootstrap over tiles. The images are in ../shared/data.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from imagery import parser_with_data

from geochange.arrays import IGNORE
from geochange.datasets.collection import open_collection
from geochange.detectors.catalogue import find_checkpoint
from geochange.detectors.networks.checkpoint import load_checkpoint
from geochange.detectors.networks.contract import probability
from geochange.detectors.networks.scorer import find_device
from geochange.learning.options import FinetuneOptions, TrainRunOptions
from geochange.learning.run_options import options_from
from geochange.learning.scoring import ProbabilityHistogram, pooled_f1_interval, score_sample
from geochange.pipeline.finetune import finetune
from geochange.pipeline.train import train

DSIFN = "dsifn_256px"
LEARN, SCORE = 50, 100
KINDS = ("none", "tuned", "scratch", "unlabelled")
AUTOMATIC = ("recipe", "auto")
GSD = 2.0


def linked(names: list[str], folder: Path, source: Path) -> Path:
    """A data set of links to the tiles of these names."""
    for part in ("A", "B", "label"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for path in (source / part).iterdir():
            target = folder / part / path.name
            if path.stem in names and not target.exists():
                os.symlink(path, target)
    return folder


def score(checkpoint: str | Path, folder: Path, device: torch.device) -> dict[str, float]:
    """Figures on the tiles of a folder."""
    loaded, collection = load_checkpoint(checkpoint), open_collection(folder)
    network, histograms = loaded.build().to(device), []
    for index in range(len(collection)):
        sample = collection.read(index)
        logits = score_sample(network, sample, loaded.about.normalisation, device)
        counted = sample.labels != IGNORE
        histograms.append(ProbabilityHistogram())
        scores = probability(logits, loaded.about.temperature)[0, 0].numpy()
        histograms[-1].add(scores[counted], sample.labels[counted] > 0)
    pooled = ProbabilityHistogram()
    pooled.counts += sum(each.counts for each in histograms)
    threshold = loaded.about.thresholds.get("default", 0.5)
    interval = pooled_f1_interval(np.array([each.outcomes(threshold) for each in histograms]))
    assert interval is not None
    best = pooled.at(pooled.best_threshold())["f1"]
    return {**pooled.at(threshold), "f1_low": interval[0], "f1_high": interval[1], "threshold": threshold, "best": best}


def runs(chosen: argparse.Namespace, start: str, sets: dict[int, Path]) -> Iterator[tuple[str, int, Path | str]]:
    """Name, tiles and checkpoint of each run that is wanted."""
    common = {"device": chosen.device, "seed": chosen.seed, "every": chosen.steps, "val_share": 0.0}
    settings = {**common, "steps": chosen.steps, "warmup": chosen.steps // 10, "average": 0.98, "rate": 1e-3}
    if "none" in chosen.only:
        yield "none", 0, start
    for count in chosen.counts:
        source, out = [f"{sets[count]}@{GSD}"], chosen.runs / f"{count}"
        if "tuned" in chosen.only:
            tuned = options_from(FinetuneOptions, {**settings, "start": start})
            yield "tuned", count, finetune(source, out / "tuned", tuned, overwrite=True).folder / "best.pt"
        for name in AUTOMATIC:
            if name in chosen.only:
                auto = {"auto": True, "minutes": chosen.minutes} if name == "auto" else {}
                asked = {"device": chosen.device, "seed": chosen.seed, "size": 130, "start": start, **auto}
                recipe, folder = options_from(FinetuneOptions, asked), out / f"{name}-{chosen.seed}"
                yield name, count, finetune(source, folder, recipe, overwrite=True).folder / "best.pt"
        if "scratch" in chosen.only:
            fresh = options_from(TrainRunOptions, settings)
            yield "scratch", count, train(source, out / "scratch", fresh, overwrite=True).folder / "best.pt"
    if "unlabelled" in chosen.only:
        settings |= {"steps": chosen.steps // 2, "warmup": chosen.steps // 20, "rate": 2e-4}
        options = options_from(FinetuneOptions, {**settings, "start": start, "unlabelled": True})
        folder = finetune([f"{sets[LEARN]}@{GSD}"], chosen.runs / "unlabelled", options, overwrite=True).folder
        yield "statistics", LEARN, folder / "statistics.pt"
        yield "unlabelled", LEARN, folder / "best.pt"


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--start", default="buildings", help="a file, or a detector that has one")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--counts", type=int, nargs="+", default=[5, 10, 20, 50])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", nargs="+", default=KINDS, choices=(*KINDS, *AUTOMATIC))
    parser.add_argument("--minutes", type=float, default=15, help="of `auto`")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    device = find_device(chosen.device)
    source = (chosen.data / DSIFN).resolve()
    names = sorted(path.stem for path in (source / "A").iterdir())
    drawn = [names[k] for k in np.random.default_rng(0).permutation(len(names))]
    learn, held = drawn[:LEARN], drawn[LEARN : LEARN + SCORE]
    sets = {n: linked(learn[:n], chosen.runs / "data" / str(n), source) for n in {*chosen.counts, LEARN}}
    scored_on = linked(held, chosen.runs / "data" / "held", source)
    for name, count, checkpoint in runs(chosen, find_checkpoint(chosen.start), sets):
        figures = {key: round(value, 4) for key, value in score(checkpoint, scored_on, device).items()}
        print(json.dumps({"run": name, "tiles": count, **figures}), flush=True)


if __name__ == "__main__":
    main()

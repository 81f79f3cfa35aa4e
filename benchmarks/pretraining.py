"""What synthetic changes bring before few labels: F1 on LEVIR val, from ImageNet's encoder and from synthetic changes.

    python benchmarks/pretraining.py OUT [--steps 600] [--first 1500]

First `geochange synthesize` makes pairs from the single images of LEVIR's training set, whose labels are not used, and
a network is trained on them. Then it is trained on 10, 30 and 100 % of the labelled pairs, beside one that starts from
ImageNet's encoder; both for as many steps. Checkpoints and thresholds are chosen on scenes with an even number, figures
are those of odd ones. Finished parts are kept, so that a run can be continued.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from imagery import parser_with_data

from geochange.datasets.collection import Collection, open_collection
from geochange.datasets.options import CollectionOptions, SynthesizeOptions
from geochange.detectors.networks.checkpoint import load_checkpoint
from geochange.engine.progress import Relay, Silent
from geochange.learning.options import TrainRunOptions
from geochange.learning.scoring import ScoringOptions, pool_scores, scene_of, score_items
from geochange.pipeline.synthesize import synthesize
from geochange.pipeline.train import train

SHARES = {10: 10, 30: 3, 100: 1}  # percent -> every so many-th pair
TRAIN, VAL, GSD = "train_512px_1m", "val_512px_1m", "1"
SIDE = 128
FOLDERS = ("A", "B", "label")


def subset(source: Path, target: Path, names: list[str]) -> Path:
    """A folder of links to some pairs of another."""
    for folder in FOLDERS:
        (target / folder).mkdir(parents=True, exist_ok=True)
        for path in (source / folder).iterdir():
            link = target / folder / path.name
            if path.stem in names and not link.exists():
                os.symlink(path.resolve(), link)
    return target


def is_even(name: str) -> bool:
    return int("".join(filter(str.isdigit, scene_of(name)))) % 2 == 0


def trained(data: Path, out: Path, val: Path, steps: int, start: Path | None) -> Path:
    """A checkpoint; training goes on where it stopped, and is not begun again where it is finished."""
    options = TrainRunOptions(
        val=f"{val}@{GSD}", size=SIDE, start=None if start is None else str(start), steps=steps, batch=8,
        every=max(steps // 6, 1), loaders=0, device="cpu",
    )  # fmt: skip
    train(
        [f"{data}@{GSD}"],
        out,
        options,
        resume=True,
        listener=Relay(Silent(), lambda row: print(f"{out.name} {row['step']} {row['val_f1']:.4f}", flush=True)),
    )
    return out / "best.pt"


def odd_f1(path: Path, collection: Collection) -> str:
    checkpoint = load_checkpoint(path)
    scores = pool_scores(
        score_items(checkpoint.build(), collection, checkpoint.about.normalisation, ScoringOptions(gsd=1.0))
    )
    figures = scores.figures(checkpoint.about.thresholds["default"])
    return f"{figures['f1']:.3f} ({figures['f1_low']:.3f} to {figures['f1_high']:.3f})"


def main() -> None:
    parser = parser_with_data(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=600, help="on labelled pairs")
    parser.add_argument("--first", type=int, default=1500, help="on synthetic ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    source, val = (options.data / "levir" / name for name in (TRAIN, VAL))
    names = sorted(path.stem for path in (source / "A").iterdir())
    scenes = sorted(path.stem for path in (val / "A").iterdir())
    even = subset(val, out / "even", [name for name in scenes if is_even(name)])
    odd = subset(val, out / "odd", [name for name in scenes if not is_even(name)])
    made = out / "synthetic"
    if not made.exists():
        synthetic = SynthesizeOptions(
            sizes=(6, 40), density=250, kinds=("appeared", "vanished"), textured=0.4, shadows=0.6
        )
        synthesize([source / "A"], made, synthetic)
    first = trained(made, out / "first", even, options.first, None)
    reported = open_collection(odd, CollectionOptions(gsd=1.0))
    print(f"synthetic changes alone: {odd_f1(first, reported)}", flush=True)
    for percent, step in SHARES.items():
        part = subset(source, out / f"part{percent}", names[::step])
        for name, start in (("imagenet", None), ("synthetic", first)):
            best = trained(part, out / f"{name}{percent}", even, options.steps, start)
            print(f"{percent} % of the labels, from {name}: {odd_f1(best, reported)}", flush=True)


if __name__ == "__main__":
    main()

"""Learn from a review, detect again, and carry the decisions over: one round of looking and learning.

    python workflows/review_round.py FOLDER [FOLDER ...] --from CHECKPOINT -o NEXT

Each FOLDER is a run of `geochange detect` that was reviewed. NEXT gets the fine-tuned checkpoint, in `training`, and
for each FOLDER a run of its name, found with that checkpoint, in which decisions on much the same outlines are made
already: review that one next. Cells that were held out say whether it is better: both runs are scored on them, with
intervals of 95 %. Without --from, for detectors without weights, the labels choose the threshold.
Run it again to continue where it was interrupted.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

import geochange
from geochange.cli.program import run_command
from geochange.cli.progress import progress_bar
from geochange.errors import BadOption
from geochange.pipeline.run_folder import RunFolder
from geochange.review.carrying import carry_over
from geochange.review.run import ReviewRun, layer_of
from geochange.review.saved import SavedReview

KEPT_OPTIONS = ("min_area", "connectivity", "simplify", "remove_shift", "date_before", "date_after")
"""Options of a run that the next one takes over, beside those by which images are opened."""


def review_round(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Runs of detect that were reviewed.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the next round.")],
    start: Annotated[str | None, typer.Option("--from", help="Checkpoint to begin with, or a detector.")] = None,
    steps: Annotated[int, typer.Option(help="Updates of the weights.")] = 600,
    seed: Annotated[int, typer.Option(help="Seed of weights and samples.")] = 0,
) -> None:
    """Fine-tune on reviews, detect again, carry decisions over, and score both runs on held-out cells."""
    if len({folder.absolute().name for folder in folders}) < len(folders):
        raise BadOption("folders must have different names, which the next runs have too")
    checkpoint = None if start is None else _train(folders, output / "training", start=start, steps=steps, seed=seed)
    for number, folder in enumerate(folders):
        old = SavedReview.open(folder)
        found = _detect_again(old, output / old.run.out.name, checkpoint)
        with RunFolder(Path(found.folder), "review").owned():  # a server of it would write the same files
            new = SavedReview.open(Path(found.folder), beginning=True)
            carried = carry_over(old, new)
        typer.echo(f"{found.folder}: {carried.changes} decisions and {carried.cells} cells carried over")
        if checkpoint is None:
            typer.echo(f"threshold {found.record['threshold']}")
            continue
        held_out = output / "training" / "labels" / str(number) / "held-out.tif"
        if held_out.exists():
            for name, run in (("before", old.run), ("after", new.run)):
                typer.echo(f"{name:>6}: {_scores(run, held_out)}")


def _train(folders: list[Path], out: Path, **settings: Any) -> Path:
    """Fine-tune on reviews, or go on with it; return the checkpoint."""
    with progress_bar(quiet=False) as listener:
        resume = (out / "run.json").exists()
        return geochange.finetune(None, out, review=folders, resume=resume, listener=listener, **settings).checkpoint


def _detect_again(old: SavedReview, out: Path, checkpoint: Path | None) -> geochange.Detection:
    """Detect with a checkpoint, or with the same detector at the threshold that its review chooses."""
    options = old.run.record["identity"]["options"]
    if checkpoint is None and options.get("detector") is None:
        raise BadOption(f"{old.run.out} was annotated, not detected; name weights with --from")
    taken = {name: options[name] for name in KEPT_OPTIONS if name in options} | asdict(old.run.opening.options)
    if checkpoint is None:
        same = {"detector": options["detector"], "detector_options": options["detector_options"]}
        taken |= {**same, "labels": str(old.run.out), "threshold": "f1"}
    else:
        taken |= {"detector": "network", "checkpoint": str(checkpoint)}
    before, *between, after = [source.name for source in old.run.scene.sources]
    with progress_bar(quiet=False) as listener:
        return geochange.detect(before, after, out, between=between, resume=out.exists(), listener=listener, **taken)


def _scores(run: ReviewRun, held_out: Path) -> str:
    """Return how the changes of a run agree with held-out labels."""
    pixels = geochange.evaluate(layer_of(run), held_out).to_dict()["pixels"]
    low, high = pixels["intervals"]["f1"]
    others = ", ".join(f"{name} {pixels[name]:.3f}" for name in ("precision", "recall"))
    return f"F1 {pixels['f1']:.3f} ({low:.3f} to {high:.3f}), {others}"


if __name__ == "__main__":
    run_command(review_round)

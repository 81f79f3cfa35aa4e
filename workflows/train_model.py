"""Train a network from a TOML file, on one machine or on several GPUs.

    python workflows/train_model.py buildings.toml
    torchrun --nproc-per-node 4 workflows/train_model.py buildings.toml

The file names the data, the folder of the run, and any options of `geochange.TrainRunOptions`; relative paths start at
the file's folder:

    data = ["levir/train_512px_1m@1.0", "levir/train_256px_0.5m@0.5"]
    out = "runs/buildings"
    val = "levir/val_256px_0.5m@0.5"
    gsd = 0.5
    steps = 3600

Run it again after an interruption: it resumes where it stopped. This file is meant to be copied and adapted.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from geochange.cli.learning_tables import print_trained
from geochange.cli.program import run_command
from geochange.cli.progress import progress_bar
from geochange.errors import BadOption, UnreadableInput


def read_plan(path: Path) -> tuple[list[str], Path, dict[str, Any]]:
    """Return the data, the folder of the run, and the options of a TOML file."""
    try:
        plan = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnreadableInput(f"{path} cannot be read as TOML: {error}") from error
    data, out = plan.pop("data", None), plan.pop("out", None)
    if not isinstance(data, list) or not data or not isinstance(out, str):
        raise BadOption(f'{path} must name data = ["DIR@GSD", ...] and out = "RUN"')
    for name in {"val", "start"} & set(plan):
        plan[name] = str(path.parent / plan[name])
    return [str(path.parent / each) for each in data], path.parent / out, plan


def train_model(plan: Annotated[Path, typer.Argument(help="A TOML file of data, out and options.")]) -> None:
    """Train a network from a TOML file; resume where an earlier run stopped."""
    from geochange.learning.options import TrainRunOptions
    from geochange.learning.ranks import here
    from geochange.learning.run_options import options_from
    from geochange.pipeline.train import train

    data, out, settings = read_plan(plan)
    options = options_from(TrainRunOptions, settings)
    first = here()[0] == 0
    with progress_bar(quiet=not first) as listener:
        trained = train(data, out, options, resume=True, listener=listener)
    if first:
        print_trained(trained)


if __name__ == "__main__":
    run_command(train_model)

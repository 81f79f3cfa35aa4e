"""Options that `train` and `tune` share, and the summary of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from geochange.pipeline.train import Trained

Val: TypeAlias = Annotated[
    str | None,
    typer.Option("--val", help="Held-out pairs: DIR or DIR@GSD.", show_default="DATA's own split, or 15 % of scenes"),
]
Network: TypeAlias = Annotated[
    str | None, typer.Option("--network", help="Name of the network.", show_default="attention-net")
]
NetworkOption: TypeAlias = Annotated[
    list[str] | None, typer.Option("--network-option", help="Its options, as NAME=VALUE; may be given again.")
]
Gsd: TypeAlias = Annotated[
    float | None,
    typer.Option("--gsd", help="Pixel size of training samples, in metres.", show_default="as the images lie"),
]
Size: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--size", help="Pixels per side of a training sample.", show_default="256, or the next that fits the network"
    ),
]
Classes: TypeAlias = Annotated[
    str | None,
    typer.Option("--classes", help="Names of the labels 1, 2, ..., as in built,felled.", show_default="change"),
]
LabelColumn: TypeAlias = Annotated[
    str | None,
    typer.Option("--label-column", help="Where labels are layers of several classes: the column that names them."),
]
Pretrained: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--pretrained/--no-pretrained", help="Begin with ImageNet's encoder.", show_default="where there is one"
    ),
]
Workers: TypeAlias = Annotated[
    int | None, typer.Option("--workers", help="Processes that read samples.", show_default="1")
]
Loss: TypeAlias = Annotated[
    str | None,
    typer.Option("--loss", help="bce-dice, cross-entropy, dice, focal, lovasz, bce-lovasz.", show_default="bce-dice"),
]
Precision: TypeAlias = Annotated[
    str | None, typer.Option("--precision", help="fp32, bf16; fp16 on a GPU.", show_default="fp32")
]
Patience: TypeAlias = Annotated[
    int | None,
    typer.Option("--patience", help="Epochs without a better F1 or AP50 before it stops.", show_default="never"),
]
Seed: TypeAlias = Annotated[int | None, typer.Option("--seed", help="Of weights and samples.", show_default="0")]
Balanced: TypeAlias = Annotated[bool, typer.Option("--balanced", help="Draw images with rare classes more often.")]
SkipBad: TypeAlias = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out broken images, and list them, instead of stopping.")
]
Resume: TypeAlias = Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")]


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in settings.items() if value is not None}


def print_trained(trained: Trained) -> None:
    """The best of a run, where it lies, and what was left out."""
    from geochange.cli.tables import plain_table, show

    record, best = trained.record, trained.record["best"]
    table = plain_table()
    table.add_row("best", _best(best, record["steps"]))
    table.add_row("", str(trained.folder / record["files"]["best"]))
    show(table)
    for each in record["left_out"]:
        typer.echo(f"left out {each['item']}: {each['why']}")


def _best(best: Mapping[str, Any], steps: int) -> str:
    if "f1" not in best:
        return f"step {best['step']:.0f}; nothing was held out to score on"
    if "ap50" in best:
        return (
            f"step {best['step']:.0f} of {steps}: AP50 {best['ap50']:.4f}, AP {best['ap']:.4f}, recall "
            f"{best['object_recall']:.4f} at one false alarm on a million pixels; F1 of pixels {best['f1']:.4f}"
        )
    interval = best["intervals"]["f1"]
    bounds = "" if interval is None else f" ({interval[0]:.4f} to {interval[1]:.4f})"
    return (
        f"step {best['step']:.0f} of {steps}: F1 {best['f1']:.4f}{bounds}, IoU {best['iou']:.4f}, "
        f"precision {best['precision']:.4f}, recall {best['recall']:.4f} at threshold {best['threshold']:.3f}"
    )

"""`geochange fuse`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geochange.cli import values
from geochange.errors import BadOption

if TYPE_CHECKING:
    from geochange.pipeline.fuse import Fused


def fuse(
    rasters: Annotated[
        list[str], typer.Argument(metavar="RASTER", help="Probability rasters; the first one's grid is used.")
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="The GeoTIFF to write.")],
    method: Annotated[
        str, typer.Option("--method", help="mean, weighted, maximum, vote, noisy-or or stacking.")
    ] = "mean",
    weights: Annotated[str | None, typer.Option("--weights", help="For weighted: one a raster, as in 2,1,1.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="For vote: what each must reach.", show_default="each raster's own, else 0.5"),
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="For stacking: a raster or a layer of polygons to fit a model on.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="For stacking: a model that was fitted earlier.")] = None,
    save_model: Annotated[
        Path | None, typer.Option("--save-model", help="Write the fitted model to this JSON file.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="Of the file: uint8 or float32.")] = "uint8",
    workers: values.Workers = None,
    scheduler: values.Scheduler = None,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Fuse probabilities of one place: of several detectors, scales, dates or sensors."""
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json
    from geochange.engine.cluster import ClusterOptions
    from geochange.pipeline.fuse import FuseOptions
    from geochange.pipeline.fuse import fuse as run

    options = FuseOptions(
        method=method, weights=parse_weights(weights), threshold=threshold, labels=labels, model=model, dtype=dtype
    )
    cluster = ClusterOptions(workers=workers, scheduler=scheduler)
    with progress_bar(quiet=quiet or as_json) as listener:
        fused = run(
            rasters, out, options, save_model=save_model, overwrite=overwrite, cluster=cluster, listener=listener
        )
    if as_json:
        print_json(fused.to_dict())
    elif not quiet:
        print_fused(fused)


def parse_weights(text: str | None) -> tuple[float, ...] | None:
    """`2,1,1` → (2.0, 1.0, 1.0)."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise BadOption(f"weights {text!r} must be numbers with commas between, as in 2,1,1") from None


def print_fused(fused: Fused) -> None:
    """How it was fused, what each source had to say in it, and where the file lies."""
    from geochange.cli.tables import plain_table, show

    details = fused.details
    table = plain_table()
    table.add_row("method", fused.method)
    table.add_row("threshold", f"{fused.threshold:.4g}")
    table.add_row("", str(fused.path))
    show(table)
    sources = plain_table(None, "source", *_columns(fused))
    for number, name in enumerate(fused.sources):
        numbers = [details[key][number] for key in ("weights", "thresholds") if key in details]
        numbers += [row[number] for row in details.get("model", {}).get("weights", [])]
        sources.add_row(name, *(f"{each:.4g}" for each in numbers))
    show(sources)


def _columns(fused: Fused) -> list[str]:
    """Names of the numbers that each source has."""
    given = [name for key, name in (("weights", "weight"), ("thresholds", "threshold")) if key in fused.details]
    return [*given, *(f"coefficient of {name}" for name in fused.classes if "model" in fused.details)]

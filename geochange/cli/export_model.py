"""`geochange export-model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geochange.cli import values


def export_model(
    checkpoint: Annotated[
        str, typer.Argument(help="What `geochange train` left, as RUN/best.pt, or a detector that has weights.")
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="Path without its suffix.")],
    formats: Annotated[str, typer.Option("--formats", help="onnx, openvino.")] = "onnx,openvino",
    tile_size: Annotated[int, typer.Option("--tile-size", help="Pixels per side of the tiles that it takes.")] = 512,
    dates: Annotated[int, typer.Option("--dates", help="How many dates, for networks that take more than two.")] = 2,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
) -> None:
    """Write a network as ONNX and OpenVINO, and check each against torch."""
    from geochange.cli.tables import print_json
    from geochange.pipeline.export_model import ExportOptions, export_model

    chosen: Any = values.parse_names(formats)
    options = ExportOptions(formats=chosen, tile_size=tile_size, dates=dates)
    exported = export_model(checkpoint, out, options, overwrite=overwrite)
    if as_json:
        print_json([each.to_dict() for each in exported])
    else:
        for each in exported:
            typer.echo(f"{each.path}  differs from torch by at most {each.largest_difference:.1e} in probability")

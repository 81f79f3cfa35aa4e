"""`geochange from-to`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import values


def from_to(
    before: Annotated[str, typer.Argument(help="A layer of polygons of the first date, with a class each.")],
    after: Annotated[str, typer.Argument(help="One of the second date; brought to the CRS of BEFORE.")],
    out: Annotated[
        list[Path],
        typer.Option(
            "--output",
            "-o",
            help="The changes as a layer (.gpkg, .geojson, .fgb, .parquet), or as labels (.tif, with --grid); may "
            "be given again.",
        ),
    ],
    label_column: Annotated[
        str, typer.Option("--label-column", "--column", help="The column that holds the class.")
    ] = "label",
    label_column_after: Annotated[
        str | None,
        typer.Option("--label-column-after", "--column-after", help="That of AFTER.", show_default="the same"),
    ] = None,
    grid: Annotated[
        str | None, typer.Option("--grid", "--raster", help="The image on whose grid labels are written.")
    ] = None,
    min_area: Annotated[
        str,
        typer.Option(
            "--min-area",
            help="Smallest change, as in 100m2, or with --grid as in 4px; smaller ones join a neighbour, or go.",
        ),
    ] = "0m2",
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="Metres: what is narrower is a shift in digitising, and goes.")
    ] = 0.0,
    missing: Annotated[
        str | None,
        typer.Option(
            "--missing", help="What a place is called that one layer does not cover.", show_default="left out"
        ),
    ] = None,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Find what became what between two layers of land cover: changes as polygons, or as labels to learn from."""
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_from_to, print_json
    from geochange.pipeline.from_to import FromToOptions
    from geochange.pipeline.from_to import from_to as run

    options = FromToOptions(
        label_column=label_column,
        label_column_after=label_column_after,
        grid=grid,
        min_area=min_area,
        tolerance=tolerance,
        missing=missing,
    )
    with progress_bar(quiet=quiet or as_json) as listener:
        found = run(before, after, out, options, overwrite=overwrite, listener=listener)
    if as_json:
        print_json(found.to_dict())
    elif not quiet:
        print_from_to(found)

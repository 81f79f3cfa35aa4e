"""`geochange explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geochange.cli import values
from geochange.errors import BadOption


def explain(
    before: Annotated[str, typer.Argument(help="The earlier image.")],
    after: Annotated[str, typer.Argument(help="The later one.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="The GeoTIFF to write: a band for each date, 0 to 1.")],
    at: Annotated[str | None, typer.Option("--at", help="The place: X,Y in map units.")] = None,
    changes: Annotated[str | None, typer.Option("--changes", help="Or a layer of changes ...")] = None,
    number: Annotated[int | None, typer.Option("--id", help="... and the id of one of them.")] = None,
    detector: Annotated[
        str | None, typer.Option("--detector", "-d", help="A network by name.", show_default="that of --checkpoint")
    ] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", help="A network that `train` left.")] = None,
    size: Annotated[int, typer.Option("--size", help="Pixels per side of the raster.")] = 256,
    scale: Annotated[str | None, typer.Option("--scale", help="LOW:HIGH, as for `geochange detect`; or auto.")] = None,
    match_gsd: Annotated[bool, typer.Option("--match-gsd", help="As for `geochange detect`.")] = False,
    bands: values.Bands = None,
    nodata: values.Nodata = "all",
    align: values.Align = False,
    overwrite: values.Overwrite = False,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Show where a network looked when it predicted change at a place: a heat map for each date."""
    from geochange.cli.tables import print_explained, print_json
    from geochange.pipeline.explain import ExplainOptions
    from geochange.pipeline.explain import explain as run
    from geochange.scenes.scene import parse_nodata

    given = {"checkpoint": checkpoint, "scale": scale, "match_gsd": "true" if match_gsd else None}
    options = ExplainOptions(
        detector=detector or "network",
        detector_options={name: value for name, value in given.items() if value is not None},
        at=_parse_place(at),
        changes=changes,
        id=number,
        size=size,
        bands=values.parse_bands(bands),
        nodata=parse_nodata(nodata),
        align=align,
    )
    explained = run(before, after, out, options, overwrite=overwrite)
    if as_json:
        print_json(explained.to_dict())
    elif not quiet:
        print_explained(explained)


def _parse_place(text: str | None) -> tuple[float, float] | None:
    """`X,Y` → two numbers."""
    if text is None:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise BadOption(f"at {text!r} must be X,Y in map units, as in 486010.5,5208000") from None
    return x, y

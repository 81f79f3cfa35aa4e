"""Option values that several commands take, and how their text is read."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from geochange.errors import BadOption

Bands: TypeAlias = Annotated[
    str | None, typer.Option("--bands", help="Band numbers to use, from 1, as in 4,3,2.", show_default="all")
]
Aoi: TypeAlias = Annotated[
    str | None,
    typer.Option("--aoi", help="Only this part: a vector layer, or left,bottom,right,top in BEFORE's CRS."),
]
Nodata: TypeAlias = Annotated[
    str,
    typer.Option("--nodata", help="A pixel is nodata where any band is, where all bands are, or at a VALUE."),
]
Align: TypeAlias = Annotated[
    bool, typer.Option("--align", help="Bring AFTER to BEFORE's grid, on their overlap, while reading.")
]
Resampling: TypeAlias = Annotated[
    str, typer.Option("--resampling", help="How AFTER is interpolated: nearest, bilinear, cubic, lanczos, average.")
]
Workers: TypeAlias = Annotated[
    int | None, typer.Option("--workers", help="Worker processes on this machine.", show_default="threads, one a core")
]
Scheduler: TypeAlias = Annotated[
    str | None, typer.Option("--scheduler", help="Address of a Dask cluster, as in tcp://host:8786.")
]
Threshold: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--threshold",
        help="Smallest probability of a change: a number, low:high (hysteresis), otsu, em, kittler, local:512px; "
        "precision=0.9, recall=0.9, f1.",
        show_default="the detector's own",
    ),
]
Labels: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--labels",
        help="What is known to have changed, for a threshold of precision=0.9, recall=0.9 or f1: a raster (0 "
        "unchanged, 255 not labelled) or a layer.",
    ),
]
LabelColumn: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        help="Column of the layer that says whether a polygon has changed.",
        show_default="all have; what lies outside has not",
    ),
]
BandRoles: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--band-roles",
        help="Which band is which, as in red=1,green=2,blue=3,nir=4 (also swir1, swir2, rededge1, ...).",
        show_default="as the image names them",
    ),
]
Indices: TypeAlias = Annotated[
    str | None,
    typer.Option("--indices", help="Further indices to measure before and after, as in SAVI,NBR."),
]
MinArea: TypeAlias = Annotated[
    str, typer.Option("--min-area", help="Smallest change, in pixels, or in square metres as in 100m2; 0 keeps all.")
]
Connectivity: TypeAlias = Annotated[
    int, typer.Option("--connectivity", help="8: pixels that touch at a corner are one change; 4: they are not.")
]
Simplify: TypeAlias = Annotated[
    float, typer.Option("--simplify", help="Simplify outlines to this tolerance, in map units; 0 keeps pixel edges.")
]
DateBefore: TypeAlias = Annotated[
    str | None, typer.Option("--date-before", help="Date of BEFORE.", show_default="from its tags")
]
DateAfter: TypeAlias = Annotated[
    str | None, typer.Option("--date-after", help="Date of AFTER.", show_default="from its tags")
]
Device: TypeAlias = Annotated[
    str | None,
    typer.Option("--device", help="Where a network runs: cpu, cuda, cuda:1.", show_default="a GPU where there is one"),
]
Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace what is already there.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no table.")]


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """`4,3,2` → (4, 3, 2)."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadOption(f"bands {text!r} must be numbers from 1 with commas between, as in 4,3,2") from None


def parse_aoi(text: str | None) -> str | tuple[float, float, float, float] | None:
    """`left,bottom,right,top` → four numbers; anything else names a vector layer."""
    parts = [] if text is None else text.split(",")
    if len(parts) != 4:
        return text
    try:
        left, bottom, right, top = (float(part) for part in parts)
    except ValueError:
        return text
    return left, bottom, right, top


def parse_settings(texts: list[str] | None) -> dict[str, str]:
    """`name=value` texts → a dict."""
    settings = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadOption(f"option {text!r} must be NAME=VALUE; `geochange detectors` lists the names")
        settings[name] = value
    return settings


def parse_names(text: str | None) -> tuple[str, ...]:
    """`a,b` → ("a", "b")."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()

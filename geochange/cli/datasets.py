"""`geochange datasets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geochange.cli import training, values

if TYPE_CHECKING:
    from geochange.pipeline.datasets import DatasetsReport, Duplicates

SHOWN_GROUPS = 10  # of equal images; --json gives all


def datasets(
    path: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="Folders A, B (C ...) and label; a CSV of scenes; or a folder with several of those.",
        ),
    ],
    classes: training.Classes = None,
    stored: Annotated[
        str | None,
        typer.Option(
            "--values",
            help="Stored values of the classes: numbers, or texts in a layer's column.",
            show_default="1, 2, ..., or 255",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", help="A further stored value for not labelled; may be given again.")
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", help="The column of a vector layer that holds the class.")
    ] = None,
    bands: values.Bands = None,
    tile: Annotated[int, typer.Option("--tile", help="Pixels per side of the tiles that scenes are cut into.")] = 512,
    as_json: values.Json = False,
    quiet: values.Quiet = False,
) -> None:
    """Report what labelled pairs hold: counts, sizes, shares of classes, equal images, broken files."""
    from geochange.cli.progress import progress_bar
    from geochange.cli.tables import print_json
    from geochange.datasets.options import DataOptions
    from geochange.errors import UnreadableInput
    from geochange.pipeline.datasets import describe_datasets

    options = DataOptions(
        classes=values.parse_names(classes) or ("change",),
        values=tuple(map(_number_or_text, values.parse_names(stored))) or None,
        ignore=tuple(map(_number_or_text, ignore or ())),
        label_column=column,
        bands=values.parse_bands(bands),
        tile_size=tile,
    )
    with progress_bar(quiet=quiet or as_json) as listener:
        report = describe_datasets(path, options, listener=listener)
    if as_json:
        print_json(report.to_dict())
    elif not quiet:
        print_datasets(report)
    if report.broken:
        raise UnreadableInput(f"{path}: {len(report.broken)} broken; first {report.broken[0].why}")


def _number_or_text(text: str) -> int | str:
    return int(text) if text.removeprefix("-").isdecimal() else text


def print_datasets(report: DatasetsReport) -> None:
    """A row for each split of each data set; then equal images, and all that is broken."""
    from rich.text import Text

    from geochange.cli.tables import plain_table, show

    named = list(dict.fromkeys(name for part in report.parts for name in part.shares))
    columns = "data set", "split", "images", "dates", "size", "bands", "dtype", *named, "not labelled", "no change in"
    table = plain_table(None, *columns)
    for part in report.parts:
        shape = {f"{rows} x {cols}": count for (rows, cols), count in part.sizes.items()}
        kinds = (_mixed(each) for each in (part.dates, shape, part.bands, part.dtypes))
        shares = (f"{part.shares[name]:.2%}" for name in named)
        table.add_row(
            Text(part.dataset),
            part.split or "",
            f"{part.images:,}",
            *kinds,
            *shares,
            f"{part.ignored:.2%}",
            f"{part.without_change:,}",
        )
    show(table)
    print()
    for words, across in (("across splits or data sets", True), ("within a split", False)):
        _print_duplicates(words, [group for group in report.duplicates if group.across is across])
    for each in report.broken:
        print(f"broken: {each.dataset}: {each.item}: {each.why}")


def _mixed(counts: Mapping[Any, int]) -> str:
    """The one value that all have, or the commonest and how many others there are."""
    first = next(iter(counts), "")
    return f"{first}" if len(counts) < 2 else f"{first} and {len(counts) - 1} others"


def _print_duplicates(words: str, groups: Sequence[Duplicates]) -> None:
    print(f"equal images {words}: {sum(len(group.places) for group in groups):,} in {len(groups):,} groups")
    for group in groups[:SHOWN_GROUPS]:
        print(f"  {' = '.join(map(str, group.places))}")
    if len(groups) > SHOWN_GROUPS:
        print(f"  and {len(groups) - SHOWN_GROUPS:,} more groups; --json lists all")

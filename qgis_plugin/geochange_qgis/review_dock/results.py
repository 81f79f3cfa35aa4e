"""A folder of results: what `geochange detect` left, and the review of it. Imports nothing of QGIS.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

RECORD, VIEW = "run.json", "review.gpkg"
FOUND = ("changes.gpkg", "changes.geojson", "changes.fgb", "changes.parquet")
"""Layers that a run leaves, which the view of its review stands for."""


class NoResults(ValueError):
    """A folder holds no results, or none that can be read; the message is one line."""


class Results(NamedTuple):
    """A finished run."""

    folder: Path
    before: str
    """Name of the first date's image."""
    after: str
    """Name of the last date's image."""

    @property
    def view(self) -> Path:
        """The file that is reviewed."""
        return self.folder / VIEW


def open_results(folder: Path) -> Results:
    """Read what a run says of itself.

    Raises:
        NoResults: the folder holds no finished run of two dates.
    """
    path = folder / RECORD
    if not path.is_file():
        raise NoResults(f"{folder} holds no results of geochange: it has no {RECORD}")
    try:
        inputs = [name for name in json.loads(path.read_text(encoding="utf-8"))["inputs"] if isinstance(name, str)]
        return Results(folder, inputs[0], inputs[1:][-1])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise NoResults(f"{path} is not the record of a run on two dates") from error


def folder_of(source: str) -> Path | None:
    """Return the folder of results in which a layer lies; None where it is no layer of changes of a run.

    Args:
        source: of a layer, as QGIS has it: a path, and after a bar what is read of it.
    """
    path = Path(source.split("|", maxsplit=1)[0])
    known = path.name in (VIEW, *FOUND) and (path.parent / RECORD).is_file()
    return path.parent if known else None

"""The command `geochange`: one file per command, whose body calls one function of the pipeline."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import NoReturn

OBJECTS_BETWEEN_COLLECTIONS = 20_000
"""Many more than Python's 700: libraries make a million objects while they are imported, none of them garbage."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; always ends the process. Ctrl-C counts from the first import on."""
    own_process = arguments is None
    if own_process:
        gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    try:
        from geochange.cli.program import run

        run(arguments)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if own_process:
            gc.freeze()  # or all of these objects would be looked through once more at the end, which takes a second

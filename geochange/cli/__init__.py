"""The command `geochange`: one file per command, whose body calls one function of the pipeline."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; always ends the process. Ctrl-C counts from the first import on."""
    try:
        from geochange.cli.program import run
    except KeyboardInterrupt:
        sys.exit(130)
    run(arguments)

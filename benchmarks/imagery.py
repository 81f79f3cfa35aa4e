"""The images that benchmarks measure on: one folder of data sets (docs/measurements.md), named by the same option."""

from __future__ import annotations

import argparse
from pathlib import Path

IMAGERY = Path(__file__).resolve().parents[2] / "shared" / "data"


def parser_with_data(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that has the option --data."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=IMAGERY, metavar="DIR", help="folder of data sets: ../shared/data")
    return parser

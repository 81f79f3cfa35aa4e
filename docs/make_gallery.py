"""Make the gallery, docs/gallery.md with its pictures, from the made sample: `make docs`.

With --real, a like page of real imagery, which stays outside of the project.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from exhibits import made, real
from exhibits.page import write_page

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="a folder of real imagery, as ../shared/data")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "gallery", help="where its page goes")
    chosen = parser.parse_args()
    if chosen.real:
        write_page(real.page(chosen.real), chosen.output / "gallery.md")
    else:
        write_page(made.page(ROOT / "sample_data"), ROOT / "docs" / "gallery.md")


if __name__ == "__main__":
    main()

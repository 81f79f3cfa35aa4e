"""Make the gallery, docs/gallery.md with its pictures, from the synthetic sample: `make pictures`.

With --real, a similar page of real imagery, which is not part of the project.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from exhibits import real, synthetic
from exhibits.page import write_page

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="a folder of real imagery, such as ../shared/data")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "out" / "gallery", help="folder of its page")
    chosen = parser.parse_args()
    if chosen.real:
        write_page(real.page(chosen.real), chosen.output / "gallery.md")
    else:
        write_page(synthetic.page(ROOT / "sample_data"), ROOT / "docs" / "gallery.md")


if __name__ == "__main__":
    main()

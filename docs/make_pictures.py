"""Make the pictures of README from the synthetic sample: `make pictures`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

import geochange
from geochange.pipeline.options import EvaluateOptions

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_data"
WIDTH = 1800  # px


def main() -> None:
    with TemporaryDirectory() as folder:
        found = geochange.detect(SAMPLE / "before.tif", SAMPLE / "after.tif", Path(folder) / "out")
        scores = Path(folder) / "scores.png"
        chosen = EvaluateOptions(grid=str(SAMPLE / "before.tif"))
        geochange.evaluate(found.layer, SAMPLE / "truth.gpkg", chosen, picture=scores)
        shrink(found.folder / "preview.png", ROOT / "docs" / "sample.jpg", WIDTH)
        shrink(scores, ROOT / "docs" / "scores.png", WIDTH // 2)


def shrink(source: Path, target: Path, width: int) -> None:
    """Write a copy of a picture, at most `width` pixels wide."""
    with Image.open(source) as picture:
        picture.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
        picture.save(target, quality=88, optimize=True)


if __name__ == "__main__":
    main()

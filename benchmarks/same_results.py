"""Run a fixed set of commands, and compare their results with those of another version of geochange.

    python benchmarks/same_results.py run before [--data DIR]     # with the one version installed
    python benchmarks/same_results.py run after [--data DIR]      # with the other
    python benchmarks/same_results.py compare before after

Rasters, layers and pictures are compared byte by byte, GeoPackages by their features.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from imagery import parser_with_data

SAMPLE = Path(__file__).parents[1] / "sample_data"
BANDS = "red=1,green=2,blue=3,nir=4"
COMPARED = {".tif", ".geojson", ".png", ".gpkg"}


def commands(out: Path, data: Path) -> list[list[str | Path]]:
    """List the commands; later ones read what earlier ones wrote."""
    pair = [SAMPLE / "before.tif", SAMPLE / "after.tif"]
    naip, pucallpa = (sorted((data / name).glob("*.tif")) for name in ("naip_wetlands", "landsat_pucallpa"))
    levir = data / "levir" / "val_256px_0.5m"
    tile = sorted((levir / "A").iterdir())[3].name
    dates = [levir / "A" / tile, levir / "B" / tile]
    found = out / "sample" / "probability.tif"
    return [
        ["detect", *pair, "-o", out / "sample"],
        ["detect", naip[0], naip[2], "-o", out / "ir-mad", "--align", "-d", "ir-mad"],
        ["detect", naip[0], naip[2], "-o", out / "slow", "--align", "-d", "slow-features", "--threshold", "local"],
        [
            "detect",
            naip[0],
            naip[1],
            "-o",
            out / "kinds",
            "--align",
            "--remove-shift",
            "--kinds",
            "--band-roles",
            BANDS,
        ],
        ["detect", pucallpa[0], pucallpa[3], "-o", out / "pucallpa"],
        ["detect", *dates, "-o", out / "buildings", "-d", "buildings"],
        ["detect", *dates, "-o", out / "micro-changes", "-d", "micro-changes"],
        ["fuse", out / "ir-mad" / "probability.tif", out / "slow" / "probability.tif", "-o", out / "fused.tif"],
        ["refine", found, "-o", out / "refined.tif", "--image", pair[1], "--guided", "4", "--crf", "5"],
        ["vectorize", found, "-o", out / "squared.geojson", "--threshold", "0.4:0.7", "--right-angles"],
        ["align", naip[0], naip[2], "-o", out / "aligned.tif", "--remove-shift"],
        ["synthesize", pair[0], "-o", out / "synthetic", "--seed", "3"],
    ]


def content(path: Path) -> bytes | str:
    """Return what is compared of a file: its bytes; of a raster its pixels, since tags may name its sources."""
    if path.suffix == ".gpkg":
        import geopandas
        import pyogrio

        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        return "".join(geopandas.read_file(path, layer=name).to_json() for name in layers)
    if path.name == "fused.tif":
        import rasterio

        with rasterio.open(path) as dataset:
            return bytes(dataset.read().tobytes())
    return path.read_bytes()


def compare(before: Path, after: Path) -> int:
    """Print what differs; return how many files do."""
    names = sorted({path.relative_to(root) for root in (before, after) for path in root.rglob("*") if path.is_file()})
    names = [name for name in names if name.suffix in COMPARED]
    missing = [name for name in names if not ((before / name).exists() and (after / name).exists())]
    differing = [name for name in names if name not in missing and content(before / name) != content(after / name)]
    for name in (*missing, *differing):
        print("missing" if name in missing else "differs", name)
    print(f"{len(names) - len(missing) - len(differing)} of {len(names)} files are the same")
    return len(missing) + len(differing)


def main() -> None:
    """Run the commands, or compare two folders of results."""
    parser = parser_with_data(__doc__)
    parser.add_argument("what", choices=["run", "compare"])
    parser.add_argument("folders", nargs="+", type=Path)
    chosen = parser.parse_args()
    if chosen.what == "compare":
        sys.exit(min(compare(*chosen.folders), 1))
    out = chosen.folders[0].absolute()
    out.mkdir(parents=True)
    for command in commands(out, chosen.data):
        subprocess.run([sys.executable, "-m", "geochange", *map(str, command), "-q"], check=True)


if __name__ == "__main__":
    main()

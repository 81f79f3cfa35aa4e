"""Season and cloud, hardly any change: how much is predicted as change, with masks and normalisation.

    python benchmarks/season.py OUT [--data DIR]

The pair is Landsat 7 over Pennsylvania, July (clouds and their shadows) and November (bare trees, low sun). The mask is
made of what is bright in blue, and dark near that. Printed: the share of the valid pixels that each detector predicts
as change, without and with the mask; then of the three infrared bands alone, in which both dates rise together, also
normalised. The pictures of all runs lie in OUT.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import rasterio
from scipy import ndimage

import geochange

PAIR = ("landsat_pennsylvania_seasons/etm_2002-07-20.tif", "landsat_pennsylvania_seasons/etm_2002-11-25.tif")
BRIGHT, DARK, NEAR = 110, (45, 40), 40  # numbers of blue; of near infrared and SWIR; pixels
DETECTORS = ("ir-mad", "change-vector", "slow-features", "pca-kmeans")
INFRARED = (4, 5, 6)


def write_mask(image: Path, path: Path) -> None:
    """Write what is cloud, or its shadow."""
    with rasterio.open(image) as dataset:
        bands, profile = dataset.read(), dataset.profile
    cloud = ndimage.binary_opening(bands[0] > BRIGHT)
    near = ndimage.binary_dilation(cloud, iterations=NEAR)
    shadow = ndimage.binary_opening((bands[3] < DARK[0]) & (bands[4] < DARK[1]) & near)
    mask = ndimage.binary_dilation(cloud | shadow, iterations=2)
    with rasterio.open(path, "w", **profile | {"count": 1, "dtype": "uint8", "nodata": None}) as dataset:
        dataset.write(mask.astype("uint8"), 1)


def share(run: geochange.Detection) -> float:
    """Share of the valid pixels that is predicted as change."""
    with rasterio.open(run.probability) as dataset:
        probability = dataset.read(1, masked=True)
    return float((probability.compressed() > 127).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    before, after = (given.data / name for name in PAIR)
    mask = given.out / "mask.tif"
    write_mask(before, mask)
    masked = {"mask_before": str(mask), "mask_buffer": "60m"}
    ways = {
        "plain": {},
        "masked": masked,
        "infrared": {"bands": INFRARED},
        "infrared, masked": {"bands": INFRARED, **masked},
        "infrared, masked, normalised": {"bands": INFRARED, **masked, "normalize": True},
    }
    print("| detector |", " | ".join(ways), "|\n|---|" + "---|" * len(ways))
    for detector in DETECTORS:
        shares = []
        for way, options in ways.items():
            out = given.out / f"{detector} {way}".replace(", ", "-").replace(" ", "-")
            shares.append(share(geochange.detect(before, after, out, detector=detector, overwrite=True, **options)))
        print(f"| `{detector}` |", " | ".join(f"{each:.3f}" for each in shares), "|", flush=True)


if __name__ == "__main__":
    main()

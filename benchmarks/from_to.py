"""`geochange from-to` on synthetic layers: time against geopandas.overlay, and how well shifts are left out.

    python benchmarks/from_to.py --sizes 20000 100000

Each layer is a patchwork of so many polygons of five classes. In the second all borders have moved by a metre or so,
and a tenth of the polygons have drawn another class. Prints JSON: processor seconds, and the share of the area found
to have changed that has (`precision`), and that of the changed area that is found (`recall`), as the layers are, and
with a smallest area of 1000 m² and a tolerance of 8 m.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import geopandas
import numpy as np
import shapely
from scipy.spatial import cKDTree

from geochange.arrays import Array, Bools
from geochange.kinds.land_cover import Cover, Transitions, find_transitions, snap_to_lattice

CLASSES = np.array(["arable", "built", "forest", "grass", "water"], object)
SHIFT = 1.0  # metres
CELL = 140.0  # metres across
WAYS = {"as they are": {}, "cleaned": {"min_area": 1000.0, "tolerance": 8.0}}


def made_layers(count: int) -> tuple[Cover, Cover, Bools]:
    """Two dates, and which polygons of the second have another class than the place had."""
    random = np.random.default_rng(0)
    side = CELL * np.sqrt(count)
    points = random.uniform(0, side, (count, 2))
    classes = random.choice(CLASSES, count)
    before, owner = patchwork(points, points, side)
    after, later_owner = patchwork(points + random.normal(0, SHIFT, points.shape), points, side)
    redrawn = classes[later_owner].copy()
    chosen = random.random(count) < 0.1
    redrawn[chosen] = random.choice(CLASSES, int(chosen.sum()))
    return Cover(before, classes[owner]), Cover(after, redrawn), redrawn != classes[later_owner]


def patchwork(points: Array, known: Array, side: float) -> tuple[Array, Array]:
    """Cells around points in a square, and the nearest of the known points to each."""
    box = shapely.box(0, 0, side, side)
    cells = shapely.get_parts(shapely.voronoi_polygons(shapely.multipoints(points), extend_to=box))
    cells = shapely.intersection(cells, box)
    return cells, cKDTree(known).query(shapely.get_coordinates(shapely.centroid(cells)))[1]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    answer = work()
    return round(time.process_time() - start, 2), answer


def agreement(found: Transitions, after: Cover, truth: Bools) -> dict[str, float | int]:
    changed = after.polygons[truth]
    index = shapely.STRtree(changed)
    first, second = index.query(found.changes.polygons, predicate="intersects")
    hits = float(shapely.area(shapely.intersection(found.changes.polygons[first], changed[second])).sum())
    total = float(shapely.area(changed).sum())
    return {
        "changes": len(found.changes),
        "precision": round(hits / found.changes.area(), 3),
        "recall": round(hits / total, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000])
    report: dict[str, Any] = {}
    for count in parser.parse_args().sizes:
        before, after, truth = made_layers(count)
        frames = [geopandas.GeoDataFrame({"class": each.classes}, geometry=each.polygons) for each in (before, after)]
        spent, overlaid = seconds(lambda frames=frames: geopandas.overlay(*frames))
        report[str(count)] = {"geopandas.overlay": spent, "pieces": len(overlaid)}
        covers = [Cover(snap_to_lattice(each.polygons), each.classes) for each in (before, after)]
        for name, options in WAYS.items():
            spent, found = seconds(lambda covers=covers, options=options: find_transitions(*covers, **options))
            report[str(count)][name] = {"seconds": spent, **agreement(found, after, truth)}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

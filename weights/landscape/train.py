"""Train the weights of the detector `landscape` again, on synthetic scenes and on changes pasted into real images.

    python weights/landscape/make_scenes.py MADE
    geochange train MADE/summer-0.5.csv MADE/summer-1.csv -o RUN1 --bands 1,2,3 --network-option cell=13 \
        --size 208 --batch 16 --steps 4000
    python weights/landscape/train.py MADE RUN2 --from RUN1/best.pt --steps 3000
    geochange synthesize SENTINEL1 --after SENTINEL2 -o PASTED --copies 6 --sizes 3,40 --density 250
    geochange synthesize NAIP -o OTHER --bands 1,2,3 --copies 3 --sizes 3,60 --density 200
    python weights/landscape/train.py MADE RUN3 --from RUN1/best.pt --steps 900 --rate 7e-4 --seed 2 \
        --pasted PASTED/pairs.csv OTHER/pairs.csv
    python weights/landscape/score.py MADE RUN2/best.pt RUN3/best.pt RUN1/best.pt --keep landscape.pt

The second part has pixels of 0.5 to 10 m and dates that look unlike each other: three samples of four come from scenes
in any season. Light, colour, haze, blur and noise of each date vary more than in the scenes themselves. A run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from geochange.datasets.collection import Collection, open_collection
from geochange.datasets.options import CollectionOptions
from geochange.datasets.variation import GeometryOptions, LookOptions
from geochange.detectors.networks.checkpoint import load_checkpoint
from geochange.engine.progress import Relay, Silent
from geochange.learning.options import TrainOptions
from geochange.learning.samples import SampleOptions, TrainingSamples
from geochange.learning.training import fit

LOOKS = {"summer": 0.25, "seasons": 0.75}  # share of the samples
PIXELS = {0.5: 0.25, 1.0: 0.2, 2.0: 0.2, 4.0: 0.15, 10.0: 0.2}  # metres: share of the samples
LOOK = LookOptions(
    share=0.9, brightness=0.6, contrast=0.35, colour=0.25, haze=0.3, hazy=0.15, blur=1.4, blurred=0.3, sharpened=0.15,
    noise=0.2, noisy=0.3,
)  # fmt: skip
GEOMETRY = GeometryOptions(misregistration=2.0, misregistered=0.6)


def tables(made: Path, looks: Mapping[str, float], split: str) -> list[Collection]:
    """The scenes of some looks at all pixel sizes, each with its share."""
    return [
        open_collection(
            made / f"{look}-{pixel:g}.csv",
            CollectionOptions(bands=(1, 2, 3), share=share * part if split == "train" else None),
            split=split,
        )
        for look, part in looks.items()
        for pixel, share in PIXELS.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("made", type=Path, help="as make_scenes.py leaves it")
    parser.add_argument("run", type=Path)
    parser.add_argument("--from", dest="start", type=Path, required=True, help="the checkpoint to begin with")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--every", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pasted", type=Path, nargs="*", default=[], help="tables of pairs with pasted changes")
    parser.add_argument("--pasted-share", type=float, default=0.3, help="of samples, where there are such tables")
    chosen = parser.parse_args()
    chosen.run.mkdir(parents=True, exist_ok=True)
    start = load_checkpoint(chosen.start)
    pasted = chosen.pasted_share if chosen.pasted else 0.0
    training = tables(chosen.made, {look: (1 - pasted) * share for look, share in LOOKS.items()}, "train")
    for table in chosen.pasted:
        training.append(open_collection(table, CollectionOptions(share=pasted / len(chosen.pasted))))
    samples = TrainingSamples(
        training,
        start.about.normalisation,
        SampleOptions(size=208, seed=chosen.seed, geometry=GEOMETRY, look=LOOK),
    )
    fitting = TrainOptions(**{name: getattr(chosen, name) for name in ("steps", "batch", "rate", "every", "seed")})
    low, high = GEOMETRY.scale

    def show(row: Mapping[str, float]) -> None:
        print({name: round(value, 4) for name, value in row.items()}, flush=True)

    fit(
        start.build(),
        replace(start.about, metrics={}, gsd=(min(PIXELS) / high, max(PIXELS) / low)),
        samples,
        tables(chosen.made, {"seasons": 1.0}, "val"),
        chosen.run,
        fitting,
        listener=Relay(Silent(), show),
    )


if __name__ == "__main__":
    main()

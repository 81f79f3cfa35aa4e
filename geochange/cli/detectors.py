"""`geochange detectors`."""

from __future__ import annotations

from geochange.cli import values


def detectors(as_json: values.Json = False) -> None:
    """List the detectors on offer, with their options."""
    from dataclasses import asdict

    from geochange.cli.tables import print_detectors, print_json
    from geochange.pipeline.detectors import detectors as run

    offers = run()
    if as_json:
        print_json([asdict(offer) for offer in offers])
    else:
        print_detectors(offers)

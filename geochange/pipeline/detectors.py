"""`detectors`: what is on offer, with options."""

from __future__ import annotations

from geochange.detectors.catalogue import Offer, available


def list_detectors() -> list[Offer]:
    """List all detectors, built in and from other packages, with their options and defaults."""
    return available()

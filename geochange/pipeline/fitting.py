"""A detector brought to a scene, by the workers of a run."""

from __future__ import annotations

from dataclasses import replace

from geochange.detectors.detector import Detector, Fitted
from geochange.detectors.machines import choose
from geochange.detectors.model import ModelDetector
from geochange.detectors.network import NetworkDetector
from geochange.engine.lattice import SceneBlocks
from geochange.engine.work import Work
from geochange.scenes.pairing import Scene


def fit_detector(detector: Detector, scene: Scene, work: Work) -> Fitted:
    """Fit a detector; a network runs on one kind of device, in one precision, on all workers.

    Raises:
        BadOption: a worker has not what the options ask for, or they do not fit the scene.
        BandMismatch: the scene has other bands than the detector needs.
        NothingValid: there is nothing to measure.
    """
    if isinstance(detector, NetworkDetector | ModelDetector):
        device, precision = choose(detector.device, detector.precision, work.crew.everywhere(detector.machine))
        detector = replace(detector, device=device, precision=precision)
    return detector.fit(scene, SceneBlocks(scene, work))

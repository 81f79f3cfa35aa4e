"""A detector brought to a scene, by the workers of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from geochange.detectors.catalogue import default_name, load_fitted
from geochange.detectors.choice import AUTO, Choice, SceneFacts, choose_detector
from geochange.detectors.detector import Detector, Fitted
from geochange.detectors.fitted_files import unpack_fitted
from geochange.detectors.machines import choose
from geochange.detectors.model import ModelDetector
from geochange.detectors.network import NetworkDetector
from geochange.detectors.options import DetectorOptions
from geochange.engine.lattice import SceneBlocks
from geochange.engine.work import Work
from geochange.errors import BadOption, UnreadableInput
from geochange.parsing import parsing
from geochange.pipeline.options import DetectOptions
from geochange.review.run import read_record
from geochange.scenes.pairing import Scene
from geochange.scenes.shift_field import ShiftField


def name_detector(options: DetectorOptions, scene: Scene) -> Choice:
    """Return the name of the detector for a scene, and why it was chosen: nothing where that was not asked for.

    Raises:
        BadOption: options of a detector are given that is still to be chosen.
    """
    if options.detector != AUTO:
        return options.detector or default_name(len(scene.bands), options), ""
    if given := options.own_options():
        raise BadOption(f"{next(iter(given))} is an option of a detector: name the detector in place of {AUTO}")
    first = scene.sources[0]
    named = dict(zip(first.choices, first.band_names, strict=False))
    names = [frozenset(name.lower() for name in named.get(band, ())) for band in first.bands]
    return choose_detector(SceneFacts(scene.dates, names, scene.gsd, scene.largest, find_spec("torch") is not None))


@dataclass(frozen=True, slots=True)
class KeptStatistics:
    """A detector with the statistics of the scene of another run."""

    run: str
    fitted: Fitted
    shape: tuple[int, int]
    """(rows, cols) of that scene."""
    local_shift: ShiftField | None
    """What AFTER was moved back by there, place by place."""

    def named(self, options: DetectOptions) -> DetectOptions:
        """Return options with the detector that it is.

        Raises:
            BadOption: another one is asked for, or options of it.
        """
        if options.detector not in (None, AUTO, self.fitted.name):
            raise BadOption(f"the statistics of {self.run} are those of {self.fitted.name}, not of {options.detector}")
        if options.own_options():
            given = ", ".join(options.own_options())
            raise BadOption(f"the statistics of {self.run} come with its options of the detector: leave out {given}")
        return replace(options, detector=self.fitted.name)


def read_statistics(run: str, dates: int) -> KeptStatistics:
    """Read the statistics that a finished run has kept.

    Args:
        run: its folder.
        dates: of the scene that they are for.

    Raises:
        UnreadableInput: there are none.
        BadOption: they are of another number of dates.
    """
    record = read_record(Path(run))
    saved = record.get("statistics")
    if saved is None:
        raise UnreadableInput(f"{run} holds no statistics, as runs of networks do not, nor those of earlier versions")
    if len(record["inputs"]) != dates:
        raise BadOption(f"the statistics of {run} are those of {len(record['inputs'])} dates, and {dates} were given")
    with TemporaryDirectory() as folder:
        with parsing(f"{run}: its statistics", "those of a finished run of `geochange detect`"):
            unpack_fitted(saved, Path(folder))
            rows, cols = record["scene"]["shape"]
            field = record["scene"].get("removed_local_shift")
            local_shift = None if field is None else ShiftField.from_json(field)
        return KeptStatistics(run, load_fitted(Path(folder)), (rows, cols), local_shift)


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

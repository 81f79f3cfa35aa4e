"""How well two dates suit a search for changes: facts, findings, and a verdict. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

from geochange.scenes.differences import (
    CHOOSE_OTHERS,
    GIVE_CRS,
    GIVE_ONE_CRS,
    Difference,
    grid_differences,
    overlap_share,
)
from geochange.scenes.grid import Grid, crs_name
from geochange.scenes.radiometry import Radiometry
from geochange.scenes.registration import Shift, Unmeasured
from geochange.scenes.shift_field import LocalShift


class Severity(IntEnum):
    """How much a finding matters; the largest decides the verdict."""

    OK = 0
    NOTE = 1
    WARNING = 2
    PROBLEM = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the preflight report."""

    severity: Severity

    subject: str
    """"opening", "grid", "CRS", "overlap", "bands", "dtype", "scale", "nodata", "masks", "clouds", "shift" or
    "radiometry"."""

    text: str

    fix: str = ""
    """What the user can do about it; empty where nothing needs doing."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Pixels that count as data and may hold none, and what can be done about it."""

    text: str
    fix: str


@dataclass(frozen=True, slots=True)
class DateFacts:
    """What the preflight report states of one date as it is stored."""

    name: str
    grid: Grid

    bands: int
    """How many there are."""

    dtype: str

    scaling: tuple[tuple[float, float], ...] | None = None
    """(scale, offset) of each band, which are applied."""

    masked: float | None = None
    """Share of the pixels with data, 0..1, that a mask leaves out; None where none was given."""


SMALL_SHIFT, LARGE_SHIFT = 0.3, 1.0  # pixels: where edges begin to show as changes, and where they show everywhere
LARGE_SPREAD = 0.5  # pixels
LEAST_OVERLAP = 0.5  # of BEFORE's area
MOST_NODATA = 0.5  # of the pixels
LEAST_CORRELATION = 0.3
LEAST_CLOUD = 0.003  # of the pixels
USUAL_GAIN = 1.5  # times, or divided by
REMOVE_LOCAL_SHIFT = "--remove-local-shift of `detect` and `align` moves AFTER back place by place"
REMOVE_SHIFT = "`geochange align --remove-shift` moves AFTER by it"


@dataclass(frozen=True)
class Report:
    """How well two dates suit a search for changes: facts, findings, and a verdict."""

    before: DateFacts
    after: DateFacts

    nodata: float | None
    """Share of the common pixels, 0..1, that hold no data at one date or both; None where nothing was read."""

    shift: Shift | Unmeasured | None
    """Left after AFTER is brought to BEFORE's grid; None where nothing was read."""

    radiometry: tuple[Radiometry, ...] = ()

    doubts: tuple[Doubt, ...] = ()
    """Pixels that count as data and may hold none."""

    notes: tuple[str, ...] = ()
    """What was chosen for the user when the dates were opened."""

    local_shift: LocalShift | Unmeasured | None = None
    """How the shift varies over the scene; None where it hardly does, or was not measured."""

    clouds: tuple[float, float] = (0.0, 0.0)
    """Share of the pixels, 0..1, that look like cloud at the first date, and at the second."""

    @cached_property
    def differences(self) -> list[Difference]:
        """What keeps the dates from lying on one grid."""
        return grid_differences(self.before.grid, self.after.grid)

    @cached_property
    def overlap(self) -> float | None:
        """Share of BEFORE's area that AFTER covers; None where that cannot be known."""
        return overlap_share(self.before.grid, self.after.grid)

    @cached_property
    def findings(self) -> list[Finding]:
        """All findings, in the order in which a user would fix them."""
        found = [Finding(Severity.NOTE, "opening", note) for note in self.notes]
        found += _grid_findings(self.differences) + _overlap_findings(self.before.grid, self.after.grid, self.overlap)
        found += _storage_findings(self.before, self.after)
        if self.nodata is not None:
            found.append(_nodata_finding(self.nodata))
        found += [Finding(Severity.WARNING, "nodata", doubt.text, doubt.fix) for doubt in self.doubts]
        found += _mask_findings(self.before, self.after) + _cloud_findings(self.clouds)
        if self.shift is not None:
            found += _shift_findings(self.shift, self.local_shift)
        return found + _radiometry_findings(self.radiometry)

    @property
    def verdict(self) -> str:
        """One of "ready", "usable with care", "needs alignment" and "not comparable"."""
        worst = max(finding.severity for finding in self.findings)
        if worst < Severity.PROBLEM:
            return "usable with care" if worst == Severity.WARNING else "ready"
        problems = {finding.subject for finding in self.findings if finding.severity == worst}
        return "needs alignment" if problems <= {"grid", "shift"} else "not comparable"

    def to_dict(self) -> dict[str, Any]:
        """Return the report in plain numbers, strings, lists and dicts, for JSON; what is not known is None."""
        return {
            "verdict": self.verdict,
            "before": _facts_dict(self.before),
            "after": _facts_dict(self.after),
            "grid_differences": [asdict(difference) for difference in self.differences],
            "overlap": self.overlap,
            "nodata": self.nodata,
            "clouds": list(self.clouds),
            "shift": None if self.shift is None else asdict(self.shift),
            "local_shift": _local_dict(self.local_shift),
            "radiometry": [asdict(band) for band in self.radiometry],
            "findings": [{**asdict(finding), "severity": finding.severity.name.lower()} for finding in self.findings],
        }


def _facts_dict(facts: DateFacts) -> dict[str, Any]:
    return {
        "name": facts.name,
        "crs": crs_name(facts.grid.crs),
        "transform": list(facts.grid.transform)[:6],
        "shape": list(facts.grid.shape),
        "bounds": list(facts.grid.bounds),
        "resolution": list(facts.grid.resolution),
        "bands": facts.bands,
        "dtype": facts.dtype,
        "masked": facts.masked,
        "scaling": None if facts.scaling is None else [list(each) for each in facts.scaling],
    }


def _grid_findings(differences: Sequence[Difference]) -> list[Finding]:
    found = [
        Finding(Severity.PROBLEM, "grid", str(difference), difference.fix)
        for difference in differences
        if difference.subject != "overlap"  # it has a finding of its own
    ]
    return found or [Finding(Severity.OK, "grid", "one grid")]


def _overlap_findings(before: Grid, after: Grid, share: float | None) -> list[Finding]:
    if share is None and before.crs and after.crs:
        return [Finding(Severity.PROBLEM, "overlap", "not known: one CRS cannot be brought to the other", GIVE_ONE_CRS)]
    if share is None:
        return [Finding(Severity.PROBLEM, "overlap", "not known: just one date has a CRS", GIVE_CRS)]
    text = f"AFTER covers {share:.1%} of BEFORE"
    if share == 0:
        return [Finding(Severity.PROBLEM, "overlap", text, CHOOSE_OTHERS)]
    found = [Finding(Severity.WARNING if share < LEAST_OVERLAP else Severity.OK, "overlap", text)]
    if before.crs is None:
        found.append(
            Finding(Severity.NOTE, "CRS", "no CRS: results lie in pixels, and areas in square metres are null")
        )
    return found


def _storage_findings(before: DateFacts, after: DateFacts) -> list[Finding]:
    found = [Finding(Severity.OK, "bands", f"{before.bands} bands each")]
    if before.bands != after.bands:
        text = f"{before.bands} bands against {after.bands}"
        found = [Finding(Severity.PROBLEM, "bands", text, "pick the ones that both have with --bands")]
    if before.dtype != after.dtype:
        text = f"{before.dtype} against {after.dtype}: values may be on different scales"
        found.append(Finding(Severity.NOTE, "dtype", text, "compare the gains below"))
    return found + _scale_findings(before, after)


def _scale_findings(before: DateFacts, after: DateFacts) -> list[Finding]:
    if before.scaling is None and after.scaling is None:
        return []
    text = f"numbers are taken with their bands' scale and offset: {_scales(before)} before, {_scales(after)} after"
    if before.scaling is None or after.scaling is None:
        fix = "give both dates scale and offset, as with gdal_edit.py -scale -offset, or neither"
        return [Finding(Severity.WARNING, "scale", text, fix)]
    return [Finding(Severity.OK, "scale", text)]


def _scales(facts: DateFacts) -> str:
    each = dict.fromkeys(f"{scale:g} and {offset:g}" for scale, offset in facts.scaling or ())
    return " or ".join(each) or "none"


def _nodata_finding(share: float) -> Finding:
    text = f"{share:.1%} of the pixels hold no data at one date or both"
    if share >= 1:
        return Finding(Severity.PROBLEM, "nodata", text, "check the files' nodata values, or give --nodata")
    return Finding(Severity.WARNING if share > MOST_NODATA else Severity.OK, "nodata", text)


def _mask_findings(before: DateFacts, after: DateFacts) -> list[Finding]:
    shares = [(name, facts.masked) for name, facts in (("BEFORE", before), ("AFTER", after))]
    return [
        Finding(Severity.OK, "masks", f"{share:.1%} of {name} is masked") for name, share in shares if share is not None
    ]


def _cloud_findings(shares: tuple[float, float]) -> list[Finding]:
    return [
        Finding(
            Severity.WARNING,
            "clouds",
            f"{share:.1%} of {date.upper()} is far brighter than the other date, in patches: cloud, or new roofs",
            f"leave clouds out with --mask-{date}",
        )
        for date, share in zip(("before", "after"), shares, strict=True)
        if share >= LEAST_CLOUD
    ]


def _local_dict(local: LocalShift | Unmeasured | None) -> dict[str, Any] | None:
    if local is None:
        return None
    return asdict(local) if isinstance(local, Unmeasured) else local.to_dict()


def _shift_findings(shift: Shift | Unmeasured, local: LocalShift | Unmeasured | None) -> list[Finding]:
    if isinstance(shift, Unmeasured):
        text = f"the shift could not be measured: {shift.reason}"
        return [Finding(Severity.WARNING, "shift", text, "compare the images by eye")]
    size = max(abs(shift.row), abs(shift.col))
    text = f"AFTER lies {shift.row:+.2f} rows and {shift.col:+.2f} columns off {_basis(shift)}"
    found = [Finding(Severity.OK, "shift", text)]
    if size > SMALL_SHIFT:
        severity = Severity.PROBLEM if size > LARGE_SHIFT else Severity.WARNING
        found = [Finding(severity, "shift", f"{text}: edges will show as changes", REMOVE_SHIFT)]
    if shift.spread > LARGE_SPREAD:
        text = (
            f"the shift varies by {shift.spread:.2f} px over the scene (relief, buildings that lean, or bent imagery)"
        )
        found.append(Finding(Severity.WARNING, "shift", text, _local_fix(local)))
    return found


def _local_fix(local: LocalShift | Unmeasured | None) -> str:
    if isinstance(local, LocalShift) and local.field is not None:
        return f"{REMOVE_LOCAL_SHIFT}: of {local.length:.2f} px in the median it leaves {local.residual:.2f} px"
    return "orthorectify both dates with one elevation model"


def _basis(shift: Shift) -> str:
    windows = f"{shift.windows_used} of {shift.windows_tried} windows"
    if shift.spread_row is None or shift.spread_col is None:
        return f"({windows}, so no spread)"
    return f"(spread {shift.spread_row:.2f} and {shift.spread_col:.2f} px over {windows})"


def _radiometry_findings(bands: Sequence[Radiometry]) -> list[Finding]:
    found = [finding for band in bands for finding in _band_findings(band)]
    return found or ([Finding(Severity.OK, "radiometry", "every band follows its earlier self")] if bands else [])


def _band_findings(band: Radiometry) -> list[Finding]:
    if band.gain is None or band.correlation is None:
        return [Finding(Severity.WARNING, "radiometry", f"band {band.band} is constant", "leave it out with --bands")]
    if abs(band.correlation) < LEAST_CORRELATION:
        text = f"band {band.band} hardly follows its earlier self (correlation {band.correlation:.2f})"
        return [Finding(Severity.WARNING, "radiometry", text, "check that bands are in one order and seasons alike")]
    if not 1 / USUAL_GAIN <= band.gain <= USUAL_GAIN:
        text = f"band {band.band} has gain {band.gain:.3g}"
        return [Finding(Severity.NOTE, "radiometry", text, "choose a detector that gains do not touch, as ir-mad")]
    return []

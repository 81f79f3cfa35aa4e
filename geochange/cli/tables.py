"""Answers as tables for people, or as JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from geochange.errors import PairsFailed
from geochange.evaluation.pixel_scores import AVERAGES
from geochange.polygons.preview import hectares
from geochange.redaction import plain

if TYPE_CHECKING:
    from geochange.detectors.catalogue import Offer
    from geochange.evaluation.report import Evaluation
    from geochange.pipeline.align import Aligned
    from geochange.pipeline.detect import Detection
    from geochange.pipeline.detect_many import DetectedMany
    from geochange.pipeline.explain import Explained
    from geochange.pipeline.frames import Frames
    from geochange.pipeline.from_to import FromTo
    from geochange.pipeline.fuse import Fused
    from geochange.pipeline.kinds import WrittenKinds
    from geochange.pipeline.refine import Refined
    from geochange.pipeline.review import Reviewed
    from geochange.pipeline.vectorize import WrittenLayer
    from geochange.pipeline.watch import Watched
    from geochange.scenes.preflight import Report


LABEL_SHARES = ("precision", "recall")
FROM_TO_REST = {
    "unchanged": "unchanged",
    "only_before": "covered by BEFORE alone",
    "only_after": "covered by AFTER alone",
    "dropped": "too small or too thin, left out",
    "absorbed": "too small or too thin, part of a neighbour",
}


def print_json(answer: Any) -> None:
    """One JSON value on stdout."""
    print(json.dumps(plain(answer), indent=2))


def plain_table(title: str | None = None, *columns: str) -> Table:
    """Return a table without a frame; its first column is flush left, the others right."""
    table = Table(title=title, box=None, show_header=bool(columns), title_justify="left", pad_edge=False)
    for place, column in enumerate(columns or ("", "")):
        table.add_column(column, justify="left" if place == 0 or not columns else "right", overflow="fold")
    return table


def show(table: Table) -> None:
    """Print on stdout, as wide as the table where that is no terminal."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 200
    console.print(table)


def print_run(detection: Detection) -> None:
    """Print what a run found, how long it took, and where its files lie."""
    record = detection.record
    table = plain_table()
    rows, cols = record["scene"]["shape"]
    table.add_row(
        "scene", f"{rows:,} x {cols:,} pixels, {len(record['scene']['bands'])} bands, {record['scene']['crs']}"
    )
    table.add_row("detector", record["detector"]["name"])
    add_threshold(table, record)
    table.add_row("changes", _changes(record["changes"]))
    if found := record.get("kinds"):
        table.add_row("kinds", ", ".join(f"{kind or 'no data'} {count:,}" for kind, count in found["counts"].items()))
    table.add_row("seconds", _seconds(record["seconds"]))
    for name in _files(record["files"]):
        table.add_row("", str(detection.file(name)))
    show(table)


def print_layer(layer: WrittenLayer) -> None:
    """Print what `vectorize` wrote."""
    answer = layer.to_dict()
    table = plain_table()
    add_threshold(table, answer)
    table.add_row("changes", _changes(answer["changes"]))
    if answer["squared"] is not None:
        table.add_row("right angles", f"{answer['squared']:,} outlines")
    table.add_row("seconds", _seconds(answer["seconds"]))
    table.add_row("", answer["file"])
    show(table)


def print_reviewed(reviewed: Reviewed) -> None:
    """Print what has been decided."""
    table = plain_table()
    for name, count in reviewed.tally.items():
        table.add_row("cells looked at" if name == "cells" else name, f"{count:,}")
    if reviewed.file is not None:
        table.add_row("", str(reviewed.file))
    if (sample := reviewed.sample) is not None:
        low, high = sample["interval"]
        table.add_row("right, of a random sample", f"{sample['kept']} of {sample['changes']}: {low:.2f} to {high:.2f}")
    if (agreement := reviewed.agreement) is not None:
        table.add_row("decided by both", f"{agreement.decided}, alike {agreement.same}")
        table.add_row("Cohen's kappa", "none" if agreement.kappa is None else f"{agreement.kappa:.3f}")
        table.add_row("IoU of what was kept", "none" if agreement.kept_iou is None else f"{agreement.kept_iou:.3f}")
    for conflict in reviewed.conflicts:
        table.add_row("left", conflict)
    show(table)


def add_threshold(table: Table, record: dict[str, Any]) -> None:
    """Rows of the threshold, and of what labels say of it."""
    table.add_row("threshold", _threshold(record["threshold"]))
    if labelled := record.get("threshold_labels"):
        shares = (f"{name} {labelled[name]:.3f} (at least {labelled[name + '_lower']:.3f})" for name in LABEL_SHARES)
        table.add_row("by labels", f"{', '.join(shares)}, F1 {labelled['f1']:.3f}, in {labelled['cells']:,} places")


def print_kinds(written: WrittenKinds) -> None:
    """Print how many changes are of each kind, and the bands and indices used."""
    answer = written.to_dict()
    table = plain_table()
    table.add_row("bands", ", ".join(f"{role}={number}" for role, number in answer["band_roles"].items()))
    table.add_row("indices", ", ".join(answer["indices"]))
    for kind, count in answer["kinds"].items():
        table.add_row(kind or "no data", f"{count:,}")
    table.add_row("seconds", _seconds(answer["seconds"]))
    table.add_row("", answer["file"])
    show(table)


def print_from_to(found: FromTo) -> None:
    """Print what became what, and what is no change."""
    answer = found.to_dict()
    table = plain_table(None, "from", "to", "polygons", "area")
    for change in answer["changes"]:
        table.add_row(change["from"], change["to"], f"{change['polygons']:,}", hectares(change["area_m2"]))
    show(table)
    rest = plain_table()
    for name, what in FROM_TO_REST.items():
        rest.add_row(what, hectares(round(answer[f"{name}_m2"])))
    if any(answer["without_class"]):
        rest.add_row("polygons without a class", " and ".join(f"{count:,}" for count in answer["without_class"]))
    rest.add_row("classes", answer["classes"] or "none")
    for path in answer["files"]:
        rest.add_row("", path)
    show(rest)


def print_frames(frames: Frames) -> None:
    """Print how many frames there are, of what form, and where."""
    record = frames.record
    rows, cols = record["shape"]
    print(f"{record['count']:,} images of {rows:,} x {cols:,}, bands: {record['bands']}, {record['dtype']}")
    print(frames.folder)


def print_many(many: DetectedMany) -> None:
    """Print how many pairs are done, what they showed, and what could not be done."""
    record, table = many.record, plain_table()
    counts = record["counts"]
    table.add_row("pairs", f"{counts['done']:,} of {counts['pairs']:,} done")
    table.add_row("changes", f"{record['changes']['count']:,}")
    table.add_row("seconds", f"{sum(record['seconds'].values()):.1f}")
    for name in record["files"].values():
        table.add_row("", str(many.folder / name))
    show(table)


def require_done(many: DetectedMany) -> None:
    """Say that some pairs could not be done.

    Raises:
        PairsFailed: the message says how many, and why the first.
    """
    if many.failed:
        first, more = many.failed[0], len(many.failed)
        raise PairsFailed(f"{more} of {len(many.outcomes)} pairs failed, as {first.pair}: {first.error}")


def print_watched(watched: Watched) -> None:
    """Print how many images came, what they showed, and how long each took."""
    record, table = watched.record, plain_table()
    left_out = len(record["left_out"])
    table.add_row("images", f"{record['images']:,}" + (f", {left_out:,} left out" if left_out else ""))
    table.add_row("changes", f"{record['changes']['count']:,}")
    if record["compared"]:
        table.add_row("an image", f"{record['median']['seconds']:.2f} s, the median of {record['compared']:,}")
    table.add_row("written", str(watched.folder))
    show(table)


def print_refined(refined: Refined) -> None:
    """Print what `refine` did to a raster."""
    table = plain_table()
    for step in refined.steps:
        table.add_row("step", step)
    table.add_row("threshold", _threshold(refined.threshold))
    table.add_row("changed", f"{refined.before:,} pixels before, {refined.after:,} after, {refined.crossed:,} crossed")
    table.add_row("seconds", _seconds(refined.seconds))
    table.add_row("", str(refined.path))
    show(table)


def print_detectors(offers: Sequence[Offer]) -> None:
    """Names, what they do, and their options."""
    table = plain_table(None, "detector", "what it does", "options (NAME=DEFAULT)")
    for column in table.columns[1:]:
        column.justify = "left"
    for offer in offers:
        options = " ".join(f"{name}={default}" for name, default in offer.options.items())
        table.add_row(offer.name, offer.summary, options)
    show(table)


def _threshold(threshold: float | list[float] | dict[str, Any]) -> str:
    if isinstance(threshold, dict):
        found = threshold["local"]
        cells = found["cells"][0] * found["cells"][1]
        return f"{found['scene']:.4g} to {found['highest']:.4g}, raised in {found['raised']:,} of {cells:,} cells"
    return ":".join(f"{value:.4g}" for value in (threshold if isinstance(threshold, list) else [threshold]))


def _changes(changes: dict[str, Any]) -> str:
    area = "" if changes["area_m2"] is None else f", {hectares(changes['area_m2'])}"
    return f"{changes['count']:,} ({changes['area_px']:,} pixels{area})"


def _seconds(seconds: dict[str, float]) -> str:
    return ", ".join(f"{stage} {spent:.2f}" for stage, spent in seconds.items())


def _files(files: dict[str, Any]) -> list[str]:
    item = [files["item"]] if "item" in files else []
    return [files["probability"], *files["layers"], *files["changes"], files["preview"], *item, "run.json"]


def print_evaluation(evaluation: Evaluation) -> None:
    """Scores with their intervals, and the confusion matrix."""
    answer = evaluation.to_dict()
    pixels, boundaries, objects = answer["pixels"], answer["boundaries"], answer["objects"]
    several = len(pixels["classes"]) > 2
    averaged = [f", {answer[part]['headline']} average" if several else "" for part in ("pixels", "boundaries")]
    table = plain_table(None, "", f"pixels{averaged[0]}", "95 %", "objects", "95 %")
    for name in ("precision", "recall", "f1", "iou", "accuracy", "kappa", "mean_iou"):
        table.add_row(name.replace("_", " "), *_figure(pixels, name), *_figure(objects, name))
    for tolerance in boundaries["tolerances"]:
        table.add_row(f"boundary F at {tolerance} px{averaged[1]}", *_figure(boundaries, f"f1_{tolerance}px"), "", "")
    show(table)
    if several:
        _show_classes(pixels)
    counts = plain_table(None, "reference \\ predicted", *pixels["classes"])
    for name, row in zip(pixels["classes"], pixels["confusion"], strict=True):
        counts.add_row(name, *(f"{count:,}" for count in row))
    show(counts)
    print(
        f"{objects['matched']:,} of {objects['reference']:,} objects found by {objects['predicted']:,} predicted ones"
    )
    if answer["average_precision"] is not None:
        _show_precision(answer["average_precision"])
    if answer["estimates"] is not None:
        _show_estimates(answer["estimates"])


def _show_estimates(errors: dict[str, Any]) -> None:
    """Mean errors of estimated sizes and places of matched objects, beside those of their outlines."""
    table = plain_table(None, "mean error", "estimated", "of the outline", "objects")
    forms = {"size": "{:.1%} of the area", "place": "{:.3g} units of the CRS"}
    for name, form in forms.items():
        if (error := errors[name]) is not None and error["count"]:
            figures = (form.format(error[each]) for each in ("estimated", "outlined"))
            table.add_row(name, *figures, f"{error['count']:,}")
    show(table)


def _show_classes(pixels: dict[str, Any]) -> None:
    """Precision, recall, F1 and pixels in the reference of each class, and the averages over all classes."""
    table = plain_table(None, "class", "precision", "recall", "F1", "reference pixels")
    averages = {f"{name} average": pixels[name] | {"support": pixels["count"]} for name in AVERAGES}
    for name, scores in (pixels["per_class"] | averages).items():
        figures = (_figure(scores, each)[0] for each in ("precision", "recall", "f1"))
        table.add_row(name, *figures, f"{scores['support']:,}")
    show(table)


def _show_precision(measured: dict[str, Any]) -> None:
    """AP of all objects and by size, and recall at one false alarm on a million pixels."""
    table = plain_table(None, "objects by size", "AP", "AP50", "AP75", "recall", "objects")
    for name, part in {"all": measured, **measured["sizes"]}.items():
        if part["count"]:
            figures = (part[each] for each in ("ap", "ap50", "ap75", "recall"))
            table.add_row(name, *("" if each is None else f"{each:.4f}" for each in figures), f"{part['count']:,}")
    show(table)
    print(
        "recall at one false alarm on a million pixels; tiny is below 10 pixels a side, small below 32, medium below 96"
    )


def _figure(scores: dict[str, Any], name: str) -> tuple[str, str]:
    value, interval = scores.get(name), scores["intervals"].get(name)
    bounds = "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
    return "" if value is None else f"{value:.4f}", bounds


def print_aligned(aligned: Aligned) -> None:
    """Print what `align` wrote, and the shift that it removed."""
    table = plain_table()
    if aligned.removed is not None:
        table.add_row("shift removed", f"{aligned.removed.row:+.2f} rows, {aligned.removed.col:+.2f} columns")
    if (local := aligned.removed_local) is not None:
        table.add_row(
            "local shift removed", f"{local.length:.2f} px in the median, of which {local.residual:.2f} px stay"
        )
    table.add_row("", str(aligned.path))
    show(table)


def print_explained(explained: Explained) -> None:
    """Print what was explained, and where the raster lies."""
    table = plain_table()
    table.add_row(explained.label, f"{explained.pixels:,} px, probability up to {explained.probability:.3f}")
    deletion = explained.deletion
    table.add_row("mean probability", f"{deletion.whole:.3f}")
    table.add_row("  without what is marked most", f"{deletion.without_marked:.3f}")
    table.add_row("  without as much elsewhere", f"{deletion.without_others:.3f}")
    table.add_row("", str(explained.path))
    table.add_row("", str(explained.picture))
    show(table)


def print_report(report: Report) -> None:
    """Facts of both dates, radiometry by band, findings, and the verdict."""
    answer = plain(report.to_dict())
    names = plain_table()
    for date in ("before", "after"):
        names.add_row(date, Text(answer[date]["name"], overflow="fold"))
    tables = [names, _facts(answer)]
    if answer["radiometry"]:
        tables.append(_radiometry(answer["radiometry"]))
    for table in (*tables, _findings(answer["findings"])):
        show(table)
        print()
    print(f"verdict: {answer['verdict']}")


def _facts(answer: dict[str, Any]) -> Table:
    table = plain_table(None, "", "rows", "columns", "pixel size", "bands", "dtype", "CRS")
    for date in ("before", "after"):
        facts = answer[date]
        x, y = facts["resolution"]
        sizes = (f"{length:,}" for length in facts["shape"])
        table.add_row(date, *sizes, f"{x:.9g} x {y:.9g}", str(facts["bands"]), facts["dtype"], Text(facts["crs"]))
    return table


def _radiometry(bands: Sequence[dict[str, Any]]) -> Table:
    """Return what `after = gain * before + offset` says of each band; empty cells where a band is constant."""
    formats = {"gain": ".4g", "offset": ".5g", "residual": ".4g", "unchanged": ".0%", "correlation": ".3f"}
    table = plain_table(None, "band", *formats)
    for band in bands:
        cells = ("" if band[name] is None else format(band[name], style) for name, style in formats.items())
        table.add_row(str(band["band"]), *cells)
    return table


def _findings(findings: Sequence[dict[str, Any]]) -> Table:
    """Return a row for each finding, and below those that have one fix, that."""
    table = plain_table()
    table.add_column(overflow="fold")
    for (severity, fix), alike in groupby(findings, itemgetter("severity", "fix")):
        for finding in alike:
            table.add_row(severity, finding["subject"], Text(finding["text"]))
        if fix:
            table.add_row("", "", Text(f"-> {fix}"))
    return table


def print_fused(fused: Fused) -> None:
    """How it was fused, what each source had to say in it, and where the file lies."""
    details = fused.details
    table = plain_table()
    table.add_row("method", fused.method)
    table.add_row("threshold", f"{fused.threshold:.4g}")
    table.add_row("", str(fused.path))
    show(table)
    sources = plain_table(None, "source", *_source_columns(fused))
    for number, name in enumerate(fused.sources):
        numbers = [details[key][number] for key in ("weights", "thresholds") if key in details]
        numbers += [row[number] for row in details.get("model", {}).get("weights", [])]
        sources.add_row(name, *(f"{each:.4g}" for each in numbers))
    show(sources)


def _source_columns(fused: Fused) -> list[str]:
    """Names of the numbers that each source has."""
    given = [name for key, name in (("weights", "weight"), ("thresholds", "threshold")) if key in fused.details]
    return [*given, *(f"coefficient of {name}" for name in fused.classes if "model" in fused.details)]

"""What commands for data sets and networks print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from geochange.cli.tables import plain_table, show
from geochange.errors import UnreadableInput
from geochange.evaluation.pixel_scores import AVERAGES

if TYPE_CHECKING:
    from geochange.pipeline.datasets import DatasetsReport, Duplicates
    from geochange.pipeline.datasets_doubts import DoubtedLabels
    from geochange.pipeline.datasets_export import ExportedLabels
    from geochange.pipeline.datasets_import import Imported
    from geochange.pipeline.export_model import Exported
    from geochange.pipeline.model_describe import DescribedModel
    from geochange.pipeline.synthesize import Synthesized
    from geochange.pipeline.train import Trained
    from geochange.pipeline.tune import Tuned

SHOWN_GROUPS = 10  # of equal images; --json gives all


def print_datasets(report: DatasetsReport) -> None:
    """Print a row for each split of each data set; then equal images, and all that is broken."""
    named = list(dict.fromkeys(name for part in report.parts for name in part.shares))
    columns = "data set", "split", "images", "dates", "size", "bands", "dtype", *named, "not labelled", "no change in"
    table = plain_table(None, *columns)
    for part in report.parts:
        shape = {f"{rows} x {cols}": count for (rows, cols), count in part.sizes.items()}
        kinds = (_mixed(each) for each in (part.dates, shape, part.bands, part.dtypes))
        shares = (f"{part.shares[name]:.2%}" for name in named)
        table.add_row(
            Text(part.dataset),
            part.split or "",
            f"{part.images:,}",
            *kinds,
            *shares,
            f"{part.ignored:.2%}",
            f"{part.without_change:,}",
        )
    show(table)
    print()
    for words, across in (("across splits or data sets", True), ("within a split", False)):
        _print_duplicates(words, [group for group in report.duplicates if group.across is across])
    for each in report.broken:
        print(f"broken: {each.dataset}: {each.item}: {each.why}")
    for note in report.notes:
        print(f"note: {note}")


def _mixed(counts: Mapping[Any, int]) -> str:
    """Return the one value that all have, or the commonest and how many others there are."""
    first = next(iter(counts), "")
    return f"{first}" if len(counts) < 2 else f"{first} and {len(counts) - 1} others"


def _print_duplicates(words: str, groups: Sequence[Duplicates]) -> None:
    print(f"equal images {words}: {sum(len(group.places) for group in groups):,} in {len(groups):,} groups")
    for group in groups[:SHOWN_GROUPS]:
        print(f"  {' = '.join(map(str, group.places))}")
    if len(groups) > SHOWN_GROUPS:
        print(f"  and {len(groups) - SHOWN_GROUPS:,} more groups; --json lists all")


def require_whole(report: DatasetsReport) -> None:
    """Refuse data of which something is broken.

    Raises:
        UnreadableInput: the message gives how much is broken, and why the first of it is.
    """
    if report.broken:
        raise UnreadableInput(f"{report.path}: {len(report.broken)} broken; first {report.broken[0].why}")


def print_imported(imported: Imported) -> None:
    """Print what was imported, and how to train on it."""
    record, table = imported.record, plain_table(None, "class", "objects", "share of pixels")
    for name, share in record["shares"].items():
        table.add_row(name, f"{record['objects'].get(name, 0):,}" if record["objects"] else "", f"{share:.3%}")
    show(table)
    pairs = ", ".join(f"{count:,} {split}" for split, count in record["pairs"].items())
    print(f"pairs: {pairs}; {record['not_labelled']:.1%} of all pixels are not labelled")
    options = "".join(
        f" --{name.replace('_', '-')} '{','.join(value) if isinstance(value, list) else value}'"
        for name, value in record["options"].items()
    )
    print(f"geochange train {imported.table} -o RUN{options}")


def print_exported_labels(exported: ExportedLabels) -> None:
    """Print how many objects of each class were written."""
    table = plain_table(None, "class", "objects")
    for name, count in exported.objects.items():
        table.add_row(name, f"{count:,}")
    show(table)
    print(f"{exported.path}: {exported.images:,} images")


def print_doubts(doubted: DoubtedLabels) -> None:
    """Print how many regions are doubted, and why."""
    table = plain_table(None, "labels", "regions", "pixels")
    for kind, count in doubted.counts.items():
        table.add_row(kind, f"{count:,}", f"{doubted.area_px[kind]:,}")
    show(table)
    print(doubted.path)


def print_synthesized(made: Synthesized) -> None:
    """How many pairs were made, with how many changes of each kind."""
    table = plain_table()
    table.add_row("pairs", f"{made.record['pairs']:,}")
    for kind, count in made.record["changes"].items():
        table.add_row(kind, f"{count:,}")
    table.add_row("", str(made.folder))
    show(table)


def print_trained(trained: Trained) -> None:
    """Print the best of a run, where it lies, and what was left out."""
    record, best = trained.record, trained.record["best"]
    table = plain_table()
    table.add_row("best", _best(best, record["steps"]))
    table.add_row("", str(trained.folder / record["files"]["best"]))
    show(table)
    if record["classes"]:
        _show_trained_classes(record["classes"])
    for each in record["left_out"]:
        print(f"left out {each['item']}: {each['why']}")


def _show_trained_classes(rows: Sequence[Mapping[str, Any]]) -> None:
    """Precision, recall, F1 and labelled pixels of each class on what is held out, and the averages."""
    table = plain_table(None, "held out", "precision", "recall", "F1", "pixels")
    for row in rows:
        figures = ("" if row[each] is None else f"{row[each]:.4f}" for each in ("precision", "recall", "f1"))
        name = f"{row['class']} average" if row["class"] in AVERAGES else row["class"]
        table.add_row(name, *figures, f"{row['support']:,}")
    show(table)


def _best(best: Mapping[str, Any], steps: int) -> str:
    if "f1" not in best:
        return f"step {best['step']:.0f}; nothing was held out to score on"
    if "ap50" in best:
        return (
            f"step {best['step']:.0f} of {steps}: AP50 {best['ap50']:.4f}, AP {best['ap']:.4f}, recall "
            f"{best['object_recall']:.4f} at one false alarm on a million pixels; F1 of pixels {best['f1']:.4f}"
        )
    interval = best["intervals"]["f1"]
    bounds = "" if interval is None else f" ({interval[0]:.4f} to {interval[1]:.4f})"
    return (
        f"step {best['step']:.0f} of {steps}: F1 {best['f1']:.4f}{bounds}, IoU {best['iou']:.4f}, "
        f"precision {best['precision']:.4f}, recall {best['recall']:.4f} at threshold {best['threshold']:.3f}"
    )


def print_tuned(tuned: Tuned) -> None:
    """Print the best options of a search."""
    print(" ".join(f"{name}={value}" for name, value in tuned.best.items()))
    print("geochange train ... --options best.json trains with them")


def print_described(described: DescribedModel) -> None:
    """Print what is known of a model, and what to know about it."""
    table = plain_table()
    rows = {"model": described.form, **described.manifest.to_dict(), "": str(described.path)}
    for name, value in rows.items():
        table.add_row(name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
    show(table)
    for note in described.notes:
        print(note)


def print_exported(exported: Sequence[Exported]) -> None:
    """Print each file, and how far it differs from torch."""
    for each in exported:
        print(f"{each.path}  differs from torch by at most {each.largest_difference:.1e} in probability")

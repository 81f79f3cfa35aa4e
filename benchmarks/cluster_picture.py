"""The picture of `cluster.py`: efficiency over the number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import Any

LEFT, TOP, WIDTH, HEIGHT = 60, 20, 460, 260
MOST = 1000
"""Workers at the right end, of a logarithmic axis that begins with one."""
COLOURS = "#00695c", "#c2410c", "#4338ca", "#525252"
LETTERS = 'font-family="sans-serif" font-size="14"'
APART = 18  # labels, in pixels


def draw(runs: Sequence[dict[str, Any]]) -> str:
    """Return an SVG of the runs, of which later ones replace earlier ones of the same kind and number of workers."""
    lines: dict[str, dict[int, dict[str, Any]]] = {}
    for run in runs:
        what = f"{run['scenes']:,} scenes" if run["scenes"] else f"{run['side']:,}²"
        lines.setdefault(f"{run['detector']}, {what}", {})[run["workers"]] = run
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="340" viewBox="0 0 760 340" {LETTERS}>',
        '<rect width="760" height="340" fill="#ffffff"/>',
        *_axes(),
    ]
    heights: list[float] = []  # of labels at the right end
    ends = {label: _points(found) for label, found in sorted(lines.items())}
    for (label, points), colour in zip(sorted(ends.items(), key=lambda each: each[1][-1][1]), COLOURS, strict=False):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points[1:]]
        x, y = points[-1]
        if x < LEFT + WIDTH:  # below, where no other line goes on
            parts.append(f'<text x="{x - 8:.1f}" y="{y + 16:.1f}" text-anchor="end" fill="{colour}">{label}</text>')
            continue
        y += 5
        while any(abs(y - other) < APART for other in heights):
            y += 1
        heights.append(y)
        parts.append(f'<text x="{x + 10:.1f}" y="{y:.1f}" fill="{colour}">{label}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _points(found: dict[int, dict[str, Any]]) -> list[tuple[float, float]]:
    """Where efficiencies lie; that of one worker is computed from what the smallest cluster does not do in parallel."""
    runs = [found[workers] for workers in sorted(found)]
    first = runs[0]
    alone = first["busy"] / (first["busy"] + first["seconds"] - first["busy"] / first["workers"])
    return [_place(1, alone), *(_place(run["workers"], run["efficiency"]) for run in runs)]


def _place(workers: float, efficiency: float) -> tuple[float, float]:
    return LEFT + WIDTH * log10(workers) / log10(MOST), TOP + HEIGHT * (1 - efficiency)


def _axes() -> list[str]:
    parts = []
    for tenth in range(0, 11, 2):
        _, y = _place(1, tenth / 10)
        parts.append(f'<path d="M{LEFT} {y:.1f} H{LEFT + WIDTH}" stroke="#d4d4d4"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end" fill="#222">{tenth / 10:g}</text>')
    for workers in (1, 10, 32, 100, 256, 1000):
        x, y = _place(workers, 0)
        parts.append(f'<path d="M{x:.1f} {y} V{y + 5}" stroke="#222"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 22}" text-anchor="middle" fill="#222">{workers:,}</text>')
    middle = LEFT + WIDTH / 2
    parts.append(f'<text x="{middle}" y="{TOP + HEIGHT + 44}" text-anchor="middle" fill="#222">workers</text>')
    centre = TOP + HEIGHT / 2
    parts.append(
        f'<text x="18" y="{centre}" text-anchor="middle" fill="#222" '
        f'transform="rotate(-90 18 {centre})">efficiency</text>'
    )
    return parts

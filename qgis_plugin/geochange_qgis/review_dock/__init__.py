"""A dock that goes through the changes of a run: look at both dates, decide with a key, next.

`dock.ReviewDock` is what a plugin shows. `walk`, `take_ins` and `results` import nothing of QGIS.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

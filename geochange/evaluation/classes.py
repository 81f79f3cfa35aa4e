"""Which labels are scored, and their names. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from geochange.errors import BadOption


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """Which labels are scored, and their names.

    Raises:
        BadOption: fewer than two labels, or a label or name given twice.
    """

    labels: tuple[int, ...] = (0, 1)
    """Values in the rasters; the first stands for no change. Of two, the second is the class "change"."""

    names: tuple[str, ...] = ()
    """One for each label; by default "no change" and "change" for two labels, else the labels themselves."""

    def __post_init__(self) -> None:
        if not self.names:
            names = ("no change", "change") if len(self.labels) == 2 else tuple(map(str, self.labels))
            object.__setattr__(self, "names", names)
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise BadOption(f"labels {self.labels} must be two or more different ones")
        if len(set(self.names)) < len(self.names) or len(self.names) != len(self.labels):
            raise BadOption(f"names {self.names} must be different, one for each of the labels {self.labels}")

    @property
    def headline(self) -> str:
        """Whose precision, recall, F1 and IoU stand for all: the class "change" of two, else the macro average."""
        return self.names[1] if len(self.names) == 2 else "macro"

"""Who is at which change: hints to others, and never locks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

SECONDS = 60.0
"""How long a page is taken to be at a change after it has said so."""
MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class Lease:
    """A page at a change."""

    page: str
    """Name that the page gave itself."""
    who: str
    key: str


@dataclass
class Leases:
    """The pages that are open, as far as they have said so lately. Not for several threads."""

    clock: Callable[[], float] = time.monotonic
    _taken: dict[str, tuple[float, Lease]] = field(default_factory=dict)
    _listeners: list[Callable[[list[Lease]], None]] = field(default_factory=list)

    def take(self, lease: Lease) -> None:
        """Note where a page is, and that it is no longer where it was."""
        before = self.now
        self._taken.pop(lease.page, None)
        self._taken[lease.page] = self.clock() + SECONDS, lease
        while len(self._taken) > MOST_PAGES:
            del self._taken[next(iter(self._taken))]
        self._tell(before)

    def end(self, page: str) -> None:
        """Note that a page was closed."""
        before = self.now
        self._taken.pop(page, None)
        self._tell(before)

    def _tell(self, before: list[Lease]) -> None:
        if (now := self.now) != before:
            for listener in [*self._listeners]:
                listener(now)

    @property
    def now(self) -> list[Lease]:
        """Where all pages are."""
        ends = self.clock()
        self._taken = {page: taken for page, taken in self._taken.items() if taken[0] > ends}
        return sorted((lease for _, lease in self._taken.values()), key=lambda lease: lease.page)

    def listen(self, listener: Callable[[list[Lease]], None]) -> None:
        """Have a function called with where all pages are, when one has moved."""
        self._listeners.append(listener)

    def forget(self, listener: Callable[[list[Lease]], None]) -> None:
        """Call a function no more."""
        self._listeners.remove(listener)


def tell(leases: list[Lease]) -> list[dict[str, str]]:
    """Return leases as clients are told of them."""
    return [asdict(lease) for lease in leases]

"""Ctrl-C and SIGTERM, held back while something must not be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While entered, both signals raise KeyboardInterrupt; inside `hold` only at its end.

    Outside the main thread, where Python delivers no signals, nothing changes.
    """

    def __init__(self) -> None:
        self.wanted, self._held = False, False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {each: signal.signal(each, self._arrive) for each in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _arrive(self, number: int, frame: object) -> None:
        self.wanted = True
        if not self._held:
            raise KeyboardInterrupt

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Finish what is inside first. Nothing may be waited for in here that could last."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def obey(self) -> None:
        """Raise KeyboardInterrupt where a signal has come."""
        if self.wanted:
            raise KeyboardInterrupt


def ignore_interrupts() -> None:
    """Ignore both signals, in processes that work for another one, which decides: terminals and clusters signal all."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)

"""Ctrl-C, SIGTERM and SIGHUP, held back while something must not be left half done."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Self

from geochange.system import STOP_SIGNALS

AGAIN_SECONDS = 0.05


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interrupts:
    """While entered, the signals raise Interrupted, a KeyboardInterrupt; inside `hold` only at its end.

    Where Python drops errors, in destructors and callbacks of weak references, Interrupted is raised again soon after.
    A signal that was ignored before stays ignored. Outside the main thread, where Python delivers no signals, nothing
    changes.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        """The signal that has come."""
        self._held = False
        self._before: dict[int, Any] = {}
        self._drop: Callable[[sys.UnraisableHookArgs], object] = sys.unraisablehook

    @property
    def wanted(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heeded = [each for each in STOP_SIGNALS if signal.getsignal(each) != signal.SIG_IGN]
            self._before = {each: signal.signal(each, self._arrive) for each in heeded}
        if self._before:
            self._drop, sys.unraisablehook = sys.unraisablehook, self._raise_again
        return self

    def __exit__(self, *_: object) -> None:
        if self._before:
            sys.unraisablehook = self._drop
        for each, handler in self._before.items():
            signal.signal(each, handler)
            outer = getattr(handler, "__self__", None)
            if self.wanted and isinstance(outer, Interrupts):
                outer.number = self.number

    def _raise_again(self, dropped: sys.UnraisableHookArgs) -> None:
        """Take an error that Python would drop with a message."""
        if isinstance(dropped.exc_value, Interrupted):
            threading.Timer(AGAIN_SECONDS, signal.raise_signal, [dropped.exc_value.number]).start()
        else:
            self._drop(dropped)

    def _arrive(self, number: int, frame: object) -> None:
        self.number = number
        if not self._held:
            self.stop()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Finish what is inside first. Nothing may be waited for in here that could last."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def obey(self) -> None:
        """Raise Interrupted where a signal has come."""
        if self.wanted:
            self.stop()

    def stop(self) -> NoReturn:
        """Raise Interrupted: with the signal that has come, or as Ctrl-C where another process received it."""
        raise Interrupted(signal.SIGINT if self.number is None else self.number)


def ignore_interrupts() -> None:
    """Ignore the signals, in processes that work for another one, which decides: terminals and clusters signal all."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)

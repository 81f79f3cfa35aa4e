"""Signals as exceptions, wherever Python is when they come."""

import signal
import sys
import time
import weakref

import pytest

from geochange.interrupts import Interrupted, Interrupts
from geochange.system import STOP_SIGNALS


class Removed:
    """Calls a function while it is removed, where Python drops errors."""

    def __init__(self, function):
        self.function = function

    def __del__(self):
        self.function()


def remove_one(function):
    thing = Removed(function)
    del thing


def wait_after(function):
    function()
    time.sleep(5)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_in_a_destructor_is_raised_soon_after(number):
    with Interrupts(), pytest.raises(Interrupted) as raised:
        wait_after(lambda: remove_one(lambda: signal.raise_signal(number)))
    assert raised.value.number == number


def test_a_signal_in_a_callback_of_a_weak_reference_is_raised_soon_after():
    thing = Removed(int)
    kept = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGTERM))
    things = [thing]
    del thing
    with Interrupts(), pytest.raises(Interrupted, match="SIGTERM"):
        wait_after(things.clear)
    assert kept() is None


def test_other_errors_that_python_drops_go_where_they_went(monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: seen.append(type(dropped.exc_value)))
    before = sys.unraisablehook
    with Interrupts():
        remove_one(lambda: 1 / 0)
    assert seen == [ZeroDivisionError]
    assert sys.unraisablehook is before

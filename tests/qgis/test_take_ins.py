"""When the dock in QGIS takes decisions in: one process at a time, and nothing is forgotten."""

import pytest
from geochange_qgis.review_dock.take_ins import BUSY, FAILED, TAKEN_IN, Outcome, TakeIns, outcome_of


@pytest.fixture
def started():
    return []


@pytest.fixture
def take_ins(started):
    made = TakeIns(lambda: started.append(made.under_way))
    return made


def test_what_is_saved_meanwhile_is_taken_in_by_the_next_process(take_ins, started):
    for _ in range(4):
        take_ins.add()
    assert (started, take_ins.waiting, take_ins.running) == ([1], 3, True)
    take_ins.ended(Outcome(TAKEN_IN))
    assert (started, take_ins.waiting, take_ins.under_way) == ([1, 3], 0, 3)
    take_ins.ended(Outcome(TAKEN_IN))
    assert (started, take_ins.waiting, take_ins.running) == ([1, 3], 0, False)


@pytest.mark.parametrize("kind", [BUSY, FAILED])
def test_what_was_not_taken_in_waits_for_the_next_edit(take_ins, started, kind):
    take_ins.add()
    take_ins.add()
    take_ins.ended(Outcome(kind, "x"))
    assert (started, take_ins.waiting, take_ins.running) == ([1], 2, False)
    take_ins.add()
    assert started == [1, 3]
    take_ins.ended(Outcome(kind, "x"))
    take_ins.go_on()
    assert started == [1, 3, 3]


def test_nothing_is_started_where_nothing_waits(take_ins, started):
    take_ins.go_on()
    assert (started, take_ins.running) == ([], False)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((0, '{"kept": 1}', ""), Outcome(TAKEN_IN)),
        ((0, '{"conflicts": ["change 4: a", "b"]}', "a note"), Outcome(TAKEN_IN, "", ("change 4: a", "b"))),
        ((0, "no JSON", ""), Outcome(FAILED, "geochange answered 'no JSON'")),
        ((0, "[1]", ""), Outcome(FAILED, "geochange answered '[1]'")),
        ((2, "", "note\ngeochange: a is damaged\n"), Outcome(FAILED, "a is damaged")),
        ((1, "", ""), Outcome(FAILED, "geochange ended with exit code 1")),
    ],
)
def test_what_a_command_says_is_an_outcome(answer, expected):
    assert outcome_of(*answer) == expected


def test_a_run_that_is_in_use_is_busy():
    for line in ("OUT is in use by another run (7); a review is served at x", "f is in use by another program; save"):
        assert outcome_of(2, "", f"geochange: {line}") == Outcome(BUSY, line)

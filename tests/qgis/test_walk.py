"""The order of the dock in QGIS: what comes next, what is taken back, how far one is."""

import math

import pytest
from geochange_qgis.review_dock.walk import Row, Walk, neighbourhoods

ROWS = [
    Row(1, 11, "unreviewed", 0.2, 0.9, 40.0),
    Row(2, 12, "unreviewed", 0.8, 0.5, 10.0),
    Row(3, 13, "kept", None, None, 30.0),
    Row(4, 14, "unreviewed", 0.8, 0.7, 20.0),
    Row(5, 15, "unreviewed", math.nan, 0.6, None),
]


def walked(walk, by=1):
    found = []
    while (fid := walk.step(by)) is not None:
        found.append(fid)
    return found


@pytest.mark.parametrize(
    ("order", "expected"),
    [("confidence", [4, 2, 1, 3, 5]), ("score", [1, 4, 5, 2, 3]), ("area", [1, 3, 4, 2, 5])],
)
def test_an_order_is_falling_with_what_has_no_value_last(order, expected):
    walk = Walk(ROWS)
    walk.undecided_only = False
    walk.arrange(order)
    assert walked(walk) == expected
    assert walked(walk, -1) == expected[-2::-1]


def test_by_place_one_reads_square_by_square():
    walk = Walk(ROWS)
    walk.undecided_only = False
    middles = {1: (5, 95), 2: (15, 95), 3: (8, 99), 4: (2, 85), 5: (3, -5)}
    walk.arrange("place", neighbourhoods(middles, 10))
    assert walked(walk) == [1, 3, 2, 4, 5]


def test_undecided_ones_alone_are_walked_through():
    walk = Walk(ROWS)
    assert walked(walk) == [4, 2, 1, 5]
    assert walk.current == 5


def test_after_a_decision_comes_the_next_undecided_one_from_the_start_again_at_the_end():
    walk = Walk(ROWS)
    walk.current = 1
    walk.decide(1, "kept")
    assert [walk.next_undecided(), walk.decided] == [5, 2]
    walk.decide(5, "unsure")
    assert walk.next_undecided() == 4
    walk.decide(4, "rejected")
    walk.decide(2, "rejected")
    assert walk.next_undecided() is None
    assert [walk.current, walk.decided, len(walk)] == [4, 5, 5]


def test_decisions_are_taken_back_the_last_one_first():
    walk = Walk(ROWS)
    walk.decide(4, "kept")
    walk.decide(4, "rejected")
    walk.decide(3, "unsure")
    assert walk.last_decision() == (3, "kept")
    walk.take_back()
    assert (walk.current, walk.status(3), walk.decided) == (3, "kept", 2)
    assert walk.last_decision() == (4, "kept")
    walk.take_back()
    assert walk.last_decision() == (4, "unreviewed")
    walk.take_back()
    assert (walk.current, walk.last_decision(), walk.decided) == (4, None, 1)


def test_what_others_decided_is_shown_and_one_stays_where_one_was():
    walk = Walk(ROWS)
    walk.current = 2
    walk.reload(ROWS)
    assert walk.current == 2
    news = [*ROWS[:1], ROWS[1]._replace(fid=9), *ROWS[2:4], ROWS[4]._replace(status="kept")]
    walk.reload(news)
    assert (walk.current, walk.decided) == (9, 2)
    walk.decide(9, "kept")
    walk.reload(ROWS[:1])
    assert (walk.current, walk.decided, walk.last_decision()) == (None, 0, None)
    assert walk.step(1) == 1


def test_of_what_was_touched_the_status_alone_is_read_again():
    walk = Walk(ROWS)
    walk.current = 2
    assert walk.refresh(ROWS[2:3], len(ROWS)) is False
    assert walk.refresh([ROWS[0]._replace(status="unsure"), ROWS[2]._replace(status="unreviewed")], len(ROWS)) is True
    assert (walk.status(1), walk.status(3), walk.decided, walk.current) == ("unsure", "unreviewed", 1, 2)
    assert walk.refresh([Row(9, 19, "kept")], len(ROWS)) is None
    assert walk.refresh([], len(ROWS) - 1) is None
    assert walk.status(9) is None


def test_nothing_to_walk_through():
    walk = Walk()
    assert (walk.step(1), walk.step(-1), walk.next_undecided(), len(walk), walk.decided) == (None, None, None, 0, 0)

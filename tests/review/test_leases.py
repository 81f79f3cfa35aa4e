"""Who is at which change: a minute, and only the last place of each page."""

from geochange.review.leases import MOST_PAGES, SECONDS, Lease, Leases


class Clock:
    time = 0.0

    def __call__(self):
        return self.time


def test_a_page_is_where_it_said_last_for_a_minute():
    clock = Clock()
    leases = Leases(clock)
    leases.take(Lease("a", "ada", "1"))
    leases.take(Lease("b", "ben", "2"))
    clock.time = SECONDS - 1
    leases.take(Lease("a", "ada", "3"))
    assert leases.now == [Lease("a", "ada", "3"), Lease("b", "ben", "2")]
    clock.time = SECONDS
    assert leases.now == [Lease("a", "ada", "3")]


def test_those_who_listen_hear_of_each_move_once():
    heard = []
    leases = Leases()
    leases.listen(heard.append)
    for key in ("1", "1", "2"):
        leases.take(Lease("a", "ada", key))
    leases.forget(heard.append)
    leases.take(Lease("a", "ada", "3"))
    assert heard == [[Lease("a", "ada", "1")], [Lease("a", "ada", "2")]]


def test_pages_that_nobody_counts_take_no_room():
    leases = Leases()
    for number in range(2 * MOST_PAGES):
        leases.take(Lease(str(number), "ada", "1"))
    assert len(leases.now) == MOST_PAGES
    assert Lease(str(2 * MOST_PAGES - 1), "ada", "1") in leases.now

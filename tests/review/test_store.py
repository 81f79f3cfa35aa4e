"""What was acknowledged is kept, once, whatever happens; and the state is what the actions make it."""

import json
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geochange.errors import DiskFull, UnreadableInput
from geochange.review.actions import BadAction, StaleAction, read_request
from geochange.review.state import FOUND, LOOKED, ReviewState, fold
from geochange.review.store import ReviewStore, read_actions

CLASSES = ("building", "road")
CHANGES = range(1, 6)


def untouched(key):
    if key in map(str, CHANGES):
        return {**FOUND, "label": "building"}
    return LOOKED if key in ("cell 0 0", "cell 0 1") else None


def decide(key, rev, status="kept", who="ada", op=None, **more):
    items = [{"key": str(key), "rev": rev, "after": {"status": status, **more}}]
    return read_request({"op": op or str(uuid4()), "kind": "decide", "items": items}, who, CLASSES)


def take_back(kind="undo", who="ada"):
    return read_request({"op": str(uuid4()), "kind": kind}, who, CLASSES)


@pytest.fixture
def store(tmp_path):
    with ReviewStore(tmp_path / "review.sqlite", untouched, top=CHANGES[-1]) as opened:
        yield opened


def status_of(store, key):
    return store.state.of(str(key)).fields["status"]


def test_a_decision_is_in_the_file_when_it_is_answered(store):
    action = store.act(decide(1, 0, "rejected", comment="a cloud")).result()
    (row,) = read_actions(store.path)
    assert row == action
    assert (row.seq, row.who, row.items[0].rev) == (1, "ada", 1)
    assert row.items[0].before == {"status": "unreviewed", "comment": ""}
    assert row.items[0].after == {"status": "rejected", "comment": "a cloud"}


def test_of_two_decisions_on_one_revision_one_is_refused_with_what_is_there(store):
    answers = [store.act(decide(1, 0, status, who)) for who, status in (("ada", "kept"), ("ben", "rejected"))]
    assert answers[0].result().seq == 1
    with pytest.raises(StaleAction) as refused:
        answers[1].result()
    assert refused.value.ids == ("1",)
    assert status_of(store, 1) == "kept"


def test_a_stale_decision_does_not_hold_up_those_beside_it(store):
    store.act(decide(1, 0)).result()
    stale, other = store.act(decide(1, 0, who="ben")), store.act(decide(2, 0, who="ben"))
    assert isinstance(stale.exception(), StaleAction)
    assert other.result().seq == 2


def test_an_action_on_many_changes_holds_for_all_or_none(store):
    store.act(decide(3, 0)).result()
    items = [{"key": str(key), "rev": 0, "after": {"status": "rejected"}} for key in CHANGES]
    refused = store.act(read_request({"op": str(uuid4()), "kind": "decide", "items": items}, "ben", CLASSES))
    assert refused.exception().ids == ("3",)
    assert [status_of(store, key) for key in CHANGES] == ["unreviewed"] * 2 + ["kept"] + ["unreviewed"] * 2


def test_a_request_that_comes_twice_is_recorded_once(store):
    op = str(uuid4())
    answers = [store.act(decide(1, 0, op=op)) for _ in range(5)]
    assert {answer.result().seq for answer in answers} == {1}
    assert store.act(decide(1, 0, op=op)).result().seq == 1
    assert len(read_actions(store.path)) == 1


def test_undo_and_redo_are_of_a_reviewer_s_own_actions(store):
    store.act(decide(1, 0, "kept", "ada")).result()
    store.act(decide(2, 0, "rejected", "ben")).result()
    store.act(take_back(who="ada")).result()
    assert (status_of(store, 1), status_of(store, 2)) == ("unreviewed", "rejected")
    store.act(take_back("redo", "ada")).result()
    assert status_of(store, 1) == "kept"
    with pytest.raises(BadAction, match="nothing to redo"):
        store.act(take_back("redo", "ada")).result()


def test_what_others_have_changed_since_is_not_undone(store):
    store.act(decide(1, 0, "kept", "ada")).result()
    store.act(decide(1, 1, "rejected", "ben")).result()
    with pytest.raises(StaleAction, match="others have changed"):
        store.act(take_back(who="ada")).result()
    assert status_of(store, 1) == "rejected"


def test_a_new_action_ends_what_could_be_done_again(store):
    store.act(decide(1, 0)).result()
    store.act(take_back()).result()
    store.act(decide(2, 0)).result()
    with pytest.raises(BadAction, match="nothing to redo"):
        store.act(take_back("redo")).result()


@pytest.mark.parametrize("key", ["77", "cell 9 9"])
def test_what_does_not_exist_is_refused(store, key):
    kind, after = ("look", {"looked": True}) if key.startswith("cell") else ("decide", {"status": "kept"})
    sent = {"op": str(uuid4()), "kind": kind, "items": [{"key": key, "rev": 0, "after": after}]}
    with pytest.raises(BadAction, match="there is no"):
        store.act(read_request(sent, "ada", CLASSES)).result()


def test_everyone_is_answered_where_the_layer_cannot_be_read_and_the_store_goes_on(tmp_path):
    def unplugged(key):
        if key == "2":
            raise OSError("the disk is gone")
        return untouched(key)

    with ReviewStore(tmp_path / "review.sqlite", unplugged, top=CHANGES[-1]) as store:
        with pytest.raises(OSError, match="the disk is gone"):
            store.act(decide(2, 0)).result(timeout=10)
        assert store.act(decide(1, 0)).result(timeout=10).seq == 1
        assert [action.seq for action in read_actions(store.path)] == [1]


def test_a_review_goes_on_where_it_was(store):
    store.act(decide(1, 0)).result()
    store.act(decide(2, 0)).result()
    store.act(take_back()).result()
    store.close()
    with ReviewStore(store.path, untouched, top=CHANGES[-1]) as again:
        assert [status_of(again, key) for key in (1, 2)] == ["kept", "unreviewed"]
        assert again.act(take_back("redo")).result().seq == 4


def test_actions_can_be_neither_changed_nor_removed(store):
    store.act(decide(1, 0)).result()
    database = sqlite3.connect(store.path)
    for statement in ("UPDATE actions SET who = 'eve'", "DELETE FROM actions"):
        with pytest.raises(sqlite3.IntegrityError, match="actions stay"):
            database.execute(statement)
    database.close()


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\1" * 200, b"x" * 5000])
def test_a_damaged_file_is_refused_in_a_line_and_left(tmp_path, content):
    path = tmp_path / "review.sqlite"
    path.write_bytes(content)
    with pytest.raises(UnreadableInput, match="damaged, or not a review"):
        ReviewStore(path, untouched, top=CHANGES[-1])
    assert path.read_bytes() == content


def test_only_its_owner_can_read_the_file(store):
    assert store.path.stat().st_mode & 0o777 == 0o600


ASKED = st.tuples(
    st.sampled_from(["ada", "ben", "cleo"]),
    st.sampled_from(["decide", "decide", "decide", "undo", "redo", "look"]),
    st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3, unique=True),
    st.sampled_from(["kept", "rejected", "unsure", "unreviewed"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ASKED, max_size=30))
def test_the_state_is_what_the_actions_make_it(wanted):
    state, actions = ReviewState(untouched), []
    for who, kind, keys, status in wanted:
        if kind in ("undo", "redo"):
            request = take_back(kind, who)
        else:
            look = kind == "look"
            names = [f"cell 0 {keys[0] % 2}"] if look else [str(key) for key in keys]
            after = {"looked": status == "kept"} if look else {"status": status}
            items = [{"key": name, "rev": state.of(name).rev, "after": after} for name in names]
            request = read_request({"op": str(uuid4()), "kind": kind, "items": items}, who, CLASSES)
        try:
            action = state.draft().plan(request, "now")
        except BadAction:
            continue
        before = {item.key: state.of(item.key).fields for item in action.items}
        draft = state.draft()
        draft.apply(action)
        assert {key: state.of(key).fields for key in before} == before  # a draft leaves its state as it is
        state.take_over(draft)
        actions.append(action)
    again = fold(untouched, actions, CHANGES[-1])
    assert again.touched == state.touched
    assert again.stacks == state.stacks
    assert sum(again.tally(len(CHANGES))[name] for name in ("unreviewed", "kept", "rejected", "unsure")) == len(CHANGES)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CHANGES), st.sampled_from(["kept", "rejected"])), min_size=1, max_size=8))
def test_undoing_all_brings_back_the_start_and_redoing_all_the_end(decisions):
    state = ReviewState(untouched)

    def do(request):
        state.apply(state.plan(request, "now"))

    for key, status in decisions:
        do(decide(key, state.of(str(key)).rev, status))
    end = {key: state.of(str(key)).fields for key in CHANGES}
    for _ in decisions:
        do(take_back())
    assert all(state.of(str(key)).fields == untouched(str(key)) for key in CHANGES)
    for _ in decisions:
        do(take_back("redo"))
    assert {key: state.of(str(key)).fields for key in CHANGES} == end


def fill(store, acknowledged):
    for rev in range(1, 200):
        acknowledged.add(store.act(decide(1, rev, comment="x" * 2000)).result().seq)


def test_a_full_disk_makes_it_read_only_until_there_is_room(store):
    """A limit of the file's size is what a full disk is to SQLite."""
    store.act(decide(1, 0)).result()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    acknowledged = {1}
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
        with pytest.raises(DiskFull, match="what was acknowledged is kept"):
            fill(store, acknowledged)
        assert store.read_only
        assert {action.seq for action in read_actions(store.path)} == acknowledged
        assert store.state.seq == max(acknowledged)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    deadline = time.monotonic() + 10
    while store.read_only and time.monotonic() < deadline:
        time.sleep(0.05)
    assert store.read_only is None
    assert store.act(decide(2, 0)).result().seq == max(acknowledged) + 1


CLIENTS = """
import json, sys, threading
from pathlib import Path
from tests.review.test_store import CHANGES, CLASSES, untouched
from geochange.review.actions import read_request
from geochange.review.store import ReviewStore

path, first = Path(sys.argv[1]), int(sys.argv[2])
store, lock = ReviewStore(path, untouched, top=CHANGES[-1]), threading.Lock()

def client(number):
    for turn in range(10_000):
        op = f"{first + turn:032x}"[-24:] + f"{number:08x}"
        key = str(1 + number % 5)
        now = store.state.of(key)
        items = [{"key": key, "rev": now.rev, "after": {"status": ["kept", "rejected"][turn % 2]}}]
        request = read_request({"op": op, "kind": "decide", "items": items}, f"c{number}", CLASSES)
        try:
            action = store.act(request).result()
        except Exception:
            continue
        with lock:
            print(json.dumps([action.seq, action.op]), flush=True)

threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
for each in threads: each.start()
"""


def test_nothing_acknowledged_is_lost_where_the_server_is_killed(tmp_path):
    path, told, draw = tmp_path / "review.sqlite", [], random.Random(0)
    for turn in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENTS, path, str(1 + turn * 10_000)], stdout=subprocess.PIPE, text=True
        )
        lines = [process.stdout.readline()]
        time.sleep(draw.uniform(0.1, 0.5))
        process.kill()
        rest, _ = process.communicate()
        lines += rest.splitlines(keepends=True)
        told += [tuple(json.loads(line)) for line in lines if line.endswith("\n")]
    kept = [(action.seq, action.op) for action in read_actions(path)]
    assert len(told) > 30
    assert set(told) <= set(kept)
    assert len({op for _, op in kept}) == len(kept)
    assert [seq for seq, _ in kept] == [*range(1, len(kept) + 1)]
    fold(untouched, read_actions(path), CHANGES[-1])


def test_many_clients_at_once_lose_nothing(store):
    def client(number):
        key = str(1 + number % 5)
        done = 0
        while done < 20:
            try:
                store.act(decide(key, store.state.of(key).rev, ["kept", "rejected"][done % 2], f"c{number}")).result()
                done += 1
            except StaleAction:
                continue

    with ThreadPoolExecutor(8) as pool:
        wait([pool.submit(client, number) for number in range(8)])
    assert len(read_actions(store.path)) == store.state.seq == 160


@pytest.mark.parametrize(
    "sent",
    [
        [],
        {},
        {"op": "no", "kind": "decide", "items": []},
        {"op": str(UUID(int=1)), "kind": "drop", "items": []},
        {"op": str(UUID(int=1)), "kind": "decide", "items": []},
        {"op": str(UUID(int=1)), "kind": "undo", "items": [{"key": "1", "rev": 0, "after": {"status": "kept"}}]},
        *(
            {"op": str(UUID(int=1)), "kind": "decide", "items": [item]}
            for item in (
                {"key": "1", "rev": 0, "after": {}},
                {"key": "1", "rev": -1, "after": {"status": "kept"}},
                {"key": "1", "rev": True, "after": {"status": "kept"}},
                {"key": "1", "rev": 0, "after": {"status": "deleted"}},
                {"key": "1", "rev": 0, "after": {"label": "sea"}},
                {"key": "1", "rev": 0, "after": {"comment": "x" * 2001}},
                {"key": "1", "rev": 0, "after": {"geometry": "00"}},
                {"key": "cell 0 0", "rev": 0, "after": {"status": "kept"}},
            )
        ),
        {"op": str(UUID(int=1)), "kind": "decide", "items": [{"key": "1", "rev": 0, "after": {"status": "kept"}}] * 2},
    ],
)
def test_requests_that_are_not_what_they_must_be_are_refused(sent):
    with pytest.raises(BadAction):
        read_request(sent, "ada", CLASSES)


@pytest.mark.parametrize("who", ["", "  ", "x" * 41, "a\nb"])
def test_reviewers_have_names(who):
    with pytest.raises(BadAction, match="reviewer"):
        read_request({"op": str(uuid4()), "kind": "undo"}, who, CLASSES)


def test_a_review_stays_one_of_what_it_began_with(tmp_path):
    path = tmp_path / "review.sqlite"
    with ReviewStore(path, untouched, {"layer": "a"}, top=CHANGES[-1]):
        pass
    with ReviewStore(path, untouched, {"layer": "b"}, top=CHANGES[-1]) as store:  # nothing has been decided yet
        store.act(decide("1", 0)).result()
    with pytest.raises(UnreadableInput, match=r"review\.sqlite is a review of layer b, now a; move it away"):
        ReviewStore(path, untouched, {"layer": "a"}, top=CHANGES[-1])
    with ReviewStore(path, untouched, {"layer": "b"}, top=CHANGES[-1]) as store:
        assert status_of(store, "1") == "kept"

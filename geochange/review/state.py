"""What has been decided, as the actions so far make it: an action becomes a new state, or is refused. Pure."""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from geochange.polygons.features import UNREVIEWED
from geochange.review.actions import Action, BadAction, Effect, Fields, Request, StaleAction, is_cell

FOUND: Fields = {"status": UNREVIEWED, "comment": "", "geometry": None, "origin": "found"}
"""Fields of a change that nobody has touched, but for its label."""

LOOKED: Fields = {"looked": False}
"""Fields of a cell that nobody has looked at."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A change or cell that actions have touched."""

    rev: int
    """How many actions have touched it."""
    fields: Fields
    """All of its fields."""


@dataclass(frozen=True, slots=True)
class Stacks:
    """A reviewer's actions that can be taken back, and those taken back that can be done again; the last one last."""

    done: tuple[int, ...] = ()
    undone: tuple[int, ...] = ()


@dataclass
class ReviewState:
    """The state after some actions; changes and cells that none has touched are not in it."""

    untouched: Callable[[str], Fields | None]
    """All fields of a change or cell before anyone touched it; None where there is none with this key."""
    touched: MutableMapping[str, Touched] = field(default_factory=dict)
    stacks: MutableMapping[str, Stacks] = field(default_factory=dict)
    actions: MutableMapping[int, Action] = field(default_factory=dict)
    ops: MutableMapping[str, int] = field(default_factory=dict)
    seq: int = 0
    top: int = 0
    """The highest id of a change so far: new ones get those after it."""

    def draft(self) -> ReviewState:
        """Return a state that begins as this one, and leaves this one as it is."""
        return ReviewState(
            self.untouched,
            ChainMap({}, self.touched),
            ChainMap({}, self.stacks),
            ChainMap({}, self.actions),
            ChainMap({}, self.ops),
            self.seq,
            self.top,
        )

    def take_over(self, draft: ReviewState) -> None:
        """Become what a draft of this state has become."""
        for name in ("touched", "stacks", "actions", "ops"):
            getattr(self, name).update(getattr(draft, name).maps[0])
        self.seq, self.top = draft.seq, draft.top

    def of(self, key: str) -> Touched | None:
        """Return a change or cell; None where there is none."""
        if key in self.touched:
            return self.touched[key]
        fields = self.untouched(key)
        return None if fields is None else Touched(0, fields)

    def plan(self, request: Request, at: str) -> Action:
        """Return the action that a request amounts to now.

        Raises:
            StaleAction: somebody has touched one of its changes meanwhile.
            BadAction: a change or cell does not exist; or there is nothing to take back, or to do again.
        """
        if request.kind in ("undo", "redo"):
            return self._reverse(request, at)
        items = []
        stale = []
        top = self.top
        for wish in request.items:
            if not wish.key:
                top += 1
                items.append(Effect(str(top), 1, {**wish.after, "status": "deleted"}, wish.after))
                continue
            now = self.of(wish.key)
            if now is None:
                raise BadAction(f"there is no {wish.key if is_cell(wish.key) else f'change {wish.key}'}")
            if now.rev != wish.rev:
                stale.append(wish.key)
            elif now.fields.get("status") == "deleted":
                raise BadAction(f"change {wish.key} was deleted")
            before = {name: now.fields[name] for name in wish.after}
            items.append(Effect(wish.key, now.rev + 1, before, wish.after))
        if stale:
            raise StaleAction(f"{len(stale)} of {len(items)} have been changed meanwhile", stale)
        return Action(self.seq + 1, at, request.who, request.op, request.kind, tuple(items))

    def _reverse(self, request: Request, at: str) -> Action:
        """Plan to take the reviewer's last action back, or to do again what was taken back last."""
        stacks = self.stacks.get(request.who, Stacks())
        stack = stacks.done if request.kind == "undo" else stacks.undone
        if not stack:
            raise BadAction(f"there is nothing to {request.kind}")
        of = self.actions[stack[-1]]
        items, stale = [], []
        for item in of.items:
            now = self.of(item.key)
            assert now is not None
            there, wanted = (item.after, item.before) if request.kind == "undo" else (item.before, item.after)
            if any(now.fields[name] != value for name, value in there.items()):
                stale.append(item.key)
            items.append(Effect(item.key, now.rev + 1, there, wanted))
        if stale:
            raise StaleAction(f"cannot {request.kind}: others have changed {len(stale)} of {len(items)} since", stale)
        return Action(self.seq + 1, at, request.who, request.op, request.kind, tuple(items), of.seq)

    def apply(self, action: Action) -> None:
        """Go on to the state after an action."""
        for item in action.items:
            now = self.of(item.key)
            if now is None and item.rev == 1 and "origin" in item.after and int(item.key) == self.top + 1:
                now, self.top = Touched(0, {}), self.top + 1
            if now is None or item.rev != now.rev + 1:
                raise ValueError(f"action {action.seq} does not follow from those before it")
            self.touched[item.key] = Touched(item.rev, {**now.fields, **item.after})
        self.actions[action.seq], self.ops[action.op] = action, action.seq
        self.stacks[action.who] = _after(self.stacks.get(action.who, Stacks()), action)
        self.seq = action.seq

    def tally(self, total: int) -> dict[str, int]:
        """Count changes of each status, of so many in all, and cells looked at."""
        touched = list(self.touched.items())  # at once: another thread may go on with it
        changes = {key: each for key, each in touched if not is_cell(key)}
        counts = Counter(str(each.fields["status"]) for each in changes.values())
        counts[UNREVIEWED] += total - sum(each.fields["origin"] == "found" for each in changes.values())
        looked = sum(bool(each.fields.get("looked")) for key, each in touched if is_cell(key))
        return {**{name: counts[name] for name in (UNREVIEWED, "kept", "rejected", "unsure")}, "cells": looked}


def _after(stacks: Stacks, action: Action) -> Stacks:
    match action.kind:
        case "undo":
            return Stacks(stacks.done[:-1], (*stacks.undone, stacks.done[-1]))
        case "redo":
            return Stacks((*stacks.done, stacks.undone[-1]), stacks.undone[:-1])
        case _:
            return Stacks((*stacks.done, action.seq))


def fold(untouched: Callable[[str], Fields | None], actions: Iterable[Action], top: int) -> ReviewState:
    """Return the state after actions, in their order.

    Args:
        untouched: as `ReviewState` has it.
        actions: from the first on.
        top: the highest id of a change that was found.

    Raises:
        ValueError: one of them does not follow from those before it.
    """
    state = ReviewState(untouched, top=top)
    for action in actions:
        state.apply(action)
    return state


def present(key: str, now: Touched) -> Mapping[str, Any]:
    """Return what a client is told of a change or cell."""
    return {"key": key, "rev": now.rev, **now.fields}

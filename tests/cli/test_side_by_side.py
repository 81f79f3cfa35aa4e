"""Two runs with one output, at once."""

import random

import pytest

from tests.every_command import call_of, files_of, is_hidden, timed_commands, unreadable
from tests.forked_commands import run_forked

STARTS = 5


@pytest.mark.long
def test_two_runs_with_one_output_leave_a_whole_one(tmp_path):
    draw, failed = random.Random(0), []
    commands, whole, seconds = timed_commands(tmp_path)
    pairs = [
        (name, tmp_path / f"{name} {place} {how}", how, draw.uniform(0, seconds[name]))
        for name in commands
        for how in ("", "--overwrite")
        for place in range(STARTS)
    ]
    cases = [
        {
            "arguments": call_of(commands[name], own),
            "beside": call_of(commands[name], own, *how.split()),
            "after": after,
        }
        for name, own, how, after in pairs
    ]
    for (name, own, how, after), found in zip(pairs, run_forked(tmp_path, cases), strict=True):
        ends = {(each["code"], len(each["lines"])) for each in (found, found["beside"])}
        wrong = list(unreadable(own, files_of(own)))
        if (0, 0) not in ends or ends - {(0, 0), (2, 1)}:
            wrong.append("another end")
        if missing := files_of(whole[name]) - files_of(own):
            wrong.append(f"{missing} are missing")
        if hidden := [path for path in files_of(own) if is_hidden(path)]:
            wrong.append(f"{hidden} are left")
        failed += [(name, how, after, why, found) for why in wrong]
    print(f"{len(pairs)} pairs of runs")
    assert not failed, "\n".join(map(str, failed))

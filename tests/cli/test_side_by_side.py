"""Two runs with one output, at once."""

import random

import pytest

from tests.every_command import every_command, files_of, read_all, write_inputs
from tests.forked_commands import run_forked

STARTS = 5


@pytest.mark.long
def test_two_runs_with_one_output_leave_a_whole_one(tmp_path):
    inputs, draw, failed = tmp_path / "inputs", random.Random(0), []
    inputs.mkdir()
    write_inputs(inputs)
    calls = every_command(inputs)

    def arguments(name, own, *more):
        own.mkdir(exist_ok=True)
        *given, output = calls[name]
        return [*given, str(own / output), "-q", *more]

    whole = {name: tmp_path / f"{name} whole" for name in calls}
    run_forked(tmp_path, [{"arguments": arguments(name, tmp_path / f"{name} warm")} for name in calls])
    alone = run_forked(tmp_path, [{"arguments": arguments(name, own)} for name, own in whole.items()])
    seconds = {name: ended["seconds"] for name, ended in zip(calls, alone, strict=True)}
    pairs = [
        (name, tmp_path / f"{name} {place} {how}", how, draw.uniform(0, seconds[name]))
        for name in calls
        for how in ("", "--overwrite")
        for place in range(STARTS)
    ]
    cases = [
        {"arguments": arguments(name, own), "beside": arguments(name, own, *how.split()), "after": after}
        for name, own, how, after in pairs
    ]
    for (name, own, how, after), found in zip(pairs, run_forked(tmp_path, cases), strict=True):
        ends = [(each["code"], len(each["lines"])) for each in (found, found["beside"])]
        if (0, 0) not in ends or {*ends} - {(0, 0), (2, 1)}:
            failed.append((name, how, after, found))
        if not files_of(own) >= files_of(whole[name]):
            failed.append((name, how, after, found, files_of(own)))
        if any(part.startswith(".geochange") for path in files_of(own) for part in path.parts):
            failed.append((name, how, after, "scratch", files_of(own)))
        for path in files_of(own):
            try:
                read_all(own / path)
            except Exception as error:
                failed.append((name, how, after, path, error))
    print(f"{len(pairs)} pairs of runs")
    assert not failed, "\n".join(map(str, failed))

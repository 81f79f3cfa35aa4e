import multiprocessing
import os
import signal

import pytest
from hypothesis import settings

from tests.open_files import become_windows, watched

# `AS_WINDOWS=1 pytest FILES` runs tests as on Windows, as far as Linux can: with the calls of that system, new
# processes that begin anew, and no file replaced, moved or removed that a process of ours holds open.
AS_WINDOWS = bool(os.environ.get("AS_WINDOWS"))
if AS_WINDOWS:
    become_windows()
    multiprocessing.set_start_method("spawn", force=True)

# Tests run side by side, one a core: threads of one that wait for those of another cost ten times what they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Tests send Ctrl-C and other signals to themselves and to what they start: the background of a script would ignore
# them.
signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("SIGTERM", "SIGHUP"):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), signal.SIG_DFL)

# Machines are shared: how long an example takes says nothing. A run of the tests says the same each time; to look for
# more examples: `pytest --hypothesis-profile=search`.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """What tests keep is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=AS_WINDOWS)
def no_open_file_is_touched(tmp_path_factory):
    """Fail where a file was replaced, moved or removed that a process of ours held open."""
    with watched(tmp_path_factory.getbasetemp(), refusing=True) as notes:
        yield
    assert notes == []


@pytest.fixture
def run(capsys):
    """Run a command; its exit code, what it printed, and its lines on stderr."""
    from geochange.cli import main

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err.strip().splitlines()

    return call

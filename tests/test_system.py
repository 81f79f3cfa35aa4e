"""What differs between operating systems is called in one module."""

import ast
import errno
import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

import geochange
from geochange.errors import OutputInTheWay
from geochange.names import fault_of_name
from tests.open_files import watchable, watched, windows_system

LIBRARY = Path(geochange.__file__).parent
POSIX_MODULES = {
    *["fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "msvcrt", "winreg", "_winapi"]
}
NAMES = """
os O_NOFOLLOW WNOHANG chown chroot fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid
os getpgrp getpriority getresuid getsid getuid initgroups kill killpg lchown lockf major minor mkfifo mknod nice openpty
os pathconf pipe2 posix_fadvise posix_fallocate posix_spawn pread pwrite sched_getaffinity sched_setaffinity sendfile
os setegid seteuid setgid setpgid setpriority setsid setuid statvfs fstatvfs sync sysconf tcgetpgrp ttyname uname wait
os replace rename renames link symlink wait3 wait4 waitpid getxattr setxattr listxattr startfile
signal SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGUSR1 SIGUSR2 SIGXFSZ
signal SIGWINCH alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait
signal sigwait sigwaitinfo CTRL_C_EVENT CTRL_BREAK_EVENT
time tzset clock_settime pthread_getcpuclockid
socket AF_UNIX socketpair
select poll epoll kqueue
"""
LINKS = {"symlink_to", "hardlink_to", "lchmod"}
"""Methods of paths."""
LINES = [line.split() for line in NAMES.strip().splitlines()]
POSIX_NAMES = {module: {name for first, *names in LINES if first == module for name in names} for module, *_ in LINES}


def names_used(text):
    """Names that differ between systems, as a module's text uses them."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in POSIX_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in POSIX_MODULES:
            yield node.module
        elif isinstance(node, ast.ImportFrom):
            own = POSIX_NAMES.get(node.module or "", set())
            yield from (f"{node.module}.{each.name}" for each in node.names if each.name in own)
        elif isinstance(node, ast.Attribute) and node.attr in POSIX_NAMES.get(ast.unparse(node.value), set()):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            one = len(node.args) == 1 and not node.keywords
            if node.func.attr in LINKS or (node.func.attr in ("replace", "rename") and one):  # `str.replace` takes two
                yield f"Path.{node.func.attr}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import fcntl", "fcntl"),
        ("import os\nos.kill(1, 9)", "os.kill"),
        ("from signal import SIGKILL", "signal.SIGKILL"),
        ("import os\nos.replace(a, b)", "os.replace"),
        ("a.with_name('b').replace(b)", "Path.replace"),
        ("a.symlink_to(b)", "Path.symlink_to"),
    ],
)
def test_a_name_of_one_system_is_found(text, name):
    assert list(names_used(text)) == [name]


def test_no_other_module_calls_what_differs_between_systems():
    used = {str(path.relative_to(LIBRARY)): sorted(set(names_used(path.read_text()))) for path in LIBRARY.rglob("*.py")}
    assert {module for module, names in used.items() if names} == {"system.py"}, used


@pytest.fixture
def windows():
    """What `system` is on Windows."""
    return windows_system()


needs_open_files = pytest.mark.skipif(not watchable(), reason="the system does not tell which files are open")


@needs_open_files
def test_windows_removes_the_file_of_a_lock_after_it(windows, tmp_path):
    with watched(tmp_path, refusing=True) as notes, windows.locked(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text().endswith(f"process {os.getpid()}")
        assert (tmp_path / "lock").stat().st_size < 1000
        with pytest.raises(BlockingIOError, match=f"process {os.getpid()}"), windows.locked(tmp_path / "lock"):
            pass
    assert notes == []
    assert list(tmp_path.iterdir()) == []


@needs_open_files
def test_the_lock_of_windows_is_left_to_who_has_opened_it(windows, tmp_path):
    with watched(tmp_path, refusing=True) as notes, windows.locked(tmp_path / "lock"):
        waiting = (tmp_path / "lock").open("rb")
    assert len(notes) == 1
    waiting.close()
    with windows.locked(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_windows_heeds_the_closing_of_its_window(windows):
    assert len(windows.STOP_SIGNALS) == 3
    assert windows.NAMES_FORBIDDEN


@needs_open_files
def test_what_another_program_holds_for_long_is_reported(windows, tmp_path, monkeypatch):
    monkeypatch.setattr(windows.time, "sleep", lambda _: None)
    for name in ("new", "old"):
        (tmp_path / name).write_text(name)
    with watched(tmp_path, refusing=True), (tmp_path / "old").open():
        with pytest.raises(OutputInTheWay, match=r"old is held open by a program; close it there"):
            windows.replace(tmp_path / "new", tmp_path / "old")
        with pytest.raises(OutputInTheWay, match="old is held open"):
            windows.remove(tmp_path / "old")
    assert (tmp_path / "old").read_text() == "old"
    windows.replace(tmp_path / "new", tmp_path / "old")
    windows.remove(tmp_path / "old")
    windows.remove(tmp_path / "old")
    assert list(tmp_path.iterdir()) == []


@needs_open_files
def test_what_another_program_holds_for_a_moment_is_waited_for(windows, tmp_path, monkeypatch):
    (tmp_path / "new").write_text("new")
    held = (tmp_path / "old").open("w")
    monkeypatch.setattr(windows.time, "sleep", lambda _: held.close())
    with watched(tmp_path, refusing=True) as notes:
        windows.replace(tmp_path / "new", tmp_path / "old")
    assert len(notes) == 1
    assert (tmp_path / "old").read_text() == "new"


def test_windows_replaces_what_is_read_only(windows, tmp_path, monkeypatch):
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    (tmp_path / "old").chmod(0o444)
    replace = os.replace

    def refusing(source, target):
        if not os.stat(target).st_mode & stat.S_IWRITE:
            raise PermissionError(errno.EACCES, "as Windows answers")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    monkeypatch.setattr(windows.time, "sleep", lambda _: None)
    windows.replace(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"


@pytest.mark.parametrize("links", [True, False])
def test_windows_gives_second_names_without_symbolic_links(windows, tmp_path, monkeypatch, links):
    def no_links(*_):
        raise OSError(errno.EPERM, "no links")

    (tmp_path / "a.gdb").mkdir()
    (tmp_path / "a.gdb" / "x").write_text("x")
    (tmp_path / "a.gpkg").write_text("a")
    monkeypatch.setattr(os, "symlink", no_links)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for suffix in ("gdb", "gpkg"):
        windows.stand_in(tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}")
    assert (tmp_path / "b.gdb" / "x").read_text() == "x"
    assert (tmp_path / "b.gpkg").read_text() == "a"


@pytest.mark.parametrize("name", ["here", "windows"])
def test_files_come_from_a_plain_path(name, windows, tmp_path, monkeypatch):
    system = windows if name == "windows" else geochange.system
    odd = tmp_path / "odd!"
    odd.mkdir()
    with system.writable_under(odd) as plain:
        assert "!" not in plain.name
        (plain / "x").write_text("new")
        system.bring(plain / "x", odd / "y")
        monkeypatch.setattr(shutil, "copyfile", lambda *_: 1 / 0)
    assert [path.name for path in odd.iterdir()] == ["y"]
    assert (odd / "y").read_text() == "new"


def test_a_device_is_no_name_of_an_output_on_windows(tmp_path, monkeypatch):
    from geochange import files

    files.require_writable([tmp_path / "nul.tif"], overwrite=False)
    monkeypatch.setattr(files, "NAMES_FORBIDDEN", True)
    for name in ("nul.tif", "a:b.gpkg", "a."):
        assert fault_of_name(name)
        with pytest.raises(OutputInTheWay, match=r"Windows forbids .*; choose another one"):
            files.require_writable([tmp_path / name], overwrite=False)


def test_threads_exclude_each_other_on_windows(windows, tmp_path):
    found = []

    def take():
        try:
            with windows.locked(tmp_path / "lock"):
                found.append("locked")
        except BlockingIOError:
            found.append("refused")

    with windows.locked(tmp_path / "lock"):
        other = threading.Thread(target=take)
        other.start()
        other.join()
    take()
    assert found == ["refused", "locked"]

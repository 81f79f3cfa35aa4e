"""What differs between operating systems is called in one module."""

import ast
from pathlib import Path

import pytest

import geochange

LIBRARY = Path(geochange.__file__).parent
POSIX_MODULES = {
    *["fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "msvcrt", "winreg", "_winapi"]
}
NAMES = """
os O_NOFOLLOW WNOHANG chown chroot fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid
os getpgrp getpriority getresuid getsid getuid initgroups kill killpg lchown lockf major minor mkfifo mknod nice openpty
os pathconf pipe2 posix_fadvise posix_fallocate posix_spawn pread pwrite sched_getaffinity sched_setaffinity sendfile
os setegid seteuid setgid setpgid setpriority setsid setuid statvfs fstatvfs sync sysconf tcgetpgrp ttyname uname wait
os wait3 wait4 waitpid getxattr setxattr listxattr startfile
signal SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGUSR1 SIGUSR2 SIGXFSZ
signal SIGWINCH alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait
signal sigwait sigwaitinfo CTRL_C_EVENT CTRL_BREAK_EVENT
time tzset clock_settime pthread_getcpuclockid
socket AF_UNIX socketpair
select poll epoll kqueue
"""
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


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import fcntl", "fcntl"),
        ("import os\nos.kill(1, 9)", "os.kill"),
        ("from signal import SIGKILL", "signal.SIGKILL"),
    ],
)
def test_a_name_of_one_system_is_found(text, name):
    assert list(names_used(text)) == [name]


def test_no_other_module_calls_what_differs_between_systems():
    used = {str(path.relative_to(LIBRARY)): sorted(set(names_used(path.read_text()))) for path in LIBRARY.rglob("*.py")}
    assert {module for module, names in used.items() if names} == {"system.py"}, used

"""Attack 21: leave the sandbox, outlive it, starve it, or end what runs it."""

from collections.abc import Callable
from pathlib import Path

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

FORK_BOMB = """
import os

def scale(x, factor):
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""

DAEMON = """
import contextlib, os, signal, sys, time

def scale(x, factor):
    if os.fork() == 0:
        with contextlib.suppress(OSError):
            os.setsid()
        for number in (1, 2, 3, 13, 15, 18, 20):
            signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            open("marker", "w").write("daemon-of-the-attack")
            while True:
                time.sleep(0.01)
        os._exit(0)
    return x * factor
"""

KILL_EVERYTHING = """
import os, signal
done = []
for pid in [-1, 1, os.getppid(), *range(2, 60)]:
    if pid in (0, os.getpid()):
        continue
    for number in (signal.SIGKILL, signal.SIGSTOP):
        try:
            os.kill(pid, number)
            if pid != -1:  # for -1, Linux returns 0 even if it may signal nobody
                done.append(pid)
        except OSError:
            pass
print("signalled", done)
"""

NEIGHBOURS = """
import os, resource
def tried(name, action):
    try:
        action()
        print("DONE", name)
    except (OSError, PermissionError) as error:
        print("refused", name)
others = [os.getppid() or 2, 1 if os.getpid() != 1 else 2]
for other in others:
    tried("affinity", lambda: os.sched_setaffinity(other, {0}))
    tried("scheduler", lambda: os.sched_setscheduler(other, os.SCHED_IDLE, os.sched_param(0)))
    tried("priority", lambda: os.setpriority(os.PRIO_PROCESS, other, 19))
    tried("rlimit", lambda: resource.prlimit(other, resource.RLIMIT_NOFILE, (64, 64)))
tried("priority of the user", lambda: os.setpriority(os.PRIO_USER, 0, 19))
"""

SYSTEM_CALLS = """
import ctypes, os, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, result):
    print("refused" if result == -1 else "DONE", name)
tried("user namespace", libc.unshare(0x10000000))
tried("network namespace", libc.unshare(0x40000000))
tried("mount", libc.mount(b"tmpfs", b"/usr", b"tmpfs", 0, None))
tried("ptrace", libc.ptrace(16, os.getppid() or 2, 0, 0))
tried("sysv shared memory", libc.shmget(0x1234, 4096, 0o1666))
tried("message queue", libc.msgget(0x1234, 0o1666))
tried("keyring", libc.syscall(250, 0, -3, 0, 0, 0))
tried("bpf", libc.syscall(321, 0, 0, 0))
tried("perf", libc.syscall(298, 0, 0, -1, -1, 0))
tried("io_uring", libc.syscall(425, 8, 0))
tried("timer that sends any signal", libc.syscall(222, 1, 0, ctypes.byref(ctypes.c_int())))
with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
    tried("lingering socket", libc.setsockopt(sock.fileno(), 1, 13, struct.pack("ii", 1, 9999), 8))
    tried("signal of a descriptor", libc.fcntl(sock.fileno(), 10, 18))
tried("setuid", libc.setresuid(0, 0, 0) if os.getuid() else -1)
for name, family in (("inet", 2), ("inet6", 10), ("vsock", 40), ("alg", 38), ("packet", 17)):
    try:
        socket.socket(family, socket.SOCK_DGRAM, 0)
        print("DONE", name)
    except OSError:
        print("refused", name)
"""

NETWORK = """
import socket
names = [name for _, name in socket.if_nameindex()]
print(sorted(name for name in names if not name.startswith(("sit", "tun", "ip6"))))
"""


def test_a_fork_bomb_ends_with_its_child(attack: Attack) -> None:
    result = attack(HONEST + FORK_BOMB)
    assert result.cause("scale") in (Cause.TIMEOUT, Cause.OUT_OF_MEMORY)
    assert result.cause("Counter") is Cause.NONE
    assert attack(HONEST).judgement.score == 10


def test_a_daemon_does_not_outlive_its_problem(attack: Attack) -> None:
    assert attack(HONEST + DAEMON).cause("scale") is Cause.NONE
    left = [path for path in Path("/proc").glob("[0-9]*/cwd") if _resolves_to_marker(path)]
    assert left == []
    assert attack(HONEST).judgement.score == 10


def _resolves_to_marker(cwd: Path) -> bool:
    try:
        return (cwd / "marker").read_text() == "daemon-of-the-attack"
    except OSError:
        return False


def test_nothing_outside_can_be_signalled(spy: Callable[[str], list[str]], attack: Attack) -> None:
    assert spy(KILL_EVERYTHING) == ["signalled []"]
    assert attack(HONEST).judgement.score == 10


def test_the_fork_server_cannot_be_slowed(spy: Callable[[str], list[str]]) -> None:
    lines = spy(NEIGHBOURS)
    assert len(lines) == 9
    assert [line for line in lines if not line.startswith("refused")] == []


def test_system_calls_of_escapes_are_refused(spy: Callable[[str], list[str]]) -> None:
    lines = spy(SYSTEM_CALLS)
    assert len(lines) == 19
    assert [line for line in lines if not line.startswith("refused")] == []


def test_there_is_no_network(spy: Callable[[str], list[str]]) -> None:
    assert spy(NETWORK) == ["['lo']"]


MOVES = """
import os
os.makedirs("a"); os.makedirs("b")
open("a/file", "w").close()
os.rename("a/file", "b/file")
print(os.listdir("b"))
for place in ("/dev/shm/file", "/tmp/file"):
    try:
        os.rename("b/file", place)
        print("moved")
    except OSError as error:
        print("denied")
"""


def test_files_move_within_the_home_and_not_out_of_it(spy: Callable[[str], list[str]]) -> None:
    assert spy(MOVES) == ["['file']", "denied", "denied"]

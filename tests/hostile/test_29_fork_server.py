"""Reach for the fork server: its memory, environment, descriptors and control socket."""

from collections.abc import Callable

DESCRIPTORS = """
import os, stat
kinds = []
for fd in range(0, 4096):
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        continue
    kind = "socket" if stat.S_ISSOCK(mode) else "pipe" if stat.S_ISFIFO(mode) else "file"
    kinds.append((fd, kind))
print(kinds)
"""

ENVIRONMENT = """
import os
print(sorted(os.environ))
"""

MEMORY = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(16)
local = Iovec(ctypes.cast(buffer, ctypes.c_void_p), 16)
remote = Iovec(id(os), 16)
for pid in {os.getppid(), 1, 2, 3} - {os.getpid(), 0}:
    got = libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    print("READ" if got > 0 else "refused")
    for name in ("mem", "environ", "maps", "fd", "cwd", "cmdline", "status", "root"):
        path = f"/proc/{pid}/{name}"
        try:
            os.stat(path)
            os.listdir(path) if name in ("fd", "cwd", "root") else open(path).close()
            print("OPENED", pid, name)
        except OSError:
            print("refused")
"""

CONTROL = """
import os, socket
opened = []
for folder in ("/sandbox", "/sandbox/channel", "/run", "/var/run", "/tmp"):
    for name in ("judge.sock", "docker.sock", "control"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            try:
                sock.connect(os.path.join(folder, name))
                opened.append(name)
            except OSError:
                pass
print("connected", opened)
"""


def test_only_the_channel_and_the_output_pipe_are_open(spy: Callable[[str], list[str]]) -> None:
    (line,) = spy(DESCRIPTORS)
    kinds = eval(line)
    assert [kind for fd, kind in kinds if fd in (1, 2)] == ["pipe", "pipe"]
    others = [kind for fd, kind in kinds if fd > 2]
    assert others.count("socket") == 1
    assert others.count("file") == 1  # the reply memory, mapped
    assert len(others) == 2


def test_the_environment_is_the_one_that_confinement_sets(spy: Callable[[str], list[str]]) -> None:
    (line,) = spy(ENVIRONMENT)
    names = set(eval(line))
    assert names <= {
        "CUDA_VISIBLE_DEVICES",
        "GLOO_SOCKET_IFNAME",
        "HOME",
        "LANG",
        "OMP_NUM_THREADS",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "TMPDIR",
        "TORCHINDUCTOR_CACHE_DIR",
        "TRITON_CACHE_DIR",
        "TRITON_INTERPRET",
    }


def test_memory_and_proc_of_others_are_out_of_reach(spy: Callable[[str], list[str]]) -> None:
    lines = spy(MEMORY)
    assert len(lines) >= 18
    assert set(lines) == {"refused"}


def test_no_control_socket_can_be_reached(spy: Callable[[str], list[str]]) -> None:
    assert spy(CONTROL) == ["connected []"]

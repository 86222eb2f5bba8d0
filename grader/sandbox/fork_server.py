"""How the warm process is started and greeted, the same for every backend.

Takes: a command or a listener. Gives: a connected control socket. Does not cover: the wall itself.
"""

import contextlib
import importlib.util
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from grader.errors import SandboxError
from grader.runner import protocol
from grader.runner.cuda import api as cuda_api
from grader.sandbox.contract import SandboxSpec

RUNNER_FOLDER = Path(__file__).resolve().parent.parent / "runner"
SANDBOX_FOLDER = "/sandbox"
HELLO_SECONDS = 120.0
MAPS = Path("/proc/self/maps")
_SYSTEM_FOLDER = re.compile(r"(/usr)?/lib(32|64)?(/[a-z0-9_]+-linux-gnu)?")
"""Where the loader looks by itself (ld.so(8)), and where Debian has it look."""

ENTRY = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from runner import fork_server; fork_server.main(sys.argv[1:])"
)
"""Run with `python -I -c`: nothing of the user's environment, only the runner's folder added."""


def environment(threads: int) -> dict[str, str]:
    """Return the whole environment of a warm process; nothing of the judge's.

    The allocator's thresholds are fixed at their initial value: glibc would raise them with every
    large block that is freed, so that peak memory depended on what ran before (by up to 10 MiB).
    """
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        "HOME": "/nonexistent",
        "MALLOC_MMAP_THRESHOLD_": "131072",
        "MALLOC_TRIM_THRESHOLD_": "131072",
        "MALLOC_ARENA_MAX": "1",
    }


def driver_environment(device: str, maps: Path = MAPS) -> dict[str, str]:
    """Return where a box on a GPU finds CUDA's driver: where the judge itself has found it.

    A machine may name that folder to the judge in LD_LIBRARY_PATH alone. One in which the loader
    looks anyway is not named: what else lies there would go before torch's own libraries.

    Args:
        device: of the wall.
        maps: what is loaded here, as in proc_pid_maps(5).
    """
    if device != "cuda" or not maps.exists():
        return {}
    with contextlib.suppress(cuda_api.CudaCallFailed):  # the box says what is missing
        cuda_api.load_library()
    words = (line.split(maxsplit=5) for line in maps.read_text().splitlines())
    paths = {Path(word[5]) for word in words if len(word) == 6}
    folders = {str(path.parent) for path in paths if path.name.startswith("libcuda.so")}
    named = sorted(folder for folder in folders if not _SYSTEM_FOLDER.fullmatch(folder))
    return {"LD_LIBRARY_PATH": ":".join(named)} if named else {}


def interpreter() -> str:
    """Return the path of an interpreter that has torch: the one that runs the judge."""
    if importlib.util.find_spec("torch") is None:
        raise SandboxError("torch is not installed", hint="run `make setup`")
    return sys.executable


def greet(control: socket.socket, log: Path | None = None) -> None:
    """Wait for the warm process to say hello.

    Raises:
        SandboxError: if it does not, within `HELLO_SECONDS`.
    """
    control.settimeout(HELLO_SECONDS)
    begin = time.monotonic()
    try:
        message, _ = protocol.receive(control)
    except (protocol.ProtocolError, OSError) as error:
        log_text = _read_log(log)[-800:] if log else ""
        raise SandboxError(
            f"the warm process did not start ({error}, after {time.monotonic() - begin:.1f} s)",
            hint=log_text or "run `grader doctor`",
        ) from error
    if "hello" not in message:
        raise SandboxError("the warm process said something else than hello")


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A warm process that the judge started itself and that has said hello.

    Attributes:
        control: to the warm process.
        stop: ends it and what its end takes along, and removes its folder; may be called twice.
        log: what it printed.
    """

    control: socket.socket
    stop: Callable[[], None]
    log: Callable[[], str]


def start_here(
    spec: SandboxSpec, *, prefix: Sequence[str], folder: Path, worker: str, fds: Sequence[int] = ()
) -> Running:
    """Start the warm process as a child of the judge, over an inherited socket.

    Args:
        spec: what the wall must hold.
        prefix: the program that makes the wall, with its options; empty for none.
        folder: of the wall, on the judge's side; removed when it stops.
        worker: the folder above `runner/`, as the warm process sees it.
        fds: further descriptors for `prefix`.

    Raises:
        SandboxError: as `greet`.
    """
    log = folder / "warm.log"
    ours, theirs = socket.socketpair()
    program = [interpreter(), "-I", "-B", "-c", ENTRY, worker, f"fd:{theirs.fileno()}", spec.device]
    with theirs, log.open("wb") as out:
        process = subprocess.Popen(
            [*prefix, *program, *spec.preload],
            pass_fds=[theirs.fileno(), *fds],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**environment(spec.threads), **driver_environment(spec.device)},
            start_new_session=True,
        )

    def stop() -> None:
        ours.close()
        process.kill()  # a pid namespace dies with its first process, and everything in it
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    with contextlib.ExitStack() as undo:
        undo.callback(stop)
        greet(ours, log)
        undo.pop_all()
    return Running(control=ours, stop=stop, log=lambda: _read_log(log))


def _read_log(log: Path) -> str:
    return log.read_text(errors="replace") if log.exists() else ""

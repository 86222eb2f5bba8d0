"""Starts the fork server and waits until it is ready, in the same way for every backend."""

import contextlib
import importlib.util
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from grader.errors import SandboxError
from grader.runner import protocol
from grader.runner.cuda import api as cuda_api
from grader.sandbox.contract import SandboxSpec

RUNNER_FOLDER = Path(__file__).resolve().parent.parent / "runner"
SANDBOX_FOLDER = "/sandbox"
HELLO_SECONDS = 120.0
LOG_CHARACTERS = 800
"""How much of the end of a log is shown in a message."""
MAPS = Path("/proc/self/maps")
_SYSTEM_FOLDER = re.compile(r"(/usr)?/lib(32|64)?(/[a-z0-9_]+-linux-gnu)?")
"""Folders that the loader searches by default (ld.so(8)), and those that Debian adds."""

ENTRY = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from runner import fork_server; fork_server.main(sys.argv[1:])"
)
"""Run with `python -I -c`: it ignores the user's environment and adds only the runner's folder."""


def environment(threads: int) -> dict[str, str]:
    """Return the whole environment of a fork server; nothing of the judge's.

    The allocator's thresholds are fixed at their initial values. Otherwise glibc raises them when
    large blocks are freed, and peak memory depends on what ran before (by up to 10 MiB).
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
    """Return the variable that lets a worker on a GPU find CUDA's driver where the judge found it.

    Some machines name that folder only in the judge's LD_LIBRARY_PATH. A folder that the loader
    searches anyway is left out: other libraries in it would come before torch's own. `maps` names
    the judge's mapped files, as in proc_pid_maps(5).
    """
    if device != "cuda" or not maps.exists():
        return {}
    with contextlib.suppress(cuda_api.CudaCallFailed):  # the worker reports what is missing
        cuda_api.load_library()
    fields = (line.split(maxsplit=5) for line in maps.read_text().splitlines())
    paths = {Path(field[5]) for field in fields if len(field) == 6}
    folders = {str(path.parent) for path in paths if path.name.startswith("libcuda.so")}
    named = sorted(folder for folder in folders if not _SYSTEM_FOLDER.fullmatch(folder))
    return {"LD_LIBRARY_PATH": ":".join(named)} if named else {}


def interpreter() -> str:
    """Return the path of the judge's own interpreter, if it has torch."""
    if importlib.util.find_spec("torch") is None:
        raise SandboxError("torch is not installed", hint="run `make setup`")
    return sys.executable


def await_hello(control: socket.socket, log: Path | None = None) -> None:
    """Wait until the fork server reports that it is ready.

    Raises:
        SandboxError: if it does not within `HELLO_SECONDS`.
    """
    control.settimeout(HELLO_SECONDS)
    begin = time.monotonic()
    try:
        message, _ = protocol.receive(control)
    except (protocol.ProtocolError, OSError) as error:
        raise SandboxError(
            f"the fork server did not start ({error}, after {time.monotonic() - begin:.1f} s)",
            hint=(_read_log(log) if log else "") or "run `grader doctor`",
        ) from error
    if "hello" not in message:
        raise SandboxError("the fork server's first message was not its hello")


def start_here(
    spec: SandboxSpec, *, prefix: Sequence[str], folder: Path, root: str, fds: Sequence[int] = ()
) -> tuple[socket.socket, Callable[[], None], Callable[[], str]]:
    """Start the fork server as a child of the judge; return `control`, `stop`, `log` of `Started`.

    Args:
        spec: of the sandbox.
        prefix: the program that makes the sandbox, with its options; empty for none.
        folder: of the sandbox, on the judge's side; removed when it stops.
        root: the folder above `runner/`, as the fork server sees it.
        fds: further descriptors for `prefix`.

    Raises:
        SandboxError: as `await_hello`.
    """
    log, (ours, theirs) = folder / "fork_server.log", socket.socketpair()
    python = [interpreter(), "-I", "-B", "-c", ENTRY, root, f"fd:{theirs.fileno()}"]
    with theirs, log.open("wb") as out:
        process = subprocess.Popen(
            [*prefix, *python, spec.device, *spec.preload],
            pass_fds=[theirs.fileno(), *fds],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment(spec.threads) | driver_environment(spec.device),
            start_new_session=True,
        )

    def stop() -> None:
        ours.close()
        process.kill()  # a pid namespace dies with its first process, and everything in it
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    with contextlib.ExitStack() as undo:
        undo.callback(stop)
        await_hello(ours, log)
        undo.pop_all()
    return ours, stop, lambda: _read_log(log)


def _read_log(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_CHARACTERS:] if log.exists() else ""

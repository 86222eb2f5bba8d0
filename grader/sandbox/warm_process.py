"""How the warm process is started and greeted, the same for every backend.

Takes: a command or a listener. Gives: a connected control socket. Does not cover: the wall itself.
"""

import importlib.util
import os
import socket
import time
from pathlib import Path

from grader.errors import SandboxError
from grader.runner import wire

RUNNER_FOLDER = Path(__file__).resolve().parent.parent / "runner"
BOX_FOLDER = "/box"
HELLO_SECONDS = 120.0

ENTRY = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from runner import warm; warm.main(sys.argv[1:])"
)
"""Run with `python -I -c`: nothing of the user's environment, only the runner's folder added."""


def environment(threads: int) -> dict[str, str]:
    """Return the whole environment of a warm process; nothing of the judge's."""
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        "HOME": "/nonexistent",
    }


def interpreter() -> str:
    """Return the path of an interpreter that has torch: the one that runs the judge."""
    import sys

    if importlib.util.find_spec("torch") is None:
        raise SandboxError("torch is not installed", hint="run `make setup`")
    return sys.executable


def greet(control: socket.socket, log: "os.PathLike[str] | None" = None) -> None:
    """Wait for the warm process to say hello.

    Raises:
        SandboxError: if it does not, within `HELLO_SECONDS`.
    """
    control.settimeout(HELLO_SECONDS)
    begin = time.monotonic()
    try:
        message, _ = wire.receive(control)
    except (wire.WireError, OSError) as error:
        said = Path(log).read_text(errors="replace")[-800:] if log else ""
        raise SandboxError(
            f"the warm process did not start ({error}, after {time.monotonic() - begin:.1f} s)",
            hint=said or "run `grader doctor`",
        ) from error
    if "hello" not in message:
        raise SandboxError("the warm process said something else than hello")

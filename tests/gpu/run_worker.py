"""Starts `device_worker.py` in a process of its own, with descriptors of blocks."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start_worker(what, *arguments, fds=()):
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "tests/gpu/device_worker.py"),
            what,
            *map(str, (*fds, *arguments)),
        ],
        pass_fds=fds,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def run_worker(what, *arguments, fds=()):
    """Run a worker to its end and return what it printed."""
    process = start_worker(what, *arguments, fds=fds)
    printed, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return printed.strip()

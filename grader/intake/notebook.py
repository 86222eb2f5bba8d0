"""Turns a notebook into a module, by a reader in a separate interpreter, which may fail alone.

What the reader keeps is decided in `intake.reader`. The notebook is not executed, here or there.
"""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from grader.errors import IntakeError, SandboxError
from grader.intake.files import MIB
from grader.intake.submission import CellLine

READER_FOLDER = Path(__file__).resolve().parent
READER_ENTRY = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from reader import serve; serve.main()"
)
"""Run with `-I -S`: only the standard library and the reader itself can be imported."""

WALL_SECONDS = 120.0
"""Far more than the reader's own limit of CPU time: only an overloaded machine needs as much."""

REPLY_BYTES = 64 * MIB
OUTPUT_NOTICE_BYTES = 1 * MIB
SAVE_AGAIN = "open the notebook in Jupyter or Colab, save it, and hand in the saved file"

Json = Any  # the reader's reply, until it is checked


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadNotebook:
    """A notebook as a module.

    Attributes:
        cell_lines: the origin of each line of `text`.
        notices: what was left out, for the student.
        notebook_json: all cells in format 4.5, without outputs and attachments.
    """

    text: str
    cell_lines: tuple[CellLine, ...]
    notices: tuple[str, ...]
    notebook_json: str


def read_notebook(raw: bytes) -> ReadNotebook:
    """Read a notebook without executing any of it.

    Raises:
        IntakeError: if it cannot be read: the student's fault.
        SandboxError: if the reader could not be run: our fault.
    """
    reply = _run_reader(raw)
    try:
        form = json.loads(reply)
        if "message" in form:
            raise IntakeError(str(form["message"]), hint=str(form["hint"]))
        lines = [(str(text), int(cell), int(line)) for text, cell, line in form["lines"]]
        notices = [str(notice) for notice in form["notices"]]
        notebook = _rebuild(form["cells"])
    except (ValueError, TypeError, KeyError) as error:
        raise _refuse_unread("what was read from it is damaged") from error
    left_out_bytes = len(raw) - len(notebook.encode())
    if left_out_bytes > OUTPUT_NOTICE_BYTES:
        notices.append(
            f"outputs and attachments ({left_out_bytes / MIB:.1f} MiB) were left out; to hand in a "
            "smaller file, clear them before you save"
        )
    return ReadNotebook(
        text="".join(f"{text}\n" for text, _, _ in lines),
        cell_lines=tuple(CellLine(cell=cell, line=line) for _, cell, line in lines),
        notices=tuple(notices),
        notebook_json=notebook,
    )


@contextmanager
def one_reader() -> Iterator[None]:
    """While this is open, one process forks a reader for each notebook, which is ten times faster.

    Each notebook still has a process and limits of its own. Without `fork` nothing changes.
    """
    if not hasattr(os, "fork") or not hasattr(socket, "send_fds"):
        yield
        return
    server = _Server()
    _SERVERS.append(server)
    try:
        yield
    finally:
        _SERVERS.remove(server)
        server.close()


@dataclass(slots=True)
class _Server:
    """The process that forks readers: started at the first notebook, and again if it was lost."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: "list[tuple[subprocess.Popen[bytes], socket.socket]]" = field(default_factory=list)

    def read(self, source: IO[bytes], answer: IO[bytes]) -> int:
        """Return the exit status of the reader of one notebook.

        Raises:
            OSError: if no status comes in time.
        """
        with self._lock:
            try:
                return self._ask(source, answer)
            except OSError:
                self.close()
                raise

    def _ask(self, source: IO[bytes], answer: IO[bytes]) -> int:
        if not self._running:
            ours, theirs = socket.socketpair()
            with theirs:
                process = subprocess.Popen(
                    [*_command(), "many"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            self._running.append((process, ours))
        ((_, control),) = self._running
        control.settimeout(WALL_SECONDS)
        socket.send_fds(control, [b"r"], [source.fileno(), answer.fileno()])
        status = control.recv(4, socket.MSG_WAITALL)
        if len(status) < 4:
            raise OSError("the process that starts readers has ended")
        return int(struct.unpack("=i", status)[0])

    def close(self) -> None:
        """End the process, and a reader that still runs."""
        while self._running:
            process, control = self._running.pop()
            control.close()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


_SERVERS: list[_Server] = []
"""Those that are open; one, or none."""


def _command() -> list[str]:
    return [sys.executable, "-I", "-S", "-c", READER_ENTRY, str(READER_FOLDER)]


def _run_reader(raw: bytes) -> bytes:
    """Return what the reader wrote; by files, not pipes, so that neither side waits."""
    try:
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as answer:
            source.write(raw)
            source.seek(0)
            if _SERVERS:
                status = _SERVERS[-1].read(source, answer)
            else:
                status = subprocess.run(
                    _command(),
                    stdin=source,
                    stdout=answer,
                    stderr=subprocess.DEVNULL,
                    timeout=WALL_SECONDS,
                    check=False,
                ).returncode
            answer.seek(0)
            reply = answer.read(REPLY_BYTES + 1)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(
            f"cannot read a notebook: {error}",
            hint="check free memory and free space for temporary files, then grade again",
        ) from error
    _require_finished(status)
    if len(reply) > REPLY_BYTES:
        raise _refuse_unread("it holds too much text")
    return reply


def _require_finished(status: int) -> None:
    if status == 0:
        return
    if status == -getattr(signal, "SIGKILL", 9):
        raise SandboxError(
            "the machine ended the process that reads a notebook",
            hint="check free memory, then grade again",
        )
    if status == -getattr(signal, "SIGXCPU", 24):
        raise _refuse_unread("reading it took too long")
    raise _refuse_unread("Python's own parser failed on it")


def _refuse_unread(found: str) -> IntakeError:
    return IntakeError(
        f"expected a notebook that can be read in a few seconds, found one that cannot: {found}",
        hint=f"remove very long or deeply nested code; {SAVE_AGAIN}",
    )


def _rebuild(cells: Json) -> str:
    """Return a notebook of format 4.5 with the same cells and nothing else that was handed in."""
    rebuilt = []
    for number, (kind, source, tags) in enumerate(cells, 1):
        cell: dict[str, object] = {
            "cell_type": str(kind),
            "id": f"cell-{number}",
            "metadata": {"tags": [str(tag) for tag in tags]} if tags else {},
            "source": str(source),
        }
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        rebuilt.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps(
        {
            "cells": rebuilt,
            "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
            "nbformat": 4,
            "nbformat_minor": 5,
        },
        ensure_ascii=False,
        indent=1,
    )

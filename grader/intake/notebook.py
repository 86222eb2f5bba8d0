"""Reads notebooks and modules, by a reader in a separate interpreter, which may fail alone.

What the reader keeps is decided in `intake.reader`. Nothing is executed, here or there.
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
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from grader.errors import IntakeError, SandboxError
from grader.intake.files import MIB
from grader.intake.submission import (
    NO_REQUIREMENTS,
    BrokenStatement,
    CellLine,
    Damage,
    Requirements,
    SourceFile,
)

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
class ReadSource:
    """Source files as they will be graded.

    Attributes:
        files: the module first; its name is empty for a notebook.
        notices: what was left out, for the student.
        broken: what cannot be graded.
    """

    files: tuple[SourceFile, ...]
    notices: tuple[str, ...] = ()
    broken: tuple[BrokenStatement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadNotebook:
    """A notebook.

    Attributes:
        source: the module that its cells make, then the modules that they write.
        cuda: C++ sources that its cells hold, by name, if they are graded instead of the module;
            the name is `.cu` for cells that name no file.
        notebook_json: all cells in format 4.5, without outputs and attachments.
    """

    source: ReadSource
    cuda: dict[str, str]
    notebook_json: str


def read_notebook(
    raw: bytes,
    requirements: Requirements = NO_REQUIREMENTS,
    *,
    own: Collection[str] = (),
    cuda: bool = False,
) -> ReadNotebook:
    """Read a notebook without executing any of it.

    `own` are names by which a cell could import or write the module that is graded; with `cuda`,
    C++ is graded as well.

    Raises:
        IntakeError: if it cannot be read: the student's fault.
        SandboxError: if the reader could not be run: our fault.
    """
    request = _request(requirements, own=own, cuda=cuda)
    reply = _run_reader(json.dumps(request).encode() + b"\n" + raw)
    try:
        form = _open_reply(reply)
        names = tuple(str(name) for name in form["names"])
        source = _read_source([form["module"], *form["files"]], names)
        sources = {str(name): str(text) for name, text in form["cuda"].items()}
        notebook = _rebuild(form["cells"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _refuse_unread("what was read from it is damaged") from error
    left_out_bytes = len(raw) - len(notebook.encode())
    if left_out_bytes > OUTPUT_NOTICE_BYTES:
        notice = (
            f"outputs and attachments ({left_out_bytes / MIB:.1f} MiB) were left out; to hand in a "
            "smaller file, clear them before you save"
        )
        source = replace(source, notices=(*source.notices, notice))
    return ReadNotebook(source=source, cuda=sources, notebook_json=notebook)


def read_modules(files: Sequence[SourceFile], requirements: Requirements) -> ReadSource:
    """Return modules without what cannot or need not run; each line keeps its number.

    The first is the one that problems are in. Modules that the reader cannot read stay as they are:
    the worker will say what is wrong.

    Raises:
        SandboxError: if the reader could not be run: our fault.
    """
    request = _request(requirements, own=(), cuda=False)
    request["files"] = [[file.name, file.text] for file in files]
    try:
        form = _open_reply(_run_reader(json.dumps(request).encode()))
        read = _read_source(form["files"], ())
    except (IntakeError, ValueError, TypeError, KeyError):
        return ReadSource(files=tuple(files))
    texts = {file.name: file.text.removesuffix("\n") for file in read.files}
    if any(texts.get(file.name, "").count("\n") != file.text.count("\n") for file in files):
        return ReadSource(files=tuple(files))
    return replace(read, files=tuple(replace(file, text=texts[file.name]) for file in files))


def _request(requirements: Requirements, *, own: Collection[str], cuda: bool) -> dict[str, Json]:
    exports, allowed = list(requirements.exports), list(requirements.allowed)
    return {"exports": exports, "allowed": allowed, "own": list(own), "cuda": cuda}


def _open_reply(reply: bytes) -> Json:
    form = json.loads(reply)
    if "message" in form:
        raise IntakeError(str(form["message"]), hint=str(form["hint"]))
    return form


def _read_source(modules: Json, cell_names: tuple[str, ...]) -> ReadSource:
    files: list[SourceFile] = []
    notices: list[str] = []
    broken: list[BrokenStatement] = []
    for module in modules:
        lines = [(str(text), int(cell), int(line)) for text, cell, line in module["lines"]]
        at = tuple(CellLine(cell=cell, line=line) for _, cell, line in lines if cell)
        text = "".join(f"{text}\n" for text, _, _ in lines)
        name = str(module["name"])
        files.append(SourceFile(name=name, text=text, cell_lines=at, cell_names=cell_names))
        notices += [str(notice) for notice in module["notices"]]
        for kind, names, place, message in module["damaged"]:
            missing = tuple(str(one) for one in names)
            broken.append(
                BrokenStatement(
                    kind=Damage(kind), names=missing, place=str(place), message=str(message)
                )
            )
    return ReadSource(files=tuple(files), notices=tuple(notices), broken=tuple(broken))


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


def _run_reader(request: bytes) -> bytes:
    """Return what the reader wrote; by files, not pipes, so that neither side waits."""
    try:
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as answer:
            source.write(request)
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

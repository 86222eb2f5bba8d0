"""Runs in the reader's process: limits itself, reads one notebook, writes the result, and ends.

Called with `many` it forks such a process for each notebook that it is sent. The result is one JSON
object: either `message` and `hint`, or `cells`, `lines` and `notices`.
"""

import contextlib
import json
import os
import sys
from typing import BinaryIO

from .assembly import assemble
from .cells import SAVE_AGAIN, Cell, Refusal, read_cells

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 20
REPLY_BYTES = 64 << 20
MAX_PROSE_CHARS = 4 << 20


def main() -> None:
    """Read one notebook; or with `many` as argument, one after the other until the socket ends."""
    if sys.argv[1:] == ["many"]:
        _serve_many()
    else:
        _answer(sys.stdin.buffer, sys.stdout.buffer)


def _serve_many() -> None:
    """Fork a reader for each pair of files that comes through stdin, and send its exit status."""
    import gc
    import socket
    import struct

    gc.disable()  # no reader lives long enough to need it, and each would copy all pages
    control = socket.socket(fileno=0)
    while True:
        asked, files, _, _ = socket.recv_fds(control, 1, 2)
        if not asked:
            return
        child = os.fork()
        if child == 0:
            control.close()
            _answer_and_end(*files)
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        control.sendall(struct.pack("=i", os.waitstatus_to_exitcode(status)))


def _answer_and_end(source: int, answer: int) -> None:
    status = 1
    try:
        with os.fdopen(source, "rb") as notebook, os.fdopen(answer, "wb") as reply:
            _answer(notebook, reply)
        status = 0
    finally:
        os._exit(status)


def _answer(notebook: BinaryIO, answer: BinaryIO) -> None:
    """Read one notebook, in a process that ends afterwards."""
    _limit()
    try:
        reply = _read(notebook.read())
    except Refusal as refusal:
        reply = {"message": refusal.message, "hint": refusal.hint}
    except MemoryError:
        message = (
            "expected a notebook of ordinary size, found one that fills the memory for reading"
        )
        reply = {"message": message, "hint": SAVE_AGAIN}
    except RecursionError:
        reply = {"message": "expected a notebook, found one nested too deeply", "hint": SAVE_AGAIN}
    text = json.dumps(reply, ensure_ascii=False)
    answer.write(text.encode("utf-8", "replace"))


def _limit() -> None:
    """Keep hostile input from exhausting the machine; not every system has every limit."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return
    limits = (
        (resource.RLIMIT_AS, MEMORY_BYTES, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS + 5),
        (resource.RLIMIT_FSIZE, REPLY_BYTES, REPLY_BYTES),
        (resource.RLIMIT_CORE, 0, 0),
    )
    for kind, soft, hard in limits:
        with contextlib.suppress(ValueError, OSError):  # macOS refuses some of them
            resource.setrlimit(kind, (soft, hard))


def _read(raw: bytes) -> dict[str, object]:
    cells = read_cells(raw)
    module = assemble(cells)
    return {
        "lines": [[line.text, line.cell, line.line] for line in module.lines],
        "notices": module.notices,
        "cells": _shorten(cells),
    }


def _shorten(cells: tuple[Cell, ...]) -> list[object]:
    """Return kind, text and tags of each cell; text cells (pictures in Markdown) up to a limit."""
    shown: list[object] = []
    left = MAX_PROSE_CHARS
    for cell in cells:
        text = cell.source
        if cell.kind != "code":
            if len(text) > left:
                text = f"*({len(text)} characters were left out here)*"
            left -= len(text)
        shown.append([cell.kind, text, cell.tags])
    return shown

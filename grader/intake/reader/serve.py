"""Runs in the reader's process: limits itself, reads one request, writes the result, and ends.

The request is a line of JSON, then the bytes of a notebook; or the line alone, with the text of
modules. The result is one JSON object: `message` and `hint`, or what was read (see `_answer`).
Called with `many` it forks such a process for each request that it is sent.
"""

import ast
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from .assembly import SCRATCH, Line, Module, Section, Wanted, build
from .cells import SAVE_AGAIN, Cell, Refusal, read_cells
from .magics import CleanCell, cell_magic, clean
from .notices import Kind
from .scope import imported_module, is_outside, script_names
from .selection import ONLY_IN_NOTEBOOKS, Zone

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 20
REPLY_BYTES = 64 << 20
MAX_PROSE_CHARS = 4 << 20
MAX_CODE_CHARS = 1 << 20

EXPORT = "export"
_WRITES = frozenset({"writefile", "file"})
_CUDA = frozenset({"cu", "cuda", "nvcc", "cuda_run"})
_CUDA_ENDINGS = (".cu", ".cuh", ".h", ".hpp")


def main() -> None:
    """Answer one request; or with `many` as argument, one after the other until the socket ends."""
    if sys.argv[1:] == ["many"]:
        _serve_many()
    else:
        _respond(sys.stdin.buffer, sys.stdout.buffer)


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
            _respond_and_end(*files)
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        control.sendall(struct.pack("=i", os.waitstatus_to_exitcode(status)))


def _respond_and_end(source: int, answer: int) -> None:
    status = 1
    try:
        with os.fdopen(source, "rb") as request, os.fdopen(answer, "wb") as reply:
            _respond(request, reply)
        status = 0
    finally:
        os._exit(status)


def _respond(source: BinaryIO, answer: BinaryIO) -> None:
    """Answer one request, in a process that ends afterwards."""
    _limit()
    try:
        reply = _answer(source.read())
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


def _answer(request: bytes) -> dict[str, object]:
    line, _, raw = request.partition(b"\n")
    form = json.loads(line)
    wanted = Wanted(
        exports=frozenset(form["exports"]),
        allowed=frozenset(form["allowed"]),
        own=frozenset(form["own"]),
        cuda=form["cuda"],
    )
    if "files" in form:
        return {"files": [_form(n, m) for n, m in read_files(form["files"], wanted).items()]}
    cells = read_cells(raw)
    read = assemble(cells, wanted)
    return {
        "module": _form("", read.module),
        "files": [_form(name, module) for name, module in read.files.items()],
        "cuda": read.cuda,
        "cells": _shorten(cells),
        "names": [cell.name for cell in cells],
    }


def _form(name: str, module: Module) -> dict[str, object]:
    return {
        "name": name,
        "lines": [[line.text, line.cell, line.line] for line in module.lines],
        "notices": module.notices,
        "damaged": [[d.kind, d.names, d.place, d.message] for d in module.damaged],
    }


def read_files(files: Sequence[tuple[str, str]], wanted: Wanted) -> dict[str, Module]:
    """Return modules by their name; the first is the one that problems are in.

    Of each other one is needed what the rest names.
    """
    codes = {name: clean(text, is_file=True) for name, text in files}
    made: dict[str, Module] = {}
    for name, code in codes.items():
        asked = wanted
        if _is_ordinary(code, wanted):
            made[name] = Module(body=[Line(text=t, cell=0, line=0) for t in code.lines])
            continue
        if made:
            named = _identifiers(other for at, other in codes.items() if at != name)
            asked = replace(wanted, exports=named)
        made[name] = build([Section(code=code, zone=Zone.GRADED, place=name)], asked)
    return made


def _is_ordinary(code: CleanCell, wanted: Wanted) -> bool:
    """Return whether a file has nothing that could be left out; most have not."""
    if code.broken or code.removed:
        return False
    for statement in code.tree.body:
        if script_names(statement):
            return False
        if isinstance(statement, ast.Import | ast.ImportFrom):
            modules = [imported_module(statement, alias) for alias in statement.names]
            if any(module and is_outside(module, wanted.allowed) for module in modules):
                return False
    text = "\n".join(code.lines)
    return not any(name in text for name in ONLY_IN_NOTEBOOKS)


def _identifiers(codes: Iterable[CleanCell]) -> frozenset[str]:
    """Return all names, attributes and imported names of some code."""
    found: set[str] = set()
    for code in codes:
        for node in ast.walk(code.tree):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.alias):
                found.add(node.name)
    return frozenset(found)


@dataclass(slots=True, kw_only=True)
class Notebook:
    """What a notebook holds.

    Attributes:
        files: modules that its cells write, by their name.
        cuda: C++ sources by name, if those are graded; the name is empty for `%%cuda` cells.
    """

    module: Module
    files: dict[str, Module] = field(default_factory=dict)
    cuda: dict[str, str] = field(default_factory=dict)


def assemble(cells: Sequence[Cell], wanted: Wanted) -> Notebook:
    """Return what a notebook holds.

    Raises:
        Refusal: if no cell holds anything to grade.
    """
    code = [cell for cell in cells if cell.kind == "code"]
    if not code:
        raise Refusal(
            f"expected code cells, found none among {len(cells)} cells",
            "write your code into code cells, save the notebook, and hand it in",
        )
    if sum(len(cell.source) for cell in code) > MAX_CODE_CHARS:
        raise Refusal(
            f"expected at most {MAX_CODE_CHARS >> 20} MiB of code, found more",
            "remove data from the code cells",
        )
    files = _written(code)
    own = [name for name in files if name.removesuffix(".py").lower() in wanted.own]
    stems = frozenset(name.removesuffix(".py") for name in files)
    inside = replace(wanted, allowed=wanted.allowed | stems)
    module = build(_sections(code, files, own), inside)
    beside = {n: _build_file(n, files, inside) for n in files if n.endswith(".py") and n not in own}
    if module.is_empty and len(beside) == 1:  # the only file that it writes
        module = beside.popitem()[1]
    notebook = Notebook(module=module, files=beside)
    _add_cuda(notebook, files, wanted)
    for cell in code:
        if cell.is_course_test and EXPORT not in cell.tags:
            module.ledger.add(Kind.COURSE_TEST, cell.source.split("\n", 1)[0], cell.name)
    for name in beside:
        module.ledger.add(Kind.FILE, name, files[name][0].name)
    if module.is_empty and not module.damaged and not notebook.cuda:
        _refuse_empty(code, module)
    return notebook


def _refuse_empty(code: list[Cell], module: Module) -> None:
    many = f"{len(code)} code {'cell' if len(code) == 1 else 'cells'}"
    where = f"the cells tagged `{EXPORT}`" if any(EXPORT in c.tags for c in code) else many
    notices = "".join(f"; {notice}" for notice in module.notices[:2])
    raise Refusal(
        f"expected imports, functions, classes or constants, found none in {where}{notices}",
        "check that you handed in the notebook that holds your work, and that you saved it",
    )


def _written(code: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Return the cells that make each file (`%%writefile`); those of `%%cuda` make one, `.cu`."""
    found: dict[str, list[Cell]] = {}
    for cell in code:
        magic, arguments = cell_magic(cell.source)
        if _is_closed(cell):
            continue
        if magic in _CUDA:
            found.setdefault(".cu", []).append(cell)
        elif magic in _WRITES and (words := arguments.split()):
            name = words[-1].strip("'\"").rpartition("/")[2]
            if name.endswith((".py", *_CUDA_ENDINGS)):
                found[name] = [*found.get(name, []), cell] if "-a" in words else [cell]
    return found


def _is_closed(cell: Cell) -> bool:
    return EXPORT not in cell.tags and (SCRATCH in cell.tags or cell.is_course_test)


def _sections(
    code: Sequence[Cell], files: dict[str, list[Cell]], own: Sequence[str]
) -> list[Section]:
    """Return the cells that make the module, those of a file with its own name among them."""
    graded = [cell for name in own for cell in files[name]]
    beside = [cell for name, cells in files.items() if name not in own for cell in cells]
    others = Zone.OPEN if graded or any(EXPORT in cell.tags for cell in code) else Zone.CHOSEN
    sections = []
    for cell in code:
        if cell in graded:
            sections.append(_file_section(cell))
        elif cell not in beside:
            zone = Zone.GRADED if EXPORT in cell.tags else others
            zone = Zone.CLOSED if _is_closed(cell) else zone
            code_cell = clean(cell.source)
            sections.append(Section(code=code_cell, zone=zone, place=cell.name, number=cell.number))
    return sections


def _body(cell: Cell) -> str:
    """Return a cell without its first line, the magic, which becomes empty."""
    lines = cell.source.split("\n")
    magic = next(index for index, line in enumerate(lines) if line.strip())
    return "\n".join(["" if index == magic else line for index, line in enumerate(lines)])


def _file_section(cell: Cell) -> Section:
    code = clean(_body(cell), is_file=True)
    return Section(code=code, zone=Zone.GRADED, place=cell.name, number=cell.number)


def _build_file(name: str, files: dict[str, list[Cell]], wanted: Wanted) -> Module:
    """Return a module that cells write; what is needed of it is not known: all of it."""
    sections = [_file_section(cell) for cell in files[name]]
    allowed = wanted.allowed | wanted.own
    return build(sections, replace(wanted, allowed=allowed, own=frozenset()))


def _add_cuda(notebook: Notebook, files: dict[str, list[Cell]], wanted: Wanted) -> None:
    """Add the C++ sources of a notebook without Python that is graded, or note them."""
    sources = {name: cells for name, cells in files.items() if name.endswith(_CUDA_ENDINGS)}
    if wanted.cuda and not notebook.module.defines(wanted.exports):
        if any(name.endswith(".cu") and name != ".cu" for name in sources):
            sources.pop(".cu", None)  # programs that try the kernels of a file
        notebook.cuda = {n: "\n".join(map(_body, cells)) for n, cells in sources.items()}
        return
    for cell in sorted((c for cells in sources.values() for c in cells), key=lambda c: c.number):
        shown = cell.source.strip().split("\n", 1)[0]
        notebook.module.ledger.add(Kind.CUDA, shown, cell.name)


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

"""Joins kernels of `kernels/` and what else a reference needs into one file, to enter a box alone.

Takes: names and sources of files. Gives: the text of a module without relative imports. Does not
cover: which files, and what comes before and behind them (see `build.py` of an assignment).

Left out are imports, docstrings of modules, oracles and arithmetic. A name that two files define
differently is given its file's name in front; one that they define by the same text stands once.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = re.compile(r"naive_\w+|bytes_moved|flops")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One definition of a file, with the comments above and the docstring below it.

    Attributes:
        file: name of the file, without its ending.
        names: what it defines.
        text: its source.
        borrowed: names that its file takes from another one, and that file.
    """

    file: str
    names: tuple[str, ...]
    text: str
    borrowed: Mapping[str, str]


def kernels(files: Collection[str], *, without: Collection[str] = ()) -> list[Piece]:
    """Return the definitions of files in `kernels/`, but for some names."""
    found = (
        pieces_of(file, (ROOT / "kernels" / f"{file}.py").read_text(encoding="utf-8"))
        for file in files
    )
    return [piece for pieces in found for piece in pieces if piece.names[0] not in without]


def pieces_of(file: str, source: str) -> list[Piece]:
    """Return the definitions of a file, in order.

    Raises:
        ValueError: a statement is neither definition, import nor docstring.
    """
    lines = source.splitlines()
    tree = ast.parse(source)
    borrowed = {
        alias.name: (node.module or "").removeprefix("kernels.")
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname is None
    }
    found: list[Piece] = []
    begin = 0
    for node in tree.body:
        text = "\n".join(lines[begin : node.end_lineno]).strip("\n")
        begin = node.end_lineno or 0
        if isinstance(node, ast.Import | ast.ImportFrom | ast.If):  # the If is for type checkers
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if found:  # the docstring of a constant
                last = found.pop()
                found.append(replace(last, text=f"{last.text}\n{text}"))
            continue
        found.append(Piece(file=file, names=_defined(node), text=text, borrowed=borrowed))
    return [piece for piece in found if not LEFT_OUT.fullmatch(piece.names[0])]


def _defined(node: ast.stmt) -> tuple[str, ...]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return (name,)
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return (name,)
        case ast.Assign(targets=[ast.Tuple(elts=several)]):
            return tuple(ast.unparse(one) for one in several)
    raise ValueError(f"line {node.lineno}: neither definition, import nor docstring")


def joined(pieces: list[Piece], names: Mapping[tuple[str, str], str] | None = None) -> str:
    """Return the text of all pieces, in which every name has one meaning.

    Args:
        pieces: in the order in which they shall stand.
        names: by file and name, what to call it if another file has the name too.
    """
    texts = {(name, piece.text) for piece in pieces for name in piece.names}
    ambiguous = {name for name, count in Counter(name for name, _ in texts).items() if count > 1}
    written: set[str] = set()
    parts: list[str] = []
    for piece in pieces:
        text = piece.text
        own = {n: piece.file for p in pieces if p.file == piece.file for n in p.names}
        files = {**piece.borrowed, **own}
        for name in sorted(files.keys() & ambiguous):
            new = (names or {}).get((files[name], name)) or _with_file(files[name], name)
            text = re.sub(rf"\b{name}\b", new, text)
        if text not in written:
            parts.append(text)
        written.add(text)
    return "\n\n\n".join(parts)


def _with_file(file: str, name: str) -> str:
    return f"{file.upper()}_{name}" if name.isupper() else f"_{file}_{name.lstrip('_')}"


def formatted(text: str) -> str:
    """Return Python source in the project's format."""
    config = str(ROOT / "pyproject.toml")
    command = [sys.executable, "-m", "ruff", "format", "--config", config, "-"]
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=ROOT)
    return ran.stdout

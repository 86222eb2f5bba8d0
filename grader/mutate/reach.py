"""Which definitions of a submission's files the problems' exported names reach.

Takes: files and names. Gives: top-level statements by file. Does not cover: methods by themselves:
who reaches a class reaches all of it.
"""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from grader.intake.submission import SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A statement at the top of a file, and the names that it binds."""

    node: ast.stmt
    names: tuple[str, ...]


Key = tuple[str, str]
"""A file and a name in it."""


def reached(
    files: Sequence[SourceFile], exports: Iterable[str]
) -> Mapping[str, tuple[Definition, ...]]:
    """Return, by file, the definitions that the exported names need, in order.

    Args:
        files: the submission, its entry first.
        exports: names that are called from outside, in the entry.

    Raises:
        SyntaxError: if a file is not Python.
    """
    known = {file.name: tuple(_definitions(ast.parse(file.text).body)) for file in files}
    places = {
        (file, name): definition
        for file, definitions in known.items()
        for definition in definitions
        for name in definition.names
    }
    found: set[int] = set()
    waiting: list[Key] = [(files[0].name, name) for name in exports]
    seen: set[Key] = set(waiting)
    while waiting:
        file, name = waiting.pop()
        if (file, name) not in places:
            continue
        node = places[file, name].node
        found.add(id(node))
        for key in _used(file, name, node, known):
            if key not in seen:
                seen.add(key)
                waiting.append(key)
    return {
        file: tuple(one for one in definitions if id(one.node) in found)
        for file, definitions in known.items()
    }


def _used(
    file: str, name: str, node: ast.stmt, known: Mapping[str, tuple[Definition, ...]]
) -> Iterator[Key]:
    """Yield what a definition of a name uses, in its file or in another one of the submission."""
    if isinstance(node, ast.ImportFrom):
        module = (node.module or "").rpartition(".")[2]
        target = next((one for one in known if PurePosixPath(one).stem == module), "")
        for alias in node.names:
            if (alias.asname or alias.name) == name:
                yield target, alias.name
        return
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield file, part.id


def _definitions(body: Iterable[ast.stmt]) -> Iterator[Definition]:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                yield Definition(node=node, names=(node.name,))
            case ast.Import() | ast.ImportFrom():
                bound = tuple(alias.asname or alias.name for alias in node.names)
                yield Definition(node=node, names=bound)
            case ast.Assign() | ast.AnnAssign():
                stored = [
                    part.id
                    for part in ast.walk(node)
                    if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
                ]
                yield Definition(node=node, names=tuple(stored))
            case _:
                yield Definition(node=node, names=())


def users_of(
    files: Sequence[SourceFile],
) -> Callable[[Iterable[str]], Mapping[str, frozenset[int]]]:
    """Return a function that gives, by file, the lines in which one of some names is used."""
    lines: dict[str, dict[str, set[int]]] = {}
    for file in files:
        for part in ast.walk(ast.parse(file.text)):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load):
                lines.setdefault(part.id, {}).setdefault(file.name, set()).add(part.lineno)

    def users(names: Iterable[str]) -> Mapping[str, frozenset[int]]:
        found: dict[str, frozenset[int]] = {}
        for name in names:
            for file, used in lines.get(name, {}).items():
                found[file] = found.get(file, frozenset()) | used
        return found

    return users

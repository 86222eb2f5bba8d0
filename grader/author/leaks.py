"""Looks for pieces of a reference in what students get.

Takes: the files of a bundle, and the folders of assignment and reference. Gives: what leaked. Does
not cover: answers in other words; this finds copies of files and of long lines.

Names are judged outside the package alone: a module of the grader may be called `cases.py`.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

MIN_LINE_CHARACTERS = 41
PACKAGE_PREFIX = "grader/"
SHARED_PREFIX = "grader/_assignments/"

_TEXT_FOR_STUDENTS = re.compile(r"""^[rf]?(["']).*\1[,)]*$""")
"""A line that is nothing but a string: a label or a message, which public cases show."""


def find_leaks(
    members: Mapping[str, bytes], reference: Path, shared: Iterable[str]
) -> tuple[str, ...]:
    """Return a sentence for every piece of `reference` in `members`.

    Args:
        members: the bundle's files by name; archives among them are searched, too.
        reference: folder with the answers.
        shared: texts that students may see by design; their lines are no leaks.
    """
    files = {path: path.read_bytes() for path in sorted(reference.rglob("*")) if _counts(path)}
    opened = dict(_open_archives(members))
    hashes = {hashlib.sha256(content).digest(): path for path, content in files.items() if content}
    names = {path.relative_to(reference).as_posix(): path for path in files}
    leaks: list[str] = []
    for name, content in opened.items():
        source = hashes.get(hashlib.sha256(content).digest())
        if source is not None:
            leaks.append(f"{name} is {source}")
        inside = name.rsplit("!", 1)[-1]
        if not inside.startswith(PACKAGE_PREFIX) or inside.startswith(SHARED_PREFIX):
            leaks += [
                f"{name} is called like {path}"
                for tail, path in names.items()
                if _ends(inside, tail)
            ]
    leaks += _line_leaks(opened, files, shared)
    return tuple(leaks)


def long_lines(text: str) -> set[str]:
    """Return the stripped lines of `text` that are long enough to tell one author from another."""
    lines = (line.strip() for line in text.splitlines())
    return {line for line in lines if len(line) >= MIN_LINE_CHARACTERS}


def _line_leaks(
    opened: Mapping[str, bytes], files: Mapping[Path, bytes], shared: Iterable[str]
) -> list[str]:
    known = set().union(*(long_lines(text) for text in shared))
    everything = b"\n".join(opened.values())
    leaks: list[str] = []
    for path, content in files.items():
        for line in sorted(long_lines(content.decode("utf-8", errors="replace")) - known):
            if _is_innocent(line):
                continue
            forms = {line.encode(), json.dumps(line)[1:-1].encode()}
            if any(form in everything for form in forms):
                where = next(n for n, c in opened.items() if any(form in c for form in forms))
                leaks.append(f"{where} holds a line of {path}: {line}")
    return leaks


def _is_innocent(line: str) -> bool:
    anyones = ("from ", "import ", "@dataclass(")
    return line.startswith(anyones) or _TEXT_FOR_STUDENTS.match(line) is not None


def _open_archives(members: Mapping[str, bytes]) -> Iterable[tuple[str, bytes]]:
    for name, content in members.items():
        yield name, content
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                inner = {
                    f"{name}!{info.filename}": archive.read(info) for info in archive.infolist()
                }
            yield from _open_archives(inner)


def _counts(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"


def _ends(name: str, tail: str) -> bool:
    return name == tail or name.endswith(f"/{tail}")

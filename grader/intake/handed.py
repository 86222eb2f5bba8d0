"""The noun before intake: where one student's work lies, not yet opened.

Takes: nothing. Gives: `Handed`, `Part`. Does not cover: finding them (see `roster`), reading them
(see `contents`).
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file or folder of a student's work.

    Attributes:
        path: on disk: a file, a folder, or the archive of a whole class.
        member: name within that archive, ending in `/` for a folder; empty: `path` itself.
        label: the file's name as the student gave it, without what a course site put before it.
    """

    path: Path
    member: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """One student's work, not yet opened.

    Attributes:
        name: identifier, unique within a class, safe as a folder name.
        parts: usually one; several where a course site stores each attachment by itself.
    """

    name: str
    parts: tuple[Part, ...]

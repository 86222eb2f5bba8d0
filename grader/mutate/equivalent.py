"""`equivalent.toml`: the mutants that change nothing that a student's caller could observe.

Takes: a reference folder. Gives: entries, each with a sentence. Does not cover: whether the
sentence is true; a mutant that a case kills has no entry, and `complain` says so.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cattrs import transform_error

from grader.errors import AuthorError
from grader.mutate.mutants import Mutant
from grader.mutate.outcome import Fate, Outcome
from grader.strict import strict_converter

FILE = "equivalent.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A mutant, or a whole function, that changes nothing observable.

    Attributes:
        name: of the mutant; of a function, "file: function".
        why: one sentence.
    """

    name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalents:
    """What an `equivalent.toml` says.

    Attributes:
        mutant: entries of single mutants.
        function: entries of functions of which no mutant is made, such as those that choose block
            sizes.
    """

    mutant: tuple[Entry, ...] = ()
    function: tuple[Entry, ...] = ()

    @property
    def whys(self) -> Mapping[str, str]:
        """The sentence for each mutant, by its name."""
        return {entry.name: entry.why for entry in self.mutant}


def read_equivalents(reference: Path) -> Equivalents:
    """Return what the file of a reference says; nothing if there is no file.

    Raises:
        AuthorError: if it is not TOML, has unknown keys, an entry without a sentence, or a name
            twice.
    """
    path = reference / FILE
    if not path.is_file():
        return Equivalents()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise AuthorError(f"{path}: expected TOML: {error}") from error
    try:
        found = strict_converter().structure(table, Equivalents)
    except Exception as error:
        raise AuthorError(f"{path}: {'; '.join(transform_error(error))}") from error
    names: set[str] = set()
    for entry in (*found.mutant, *found.function):
        if not entry.why.strip():
            raise AuthorError(f"{path}: {entry.name}: expected a sentence as its `why`")
        if entry.name in names:
            raise AuthorError(f"{path}: {entry.name}: expected one entry, found two")
        names.add(entry.name)
    return found


def complain(
    entries: Equivalents, made: Sequence[Mutant], outcomes: Sequence[Outcome]
) -> list[str]:
    """Return what is wrong with the entries, and every survivor that has none.

    Args:
        entries: of the file.
        made: all mutants, those that a sample leaves out included.
        outcomes: of the mutants that were played.
    """
    known = {one.name for one in made}
    lost = [entry.name for entry in entries.mutant if entry.name not in known]
    lost += [
        entry.name
        for entry in entries.function
        if not any(one.is_of((entry.name,)) for one in made)
    ]
    found = [f"{FILE}: there is no such mutant: {name}; remove or rename it" for name in lost]
    for one in outcomes:
        if one.why and one.fate is Fate.KILLED:
            found.append(f"{FILE}: {one.name}: it is not equivalent, {one.killed_by} kills it")
    whys = {Fate.SURVIVED: "no case notices it", Fate.NOT_RUN: "no case runs it"}
    found += [f"{whys[one.fate]}: {one.name}" for one in outcomes if one.fate in whys]
    return found

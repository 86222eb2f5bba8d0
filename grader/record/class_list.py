"""Who is in a class: which owner has which name, for ever, what was graded before, who is missing.

A name is a folder and a row, so it belongs to one owner whoever else comes or goes. The list is
`staff/class.json` in the output folder. Nothing here needs torch: it is read before grading begins.
"""

import csv
import io
import os
import re
import sqlite3
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from grader.errors import StoreError, UsageError
from grader.intake.roster import free_name
from grader.intake.submission import Person, SubmissionSource
from grader.record.run_folder import RECORD_SCHEMA_VERSION, format_of, write_whole
from grader.strict import json_converter, read_json

RESERVED = frozenset(
    "run.json run.lock run.tmp class.json class.tmp grades.sqlite grades.sqlite-wal "
    "grades.sqlite-shm grades.sqlite-journal".split()
)
"""Files in `staff/`, whose names no student's folder may have."""
TIMED_RECORDS = 50  # over which the mean time of a submission is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One owner of submissions.

    Attributes:
        name: of the owner's folders and row; never given to anybody else.
        key: the owner as the files or the course site name them, in Unicode's form NFC.
        file: name of the file or folder handed in; tells apart two owners with one key.
        origin: the path on the command line that the submission was found in.
        present: whether it was there when that path was last graded.
    """

    name: str
    key: str
    file: str
    origin: str
    present: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassList:
    """All owners that an output folder has known, in the order in which they came."""

    schema_version: int = RECORD_SCHEMA_VERSION
    members: tuple[Member, ...] = ()

    @property
    def aside(self) -> frozenset[str]:
        """Names of those who are no longer in the class; their records and pages are kept."""
        return frozenset(member.name for member in self.members if not member.present)


def read_class(out: Path) -> ClassList:
    """Return the class list of an output folder; an empty one if there is none yet.

    Raises:
        StoreError: if it cannot be read.
    """
    path = out / "staff" / "class.json"
    if not path.is_file():
        return ClassList()
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        if format_of(text) != RECORD_SCHEMA_VERSION:
            raise StoreError(f"expected format {RECORD_SCHEMA_VERSION}, found {text[:40]!r}")
        return read_json(json_converter(), ClassList, text)
    except (OSError, StoreError) as error:
        raise StoreError(
            f"{path}, which says whose folder is whose, cannot be read: {error}",
            hint="put a copy of the file back, or choose another --out and grade again",
        ) from error


def write_class(out: Path, known: ClassList) -> None:
    """Keep the class list, before anything is graded under its names."""
    write_whole(out / "staff" / "class.json", known)


def enrol(
    known: ClassList,
    sources: Sequence[SubmissionSource],
    paths: Sequence[Path],
    *,
    recorded: Collection[str] = (),
) -> tuple[ClassList, tuple[SubmissionSource, ...]]:
    """Give every submission the name of its owner, and note who is no longer there.

    Args:
        known: the list so far.
        sources: all submissions found in `paths`.
        paths: what is graded, as on the command line; who was found elsewhere stays as they were.
        recorded: names that have records; a folder from before this list keeps its names by them.

    Returns:
        the new list, and the submissions under their owners' names.
    """
    roots = [_absolute(path) for path in paths]
    found = [_describe(source, roots) for source in sources]
    matched = _match(found, known.members)
    names = {member.name: member for member in known.members}
    taken = {name.lower() for name in (*names, *recorded)} | RESERVED
    unlisted = {name for name in recorded if not names}
    claimed: dict[str, Member] = {}
    for number, member in enumerate(found):
        name = known.members[matched[number]].name if number in matched else member.name
        if number not in matched and name not in unlisted:
            name = free_name(name, taken)
        unlisted.discard(name)
        taken.add(name.lower())
        claimed[name] = replace(member, name=name)
    kept = {n: replace(m, present=m.present and not _left(m, roots)) for n, m in names.items()}
    renamed = (replace(one, name=n) for one, n in zip(sources, claimed, strict=True))
    return ClassList(members=tuple({**kept, **claimed}.values())), tuple(renamed)


def _describe(source: SubmissionSource, roots: Sequence[Path]) -> Member:
    part = source.parts[0]
    path = _absolute(part.path)
    file = part.label or (part.member or path.name).rstrip("/").rsplit("/", 1)[-1]
    return Member(
        name=source.name,
        key=unicodedata.normalize("NFC", source.key or source.name),
        file=unicodedata.normalize("NFC", file),
        origin=str(next((root for root in roots if _holds(root, path)), path)),
    )


def _absolute(path: Path) -> Path:
    """Return the full path; a link that a student handed in is not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` follows links


def _holds(root: Path, path: Path) -> bool:
    return root == path or root in path.parents


def _left(member: Member, roots: Sequence[Path]) -> bool:
    """Return whether a member who was not found has left the class.

    That is so if the path that they came from is graded again, or is gone from beside it.
    """
    origin = Path(member.origin)
    beside = not origin.exists() and origin.parent in {root.parent for root in roots}
    return beside or any(_holds(root, origin) for root in roots)


_IDENTITIES: tuple[Callable[[Member], Hashable], ...] = (
    lambda one: (one.key, one.file, one.origin),
    lambda one: (one.key, one.origin),
    lambda one: (one.key, one.file),
    lambda one: one.key,
)
"""What makes a member the same, the surest first. The key must always be equal."""


def _match(found: Sequence[Member], members: Sequence[Member]) -> dict[int, int]:
    """Return the member of each one found, by their numbers; nobody where it is not certain."""
    matched: dict[int, int] = {}
    for identity in _IDENTITIES:
        ours = _group(found, identity, without=matched.keys())
        theirs = _group(members, identity, without=set(matched.values()))
        for who, numbers in ours.items():
            if len(numbers) == len(theirs.get(who, ())) == 1:
                matched[numbers[0]] = theirs[who][0]
    return matched


def _group(
    people: Sequence[Member], identity: Callable[[Member], Hashable], *, without: Collection[int]
) -> dict[Hashable, list[int]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for number, one in enumerate(people):
        if number not in without:
            groups[identity(one)].append(number)
    return groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """The newest record of one name, as far as can be told without reading all of it."""

    submission_sha256: str
    plan_sha256: str
    status: str


def read_earlier(out: Path) -> tuple[dict[str, Earlier], tuple[float, ...]]:
    """Return the newest record of each name, and the seconds that the newest gradings took.

    Raises:
        StoreError: if the store of records cannot be read.
    """
    path = out / "staff" / "grades.sqlite"
    if not path.is_file():
        return {}, ()
    newest = "FROM records ORDER BY created_at DESC, record_id DESC"
    wall = "CASE WHEN json_valid(body) THEN json_extract(body, '$.measurement.wall_ns') END"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as store:
            rows = store.execute(
                f"SELECT submission, submission_sha256, plan_sha256, status {newest}"
            ).fetchall()
            times = store.execute(f"SELECT {wall} {newest} LIMIT {TIMED_RECORDS}").fetchall()
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):  # a run was killed before its first record
            return {}, ()
        raise StoreError(
            f"{path} cannot be read: {error}",
            hint="put a copy of the file back; the newest record of each submission is also in "
            "staff/NAME/record.json",
        ) from error
    earlier = {
        name: Earlier(submission_sha256=submission, plan_sha256=plan, status=status)
        for name, submission, plan, status in reversed(rows)
    }
    return earlier, tuple(ns / 1e9 for (ns,) in times if isinstance(ns, int) and ns > 0)


_TITLES = {
    "name": ("name", "student", "fullname", "studentname", "displayname", "sortablename"),
    "first": ("firstname", "givenname", "givennames", "vorname", "prénom", "nombre"),
    "last": ("lastname", "surname", "familyname", "nachname", "nom", "nomdefamille", "apellidos"),
    "id": (
        *("id", "sid", "studentid", "studentnumber", "idnumber", "userid", "username", "number"),
        *("sisuserid", "sisloginid", "sisid", "login", "loginid", "netid", "matriculationnumber"),
    ),
}
"""Titles of columns as Canvas, Moodle, Gradescope, Blackboard and Brightspace export them."""
TITLES_WITHIN = 5
"""Lines among which the titles are: spreadsheets write `sep=;` first, people a course's name."""
MAX_TITLES_CHARS = 10_000
MIN_ID_CHARS = 3
"""A shorter id, such as 7, is also a part of many file names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterLine:
    """One person on a roster: as it is shown to people, and all names and ids in plain form."""

    shown: str
    names: frozenset[str]
    ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterResult:
    """A roster beside the submissions.

    Attributes:
        missing: people on the roster without a submission, as the roster names them.
        unknown: names of submissions of nobody on the roster, or of more than one.
    """

    missing: tuple[str, ...]
    unknown: tuple[str, ...]


def owner_text(source: SubmissionSource) -> str:
    """Return the owner as the files name them, without the layout that a key begins with."""
    return source.key.removeprefix(f"{source.layout.value}:") or source.name


def plain(text: str) -> str:
    """Return a name or id for comparison: neither case nor the form of Unicode matters."""
    return unicodedata.normalize("NFC", text).strip().casefold()


def read_roster(path: Path) -> tuple[RosterLine, ...]:
    """Read a roster leniently: a CSV with any columns that course sites call name, id or email.

    A line that is there twice, as of a student in two sections, counts once.

    Raises:
        UsageError: if it cannot be read, no column is one of these, or nobody is on it.
    """
    try:
        raw = path.read_bytes()
        wide = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise UsageError(f"--roster {path}: {error.strerror}", hint="check the path") from error
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # what older spreadsheets save; any bytes are Latin-1
    lines = list(io.StringIO(text.replace("\0", ""), newline=""))
    for number, line in enumerate(lines[:TITLES_WITHIN], start=1):
        delimiter = max(",;\t", key=line.count)
        titles = next(csv.reader([line[:MAX_TITLES_CHARS]], delimiter=delimiter), [])
        columns = [_kind_of_column(title) for title in titles]
        if any(columns):
            return _people(path, lines, below=number, columns=columns, delimiter=delimiter)
    head = "".join(lines[:1]).strip()[:80]
    raise _no_roster(path, 1, "columns such as name, id or email", repr(head))


def _people(
    path: Path, lines: Sequence[str], *, below: int, columns: Sequence[str], delimiter: str
) -> tuple[RosterLine, ...]:
    """Return the people on the lines below the titles, each once."""
    people: dict[RosterLine, None] = {}
    at, reader = below, csv.reader(lines[below:], delimiter=delimiter, strict=True)
    try:
        for row in reader:
            people[_roster_line(columns, row)] = None
            at = below + reader.line_num
    except csv.Error as error:
        raise _no_roster(
            path, at + 1, "the cells of one person", f"{error} (a missing quotation mark?)"
        ) from error
    if found := tuple(line for line in people if line.names or line.ids):
        return found
    raise _no_roster(path, below + 1, "a line for each person below the titles", "nobody")


def _no_roster(path: Path, line: int, expected: str, found: str) -> UsageError:
    return UsageError(
        f"--roster {path}, line {line}: expected {expected}, found {found}",
        hint="export the participants from the course site as CSV, or write a first line "
        "`name,id,email` and a line for each person",
    )


def _kind_of_column(title: str) -> str:
    """Return what a column holds, a key of `_TITLES` or `email`; empty for anything else."""
    letters = re.sub(r"[\W_]+", "", title.lower())
    if any(word in letters for word in ("mail", "courriel", "correo")):
        return "email"
    return next((kind for kind, titles in _TITLES.items() if letters in titles), "")


def _roster_line(columns: Sequence[str], row: Sequence[str]) -> RosterLine:
    cells: dict[str, list[str]] = defaultdict(list)
    for kind, cell in zip(columns, row, strict=False):
        if cell.strip():
            cells[kind].append(cell.strip())
    parts = [*cells["first"][:1], *cells["last"][:1]]
    names = [*cells["name"], *([" ".join(parts)] if parts else [])]
    ids = [*cells["id"], *cells["email"], *(mail.partition("@")[0] for mail in cells["email"])]
    if _words("".join(names)) in ("points possible", "student test"):  # of Canvas, nobody
        names, ids = [], []
    shown = [*names[:1], *(f"({one})" for one in (*cells["id"], *cells["email"])[:1])]
    return RosterLine(
        shown=" ".join(shown),
        names=frozenset(_words(name) for name in names) - {""},
        ids=frozenset(plain(one) for one in ids),
    )


def _words(name: str) -> str:
    """Return a person's name for comparison: `Doe, Jane` is `Jane Doe`."""
    return " ".join(sorted(re.findall(r"\w+", plain(name).replace("_", " "))))


def compare(lines: Sequence[RosterLine], sources: Sequence[SubmissionSource]) -> RosterResult:
    """Find the person of each submission: by the exact owner, or else by an id in its name."""
    found: set[RosterLine] = set()
    unknown: list[str] = []
    for source in sources:
        persons = source.people or (Person(name=owner_text(source), number=source.name),)
        matches = [match for person in persons if (match := _find(person, lines)) is not None]
        found |= set(matches)
        if len(matches) < len(persons):
            unknown.append(source.name)
    return RosterResult(
        missing=tuple(line.shown for line in lines if line not in found), unknown=tuple(unknown)
    )


def _find(person: Person, lines: Sequence[RosterLine]) -> RosterLine | None:
    """Return the one line that fits; none if several do."""
    exact = {plain(person.name), plain(person.number), plain(person.email)} - {""}
    words = {_words(person.name), _words(person.name.partition("_")[0])}
    tokens = {
        token
        for text in exact
        for token in (*re.split(r"[\W_]+", text), *text.split("_"))
        if len(token) >= MIN_ID_CHARS
    }
    tests: tuple[Callable[[RosterLine], bool], ...] = (
        lambda line: bool(line.ids & exact),
        lambda line: bool(line.names & words),
        lambda line: bool(line.ids & tokens),
    )
    for fits in tests:
        matches = [line for line in lines if fits(line)]
        if len(matches) == 1:
            return matches[0]
    return None

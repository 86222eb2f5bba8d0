"""Finds the submissions in the files, folders and zips that course staff name, one per student.

A file is one submission. So is a folder or zip that holds the work of one person: a file `<slug>`
or `submission` at its top or in a folder such as `src`, or what `grader init` or `pack` wrote. Any
other folder or zip is a class, perhaps as a course site exports it (see `intake.layouts`): every
file and subfolder in it is one submission, also if its type will be rejected, so that no student is
left out unnoticed. Names of students come from the course site, or from file names: they are made
safe as folder names, and unique in a class. The submissions themselves are opened later (see
`intake.load`).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from grader.errors import IntakeError, SandboxError, UsageError
from grader.intake.contents import is_archive, open_class, read_attachment
from grader.intake.entry import is_entry, is_packed, real_name, without_second_ending
from grader.intake.files import MARK_FILE
from grader.intake.layouts import (
    GRADESCOPE_LIST,
    MAX_LIST_BYTES,
    MAX_STUB_BYTES,
    Claimed,
    classroom_users,
    identify,
    is_gradescope_folder,
    is_homework,
    join,
    name_group,
    read_gradescope_list,
)
from grader.intake.listing import Entry, Folder, grow
from grader.intake.submission import Attachment, Layout, Person, SubmissionSource

SUFFIXES = (".py", ".ipynb", ".cu", ".zip")
MAX_SUBMISSIONS = 5000
MAX_NAME_CHARS = 80
UNNAMED = "unnamed"

_LATIN = str.maketrans(
    {"ı": "i", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ß": "ss", "æ": "ae"}
    | {"Æ": "Ae", "œ": "oe", "Œ": "Oe", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th"}
)
"""Latin letters that are no letter with an accent."""
_WORK_FOLDERS = frozenset("code lib notebook notebooks python src submission work".split())
_MAX_WRAPPERS = 2
_GRADESCOPE_EXPORT = re.compile(r"assignment_\d+_export")


def make_safe(name: str) -> str:
    """Return `name` in letters, digits, `.`, `_` and `-`, at most 80 of them, no leading dot.

    Accents fall away; letters of other scripts become their code point, so that two students with
    such names can still be told apart.
    """
    plain = unicodedata.normalize("NFKD", name).translate(_LATIN)
    safe = "".join(_safe_character(c) for c in plain)
    return safe.strip(".-_ ")[:MAX_NAME_CHARS].rstrip(".") or UNNAMED


def make_unique(names: Iterable[str]) -> list[str]:
    """Return the names made safe, later ones with a suffix so that no two are equal in any case."""
    unique: dict[str, str] = {}
    for name in map(make_safe, names):
        candidate = free_name(name, unique)
        unique[candidate.lower()] = candidate
    return list(unique.values())


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, or the first one with a number that nobody has in upper or lower case."""
    candidate, count = name, 1
    while candidate.lower() in taken:
        count += 1
        suffix = f"-{count}"
        candidate = name[: MAX_NAME_CHARS - len(suffix)] + suffix
    return candidate


def _safe_character(character: str) -> str:
    if character.isascii():
        return character if character.isalnum() or character in "._-" else "_"
    if unicodedata.combining(character):
        return ""
    return f"u{ord(character):x}" if character.isalnum() else "_"


_Found = SubmissionSource | Claimed
"""A submission, or a file of one that is joined with others of its owner."""


def collect(paths: Sequence[Path], slug: str) -> tuple[SubmissionSource, ...]:
    """Return one `SubmissionSource` per submission, in the order of `paths` and then of names.

    Exports of course sites are recognised (see `intake.layouts`). The assignment's `slug` decides
    whether a folder or zip is one submission.

    Raises:
        UsageError: if a path does not exist or cannot hold submissions, or a class is empty.
    """
    found: list[_Found] = []
    known = _known_paths(paths, slug)
    for absolute, path in {path.absolute(): path for path in paths}.items():
        if absolute in known:
            found.append(replace(known[absolute], parts=(Attachment(path=absolute),)))
            continue
        some = _collect_one(path, slug, is_alone=len(paths) == 1)
        if not some and len(paths) == 1:
            raise UsageError(
                f"{path}: expected submissions, found no module, notebook, zip or folder in it",
                hint=f"name a folder of submissions, or a file such as {slug}.py",
            )
        found += some
    sources = _join(found)
    if not sources:
        raise UsageError("expected at least one path", hint="name a file, a folder or a zip")
    if len(sources) > MAX_SUBMISSIONS:
        raise UsageError(
            f"expected at most {MAX_SUBMISSIONS} submissions, found {len(sources)}",
            hint="name the folder of one class",
        )
    names = make_unique(_distinguish(sources))
    return tuple(replace(one, name=name) for one, name in zip(sources, names, strict=True))


def _known_paths(paths: Iterable[Path], slug: str) -> dict[Path, SubmissionSource]:
    """Return the submissions of an export whose folders were named one by one (`export/*`)."""
    folders: dict[Path, list[Entry]] = {}
    for path in {path.absolute(): None for path in paths if not path.is_symlink()}:
        if path.is_dir():
            entry = Entry(name=path.name, is_folder=True)
            folders.setdefault(path.parent, []).append(entry)
    return {
        parent / name: source
        for parent, entries in folders.items()
        for name, source in _known_owners(Folder(path=parent, tree={}), entries, slug).items()
    }


def _collect_one(path: Path, slug: str, *, is_alone: bool) -> list[_Found]:
    if not path.exists() and not path.is_symlink():
        raise UsageError(f"{path}: not found", hint="check the path for typing errors")
    claims = identify(path.name)
    whole = Attachment(path=path.absolute(), label="" if path.is_dir() else path.name)
    one: _Found = _plain(_owner(path, slug), whole)
    if claims:
        one = Claimed(claim=claims[0], part=whole)
    if path.is_symlink():  # it may lead anywhere; it is rejected when it is opened
        return [one]
    if path.is_dir():
        folder = Folder(path=path.absolute(), tree={})
        if claims or _is_one(folder, slug):
            return [one]
        # Among several paths an empty folder is one student's: it is rejected, the others go on.
        return _students(folder, slug) or ([] if is_alone else [one])
    name = without_second_ending(path.name).lower()
    if not claims and not name.endswith(SUFFIXES):
        if not is_alone and Entry(name=path.name, is_folder=False).is_of_staff:
            return []
        raise UsageError(
            f"{path}: expected a folder, or a file that ends in {', '.join(SUFFIXES)}",
            hint="name the folder to grade everything in it",
        )
    return _in_archive(one, path.absolute(), slug) if is_archive(name) else [one]


def _in_archive(one: _Found, path: Path, slug: str) -> list[_Found]:
    """Return the submissions in an archive, or the archive itself as `one`."""
    try:
        with open_class(path) as archive:
            tree = grow(member.name for member in archive.members)
    except IntakeError:
        return [one]  # one student's broken zip, link or pipe: rejected when it is opened
    folder = Folder(path=path, is_archive=True, tree=tree)
    if _is_one(folder, slug, is_file=True):
        return [one]
    students = _students(folder, slug)
    return [one] if isinstance(one, Claimed) and len(students) < 2 else students


def _is_one(folder: Folder, slug: str, *, levels: int = 2, is_file: bool = False) -> bool:
    """Return whether a folder or archive holds the work of one person, and is no class.

    One module alone is a class of one in a folder, and one person's in an archive (`is_file`).
    """
    entries = folder.entries()
    files = [entry for entry in entries if not entry.is_folder]
    if any(is_entry(file.name, slug) for file in files):
        return True
    if any(identify(entry.name) for entry in entries) or not entries:
        return False
    if folder.holds(MARK_FILE):
        return True
    folders = [entry.name for entry in entries if entry.is_folder]
    work = [file.name for file in files if file.can_be_work]
    if len(work) == 1 and not folders:
        is_named = is_entry(real_name(work[0]), slug) or is_packed(work[0], slug)
        return is_named or (is_file and not is_archive(work[0]))
    if not levels:
        return False
    wrapper = folders[0] if len(entries) == len(folders) == 1 else ""
    if is_file and wrapper and (wrapper == folder.name or _is_work_folder(wrapper, slug)):
        return _is_one(folder.inside(wrapper), slug, levels=levels - 1, is_file=True)
    # Folders with names of people first: in a class the first of them decides.
    folders.sort(key=lambda name: _is_work_folder(name, slug))
    theirs = (n for n in folders if _is_one(folder.inside(n), slug, levels=levels - 1))
    return _is_work_folder(next(theirs, "nobody"), slug)


def _students(folder: Folder, slug: str) -> list[_Found]:
    """Return all submissions of a class."""
    for _ in range(_MAX_WRAPPERS):
        folder = _without_wrapper(folder, slug)
    entries = [e for e in folder.entries() if not e.is_of_staff or identify(e.name)]
    known = _known_owners(folder, entries, slug)
    is_export = bool(known) or any(identify(entry.name) for entry in entries)
    works = {_stem(e.name).lower() for e in entries if e.can_be_work or e.is_folder}
    students: list[_Found] = []
    for entry in entries:
        part, claims = folder.part(entry), identify(entry.name)
        if entry.name in known:
            students.append(replace(known[entry.name], parts=(part,)))
        elif claims:
            # Whatever its suffix, so that no student of an export is left out unnoticed.
            students.append(Claimed(claim=claims[0], part=part))
        elif entry.is_folder and _is_surely_exported(folder.inside(entry.name)):
            students += _students(folder.inside(entry.name), slug)
        elif entry.is_folder:
            students.append(_plain(entry.name, part))
        elif entry.can_be_work or not (is_export or _stem(entry.name).lower() in works):
            # A file of a wrong type is rejected later, with a message to its student.
            students.append(_plain(_stem(part.label), part))
    return students


def _stem(file_name: str) -> str:
    return PurePosixPath(without_second_ending(file_name)).stem


def _is_surely_exported(folder: Folder) -> bool:
    """Return whether names in a folder are a course site's; Canvas's could be a student's own."""
    claims = (claim for entry in folder.entries() for claim in identify(entry.name))
    return any(claim.layout is not Layout.CANVAS for claim in claims)


def _without_wrapper(folder: Folder, slug: str) -> Folder:
    """Return what is in a folder that has nothing but one folder with a class in it."""
    entries = [entry for entry in folder.entries() if not entry.is_of_staff]
    if len(entries) != 1 or not entries[0].is_folder or identify(entries[0].name):
        return folder
    inner = folder.inside(entries[0].name)
    inside = inner.entries()
    zipped_whole = folder.is_archive and inner.name == folder.path.stem
    is_class = (
        inner.holds(GRADESCOPE_LIST)
        or _GRADESCOPE_EXPORT.fullmatch(inner.name) is not None
        or any(identify(entry.name) for entry in inside)
        or (len(inside) > 1 and bool(_classroom(inner, inside, slug)))
        or sum(e.is_folder and _is_one(inner.inside(e.name), slug) for e in inside) > 1
    )
    return inner if (zipped_whole or is_class) and not _is_one(inner, slug) else folder


def _known_owners(
    folder: Folder, entries: Sequence[Entry], slug: str
) -> Mapping[str, SubmissionSource]:
    """Return the submissions, still without files, of a Gradescope or GitHub Classroom export."""
    submissions = [e.name for e in entries if e.is_folder and is_gradescope_folder(e.name)]
    people = _gradescope_people(folder) if submissions else {}
    known = {
        name: SubmissionSource(
            name=name_group(people.get(name, ()), name),
            parts=(),
            layout=Layout.GRADESCOPE,
            key=_group_key(people.get(name, ()), name),
            people=people.get(name, ()),
        )
        for name in submissions
    }
    users = {} if known else _classroom(folder, entries, slug)
    return known | {
        name: SubmissionSource(
            name=user,
            parts=(),
            layout=Layout.GITHUB,
            key=f"{Layout.GITHUB.value}:{name}",
            people=(Person(number=user),),
        )
        for name, user in users.items()
    }


def _classroom(folder: Folder, entries: Sequence[Entry], slug: str) -> Mapping[str, str]:
    """Return the user names of GitHub Classroom by entry; empty if these are no repositories."""
    if not all(entry.is_folder or is_archive(entry.name) for entry in entries):
        return {}
    if any(identify(entry.name) for entry in entries):  # of another course site, whatever is in it
        return {}
    entry_of = {e.name if e.is_folder else PurePosixPath(e.name).stem: e.name for e in entries}
    has_git = any(e.is_folder and folder.inside(e.name).holds(".git") for e in entries)
    users = classroom_users(tuple(entry_of), slug=slug, around=folder.name, has_git=has_git)
    return {entry_of[repository]: user for repository, user in users.items()}


def _gradescope_people(folder: Folder) -> Mapping[str, tuple[Person, ...]]:
    part = folder.part(Entry(name=GRADESCOPE_LIST, is_folder=False))
    try:
        content = read_attachment(part, limit_bytes=MAX_LIST_BYTES)
    except (IntakeError, SandboxError):
        return {}  # the folders' names are left
    return read_gradescope_list(content)


def _group_key(people: Sequence[Person], folder: str) -> str:
    """Return what stays when a group hands in again, which makes a new folder."""
    members = sorted(one.number or one.email or one.name for one in people)
    return f"{Layout.GRADESCOPE.value}:{'+'.join(members) or folder}"


def _join(found: Iterable[_Found]) -> list[SubmissionSource]:
    """Return all submissions; what belongs to one owner becomes one, at the place of its first."""
    joined = join([one for one in found if isinstance(one, Claimed)], _read_stub)
    by_part = {(part.path, part.member): one for one in joined for part in one.parts}
    sources = (
        by_part.get((one.part.path, one.part.member)) if isinstance(one, Claimed) else one
        for one in found
    )
    return list({id(one): one for one in sources if one is not None}.values())


def _read_stub(part: Attachment) -> bytes:
    try:
        return read_attachment(part, limit_bytes=MAX_STUB_BYTES)
    except (IntakeError, SandboxError):
        return b""  # its owner's name stays unknown


def _plain(name: str, part: Attachment) -> SubmissionSource:
    return SubmissionSource(name=name, parts=(part,), key=f"{Layout.PLAIN.value}:{name}")


def _owner(path: Path, slug: str) -> str:
    """Return whose a path is: its name, or that of the folder above what everybody's is named."""
    if path.is_dir() or path.is_symlink():
        own = path.name if path.name.strip(".") else path.resolve().name
        says_nothing = _is_work_folder(own, slug)
    else:
        own = _stem(path.name)
        says_nothing = is_entry(real_name(path.name), slug) or is_packed(path.name, slug)
    folders = path.parents if says_nothing else ()
    names = (one.resolve().name if one.name == ".." else one.name for one in folders)
    return next((name for name in names if name and not _is_work_folder(name, slug)), own)


def _is_work_folder(name: str, slug: str) -> bool:
    """Return whether everybody's folder may have this name."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return plain in _WORK_FOLDERS or plain == slug or is_homework(name)


def _distinguish(sources: Sequence[SubmissionSource]) -> list[str]:
    """Name files that share a name (`*/my_work.py`) after the folders they lie in."""
    counts = Counter(one.name for one in sources)
    shared = [
        one.layout is Layout.PLAIN
        and counts[one.name] > 1
        and not one.parts[0].member
        and one.parts[0].path.stem == one.name
        for one in sources
    ]
    folders = Counter(
        one.parts[0].path.parent for one, same in zip(sources, shared, strict=True) if same
    )
    return [
        one.parts[0].path.parent.name or one.name
        if same and folders[one.parts[0].path.parent] == 1  # else the folder is the class
        else one.name
        for one, same in zip(sources, shared, strict=True)
    ]

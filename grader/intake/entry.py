"""Which of the files that were handed in is graded, wherever it lies and whatever was added to it.

Its name may have gained what browsers and mail programs add (`kv_cache (1).py`, `kv_cache.py.txt`),
and it may lie in folders (`hw1/src/`). A starter that nobody edited is passed over for one that
somebody did: `.grader.toml` has the hashes of starters as `grader init` wrote them, and the
assignment has the starters themselves.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path, PurePosixPath

from grader.errors import IntakeError
from grader.intake.files import MARK_FILE, MIB, list_names, show
from grader.intake.modules import FALLBACK_MODULE, shadows

ENDINGS = (".py", ".ipynb", ".cu")
MAX_UNNAMED_DEPTH = 2
"""A file with the name that is asked for may lie deeper."""

UNEDITED = "nothing in it was edited"
NEWER = "is newer by the number in its name"
"""How notices end that course staff should see before grading: it may be the wrong file."""

_MAX_NAME_CHARS = 255  # longer ones are no file's name on any disk
_MAX_MARK_BYTES = 64 << 10
_MAX_STARTER_BYTES = 1 * MIB  # far more than a starter has, also with a notebook's outputs
_OTHER_ARCHIVES = (".7z", ".rar", ".gz", ".tgz", ".tar", ".bz2", ".xz", ".zst")
_WORD_BREAKS = re.compile(r"[\s-]+")
_DOUBLED = re.compile(r"(?P<real>.*\.(?:py|ipynb|cu|zip))\.(?:txt|json|download)", re.IGNORECASE)
_COPIED = re.compile(
    r"(?P<backup>copy of )?(?P<stem>.+?)"
    r"(?:[ _-]?\((?P<number>\d{1,9})\)|(?P<copy> - copy| copy(?: \d+)?|-copy\d+))*",
    re.IGNORECASE,
)
_NOTEBOOK_HEADER = re.compile(rb'"grader":\s*\{\s*"assignment":\s*"(?P<slug>[a-z0-9_]+)"')
_HEADER = re.compile(rb"^(?:#|//) grader: (?P<slug>[a-z][a-z0-9_]*)\b[^\n]*\n?", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The file that is graded, and what lies beside it.

    Attributes:
        chosen: name of the graded file in `files`.
        path: of the graded file in what was handed in.
        files: in the folder of the graded file, by path relative to it, read as what they are.
        elsewhere: paths of all other files.
        notices: what the student should know about the choice.
    """

    chosen: str
    path: str
    files: dict[str, bytes]
    elsewhere: tuple[str, ...]
    notices: tuple[str, ...]


class _Rank(IntEnum):
    """By what a file shows that it is the work, the surest first."""

    SLUG = 0
    SUBMISSION = 1
    HEADER = 2
    NOTHING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A file that could be the work.

    Attributes:
        name: its file name as what it is, such as `kv_cache.py` for `kv_cache (1).py.txt`.
        version: the path as what it is, and the numbers in it: `kv_cache (1).py` is newer than
            `kv_cache.py`, because browsers and course sites add them to the later file.
    """

    path: str
    name: str
    version: tuple[str, tuple[int, ...]]
    rank: _Rank
    is_untouched: bool
    content: bytes

    @property
    def is_copy(self) -> bool:
        """Whether its name was added to, and that says nothing of whether it is newer."""
        return PurePosixPath(self.path).name != self.name and not any(self.version[1])

    def is_older(self, others: Iterable["_Candidate"]) -> bool:
        """Return whether one of the others is a newer version of the same file."""
        path, numbers = self.version
        return any(
            path == other and numbers < newer for other, newer in (o.version for o in others)
        )


def without_second_ending(file_name: str) -> str:
    """Return `alice.py` for `alice.py.txt`, which browsers and mail programs make of it."""
    doubled = _DOUBLED.fullmatch(file_name[:_MAX_NAME_CHARS])
    return doubled["real"] if doubled and len(file_name) <= _MAX_NAME_CHARS else file_name


def real_name(file_name: str) -> str:
    """Return a file's name without what browsers, mail programs and editors added to it."""
    return _version(file_name)[0]


def _version(file_name: str) -> tuple[str, int]:
    """Return the real name and the number of a later file; 0 without one, and for a backup."""
    name = without_second_ending(file_name)
    stem, dot, ending = name.rpartition(".")
    is_known = f"{dot}{ending}".lower() in (*ENDINGS, ".zip") and len(stem) <= _MAX_NAME_CHARS
    copied = _COPIED.fullmatch(stem) if is_known else None
    if not copied:
        return name, 0
    is_backup = copied["backup"] or copied["copy"]
    return f"{copied['stem']}{dot}{ending}", 0 if is_backup else int(copied["number"] or 0)


def is_entry(file_name: str, slug: str) -> bool:
    """Return whether a file has the name that is asked for: the slug, or `submission`."""
    stem, dot, ending = file_name.rpartition(".")
    return f"{dot}{ending}".lower() in ENDINGS and _plain(stem) in (_plain(slug), FALLBACK_MODULE)


def is_packed(file_name: str, slug: str) -> bool:
    """Return whether a file has the name of an archive with one person's work, as `pack` gives."""
    stem, _, ending = real_name(file_name).rpartition(".")
    names = (_plain(slug), FALLBACK_MODULE, f"{_plain(slug)}_{FALLBACK_MODULE}")
    return ending.lower() == "zip" and _plain(stem) in names


def fingerprint(name: str, content: bytes) -> str:
    """Return a hash of what people write in a source file or notebook.

    Line ends, outputs, and what `grader init` adds to a starter make no difference.
    """
    if name.endswith(".ipynb") and len(content) <= _MAX_STARTER_BYTES:
        try:
            sources = [_source(cell) for cell in json.loads(content)["cells"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            sources = []  # a broken notebook is no starter
        if sources:
            return hashlib.sha256(json.dumps(sources).encode()).hexdigest()
    text = _HEADER.sub(b"", content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n"), count=1)
    return hashlib.sha256(text.rstrip()).hexdigest()


def starter_fingerprints(assignment: Path) -> frozenset[str]:
    """Return the fingerprints of the starters in an assignment's folder."""
    starters = (assignment / f"starter{ending}" for ending in ENDINGS)
    return frozenset(fingerprint(s.name, s.read_bytes()) for s in starters if s.is_file())


def is_found(
    files: Mapping[str, bytes],
    *,
    slug: str,
    endings: Collection[str],
    starters: Collection[str] = (),
) -> bool:
    """Return whether a file among these has the name that is asked for, and somebody edited it."""
    found = _candidates(files, slug=slug, endings=endings, starters=starters)
    return any(one.rank <= _Rank.SUBMISSION and not one.is_untouched for one in found)


def find_work(
    files: Mapping[str, bytes],
    *,
    slug: str,
    endings: Collection[str],
    starters: Collection[str] = (),
) -> Work:
    """Return the file to grade; `starters` are fingerprints of the assignment's own.

    Raises:
        IntakeError: if there is none, or several and nothing tells which: the student's fault.
    """
    candidates = _candidates(files, slug=slug, endings=endings, starters=starters)
    if not candidates:
        raise _nothing(files, slug=slug, endings=endings)
    chosen = _choose(candidates, slug=slug, endings=endings)
    folder = chosen.path[: -len(PurePosixPath(chosen.path).name)]
    passed = {one.path for one in candidates if one.is_untouched or one.is_older([chosen])}
    passed.add(chosen.path)
    beside = {
        path.removeprefix(folder): content
        for path, content in files.items()
        if path.startswith(folder) and path not in passed
    }
    names = _real_names(beside, taken=chosen.name)
    work = {real: beside[name] for name, real in names.items() if not _is_mark(real)}
    return Work(
        chosen=chosen.name,
        path=chosen.path,
        files={**work, chosen.name: chosen.content},
        elsewhere=tuple(p for p in files if not p.startswith(folder) and not _is_mark(p)),
        notices=_notices(chosen, candidates),
    )


def _candidates(
    files: Mapping[str, bytes],
    *,
    slug: str,
    endings: Collection[str],
    starters: Collection[str],
) -> list[_Candidate]:
    untouched, deep = _marked_untouched(files), _too_deep(files)
    found: list[_Candidate] = []
    for path, content in files.items():
        name = real_name(PurePosixPath(path).name)
        stem, dot, ending = name.rpartition(".")
        if f"{dot}{ending}".lower() not in endings or not stem:
            continue
        if ending.lower() == "py" and shadows(stem) and len(files) > 1:
            continue
        rank = _rank(name, content, slug)
        if rank is not _Rank.SLUG and assignment_of(name, content) not in ("", slug):
            continue
        if rank is _Rank.NOTHING and (path in deep or "harness" in path.split("/")):
            continue
        is_untouched = path in untouched or (
            bool(starters) and fingerprint(name, content) in starters
        )
        versions = [_version(part) for part in path.split("/")]
        found.append(
            _Candidate(
                path=path,
                name=name,
                version=("/".join(n for n, _ in versions), tuple(n for _, n in versions)),
                rank=rank,
                is_untouched=is_untouched,
                content=content,
            )
        )
    return found


def _rank(name: str, content: bytes, slug: str) -> _Rank:
    stem = name.rpartition(".")[0]
    for wanted, rank in ((slug, _Rank.SLUG), (FALLBACK_MODULE, _Rank.SUBMISSION)):
        if _plain(stem) == _plain(wanted):
            return rank
    return _Rank.HEADER if assignment_of(name, content) == slug else _Rank.NOTHING


def assignment_of(name: str, content: bytes) -> str:
    """Return the assignment that a file says it is for; empty if it says none."""
    is_notebook = name.lower().endswith(".ipynb")
    found = _NOTEBOOK_HEADER.search(content) if is_notebook else _HEADER.search(content, 0, 400)
    return found["slug"].decode() if found else ""


def _choose(candidates: list[_Candidate], *, slug: str, endings: Collection[str]) -> _Candidate:
    """Return the one to grade: edited before untouched, named before others, top before deep."""
    named = [one for one in candidates if one.rank is not _Rank.NOTHING] or candidates
    edited = [one for one in named if not one.is_untouched]
    renamed = [one for one in candidates if not one.is_untouched]
    if not edited and len(renamed) == 1:
        edited = renamed
    likely = edited or named
    likely = [one for one in likely if not one.is_older(likely)]

    def keys(one: _Candidate) -> tuple[int, int, bool]:
        return one.path.count("/"), one.rank, one.is_copy

    best = min(keys(one) for one in likely)
    likely = [one for one in likely if keys(one) == best]
    if len({(one.name, one.content) for one in likely}) == 1 or not edited:
        return min(likely, key=lambda one: ENDINGS.index(PurePosixPath(one.name).suffix.lower()))
    listed = list_names([one.path for one in likely])
    if likely[0].rank is _Rank.NOTHING:
        raise IntakeError(
            f"expected one file to grade, or one named {_wanted(slug, endings)}, found {listed}",
            hint=f"rename the file that holds your work to {slug}, and keep its ending",
        )
    raise IntakeError(
        f"expected one file to grade, found {listed}",
        hint="keep the file that holds your work, and rename or remove the others",
    )


def _nothing(files: Mapping[str, bytes], *, slug: str, endings: Collection[str]) -> IntakeError:
    """Return what to say where no file can be graded: what there was instead, and what to do."""
    wanted = _wanted(slug, endings)
    paths = [path for path in files if not _is_mark(path)]
    others = {path: assignment_of(path, content) for path, content in files.items()}
    other = next((path for path in sorted(others) if others[path] not in ("", slug)), "")
    deep = sorted(p for p in _too_deep(files) if p.lower().endswith(tuple(endings)))
    packed = [path for path in paths if path.lower().endswith(_OTHER_ARCHIVES)]
    found = list_names(paths) or "no file at all (hidden files and folders are not looked at)"
    hint = (
        f"name the file with your work {wanted}, and hand in that file, or a folder or zip with "
        "that file at its top"
    )
    if other:
        found = f"{found}; {show(other)} says that it is for {others[other]}"
    elif deep:
        found = f"{found}; {show(deep[0])} lies too deep in folders"
    elif packed:
        found = f"{found}; only .zip archives can be opened"
        hint = f"unpack {list_names(packed)}, and hand in {wanted}, or a .zip with that file"
    return IntakeError(f"expected a file such as {wanted}, found {found}", hint=hint)


def _too_deep(files: Iterable[str]) -> frozenset[str]:
    """Return the paths that lie too deep for a file whose name says nothing.

    Neither archives count, nor one folder around everything.
    """
    folders = {path: path.split("/")[:-1] for path in files}
    tops = {parts[0] if parts else "" for parts in folders.values()}
    allowed = MAX_UNNAMED_DEPTH + (len(tops) == 1 and tops != {""})
    return frozenset(
        path
        for path, parts in folders.items()
        if sum(not part.lower().endswith(".zip") for part in parts) > allowed
    )


def _notices(chosen: _Candidate, candidates: Iterable[_Candidate]) -> tuple[str, ...]:
    notices: list[str] = []
    if chosen.path != chosen.name:
        is_renamed = PurePosixPath(chosen.path).name != chosen.name
        read_as = f", read as {show(chosen.name)}" if is_renamed else ""
        notices.append(f"graded: {show(chosen.path)}{read_as}")
    older = [one.path for one in candidates if one.is_older([chosen]) and not one.is_untouched]
    if older:
        notices.append(f"not used: {list_names(older)}; {show(chosen.path)} {NEWER}")
    untouched = [one.path for one in candidates if one.is_untouched and one.path != chosen.path]
    if chosen.is_untouched:
        notices.append(f"{show(chosen.name)} is the starter as it was handed out: {UNEDITED}")
    elif untouched:
        notices.append(f"not used: {list_names(untouched)}, the starter as it was handed out")
    return tuple(notices)


def _real_names(names: Iterable[str], *, taken: str) -> dict[str, str]:
    """Return each path's name as what it is; as it was, where another file has that name."""
    paths = list(names)
    used = {taken, *paths}
    real: dict[str, str] = {}
    for path in paths:
        folder, slash, name = path.rpartition("/")
        better = f"{folder}{slash}{real_name(name)}"
        real[path] = path if better in used else better
        used.add(real[path])
    return real


def _marked_untouched(files: Mapping[str, bytes]) -> frozenset[str]:
    """Return the paths of starters that are as a `.grader.toml` beside them says."""
    untouched: set[str] = set()
    for path, content in files.items():
        if not _is_mark(path) or len(content) > _MAX_MARK_BYTES:
            continue
        try:
            hashes = dict(tomllib.loads(content.decode("utf-8"))["files"])
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # a damaged mark tells nothing
        folder = path.removesuffix(MARK_FILE)
        for name, digest in ((n, d) for n, d in hashes.items() if "/" not in n):
            source = files.get(f"{folder}{name}", b"")
            both = (source, source.replace(b"\r\n", b"\n"))
            if digest in [hashlib.sha256(one).hexdigest() for one in both]:
                untouched.add(f"{folder}{name}")
    return frozenset(untouched)


def _source(cell: Mapping[str, object]) -> tuple[str, str]:
    source = cell["source"]
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    return str(cell["cell_type"]), text.replace("\r\n", "\n").rstrip()


def _is_mark(path: str) -> bool:
    return PurePosixPath(path).name == MARK_FILE


def _wanted(slug: str, endings: Iterable[str]) -> str:
    return " or ".join(f"{slug}{ending}" for ending in endings)


def _plain(stem: str) -> str:
    """Return a file stem for comparison: people differ in case, spaces and dashes."""
    return _WORD_BREAKS.sub("_", stem.strip().lower())

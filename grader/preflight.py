"""Looks at a class before it is graded: who is who, which file, what becomes of it, how long.

Nothing is run, no sandbox is started and torch is not imported, so that the answer comes in
seconds.
"""

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from grader.assignment.reading import read_submission
from grader.assignment.table import Assignment, load_assignment
from grader.errors import GraderError, UsageError
from grader.intake import Origin, Rejected, Submission, SubmissionSource, collect
from grader.intake.files import show
from grader.intake.notebook import one_reader
from grader.record.class_list import (
    ClassList,
    Earlier,
    RosterResult,
    compare,
    enrol,
    owner_text,
    plain,
    read_class,
    read_earlier,
    read_roster,
)
from grader.record.run_folder import RunFacts

GUESSED_PROBLEM_S = 1.0
GUESSED_TARGET_S = 8.0
"""Of a complete `kv_cache` submission on two busy cores; used before the first grade only."""
NEAREST = 3
_ENDINGS = {Origin.MODULE: "py", Origin.NOTEBOOK: "ipynb", Origin.CUDA: "cu"}
_UNSETTLED = ("ungraded", "rejected")
_Read = Submission | Rejected | GraderError


def duration_text(seconds: float) -> str:
    """Return a duration as people say it."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    hours, minutes = divmod(minutes, 60)
    return f"about {hours} h {minutes} min" if hours else f"about {minutes} min"


def list_some(names: Iterable[str], shown: int) -> str:
    """Return names as a list, printable; of many, only the first."""
    listed = [show(name) for name in names]
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more


class Fate(StrEnum):
    """What becomes of a submission.

    GRADE: it is run and graded.
    KEPT: it was graded before, under this plan, and is not graded again.
    REJECT: it cannot be read; it gets no score.
    FAIL: it cannot be read because of this machine, such as for want of rights.
    LEFT_OUT: `--only` does not name it.
    """

    GRADE = "grade"
    KEPT = "kept"
    REJECT = "reject"
    FAIL = "fail"
    LEFT_OUT = "left_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One submission before it is graded.

    Attributes:
        name: of its row and folders.
        owner: as the files or the course site name them.
        original: the file, folder or member of an archive that it was found in.
        file: path of the graded file in it; empty if none can be read.
        attempts: all that the course site exported, oldest first; `attempt` is the one taken.
        reason: why it is rejected or fails; empty for all others.
        notices: what the student is told about the choice of files, and about loading them.
        same_as: names of others who handed in the same bytes.
        earlier: status of the newest record of this name; empty without one.
        changed: whether that record is of other bytes.
    """

    name: str
    owner: str
    original: str
    file: str
    attempts: tuple[str, ...]
    attempt: str
    late: bool
    fate: Fate
    reason: str
    notices: tuple[str, ...]
    same_as: tuple[str, ...]
    earlier: str
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """How long grading takes, in seconds of wall time, and what that rests on."""

    each_s: float
    total_s: float
    rests_on: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What grading would do.

    Attributes:
        only: the names that `--only` chose; empty for the whole class.
        aside: names whose records are kept, but who are no longer in the class.
        elsewhere: who was graded before out of other paths, and stays in the grades, each with the
            path: "Ada (moodle.zip)".
        roster: empty if none was given.
    """

    assignment: str
    entries: tuple[Entry, ...]
    only: frozenset[str]
    aside: tuple[str, ...]
    elsewhere: tuple[str, ...]
    roster: tuple[RosterResult, ...]
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the caller asks for, beside paths and assignment; as the options of `grader grade`."""

    only: tuple[str, ...] = ()
    force: bool = False
    jobs: int = 1
    roster: tuple[Path, ...] = ()


def survey(
    paths: Sequence[Path], folder: Path, out: Path, run: RunFacts | None, wish: Wish
) -> Preflight:
    """Find and read all submissions, and say what grading would do.

    `folder` is the assignment's; `run` is what the output folder keeps of an earlier run, if any.

    Raises:
        UsageError: if a path, a name in `only`, or the roster is wrong.
        StoreError: if the output folder cannot be read.
    """
    assignment = load_assignment(folder)
    roster = [read_roster(path) for path in wish.roster]
    found = collect(paths, assignment.slug)
    earlier, times = read_earlier(out)
    known, sources = enrol(read_class(out), found, paths, recorded=earlier)
    wanted = _choose(wish.only, sources)
    with one_reader():
        read = {source.name: _read(source, assignment, folder) for source in sources}
    plan_sha256 = "" if run is None or wish.force else run.plan_sha256
    same = _same_bytes(read)
    entries = tuple(
        _enter(source, read[source.name], earlier.get(source.name), same[source.name])
        for source in sources
    )
    entries = tuple(
        _decide(entry, earlier.get(entry.name), plan_sha256, left_out=entry.name not in wanted)
        for entry in entries
    )
    return Preflight(
        assignment=assignment.slug,
        entries=entries,
        only=wanted if wish.only else frozenset(),
        aside=tuple(sorted(known.aside & earlier.keys())),
        elsewhere=tuple(_elsewhere(known, earlier.keys() - read.keys())),
        roster=tuple(compare(lines, sources) for lines in roster),
        estimate=_estimate(
            assignment, times, sum(entry.fate is Fate.GRADE for entry in entries), jobs=wish.jobs
        ),
    )


def _elsewhere(known: ClassList, names: Collection[str]) -> Iterator[str]:
    """Yield those of `names` who are still in the class, each with the path that they came from."""
    for member in known.members:
        if member.present and member.name in names:
            yield f"{member.name} ({Path(member.origin).name})"


def _choose(only: Sequence[str], sources: Sequence[SubmissionSource]) -> frozenset[str]:
    """Return the names that `--only` means: a name, an owner as the files name them, a person.

    Raises:
        UsageError: naming the nearest, if nobody is called so.
    """
    if not only:
        return frozenset(source.name for source in sources)
    names: dict[str, str] = {}
    for source in sources:
        for person in source.people:
            known = (person.name, person.number, person.email)
            names |= {plain(text): source.name for text in known if text}
        names.setdefault(plain(owner_text(source)), source.name)
    names |= {plain(source.name): source.name for source in sources}
    for one in only:
        if plain(one) not in names:
            near = [name for name in names if plain(one) in name]
            near = near or difflib.get_close_matches(plain(one), names) or list(names)
            listed = list(dict.fromkeys(names[name] for name in near))[:NEAREST]
            raise UsageError(
                f"--only {one}: nobody here is called so",
                hint=f"the nearest: {', '.join(listed)}; `--dry-run` lists all",
            )
    return frozenset(names[plain(one)] for one in only)


def _read(source: SubmissionSource, assignment: Assignment, folder: Path) -> _Read:
    try:
        return read_submission(source, assignment, folder)
    except GraderError as error:  # this machine's failure: graded again later, never a zero
        return error


def _same_bytes(read: Mapping[str, _Read]) -> dict[str, tuple[str, ...]]:
    """Return for each name the others whose files have the same hash."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, one in read.items():
        if isinstance(one, Submission):
            names[one.sha256].append(name)
    same: dict[str, tuple[str, ...]] = dict.fromkeys(read, ())
    for group in names.values():
        same |= {name: tuple(other for other in group if other != name) for name in group}
    return same


def _enter(
    source: SubmissionSource, read: _Read, earlier: Earlier | None, same_as: tuple[str, ...]
) -> Entry:
    file, reason, fate, sha256 = "", "", Fate.GRADE, ""
    if isinstance(read, Submission):
        file = read.graded_file or f"{read.entry}.{_ENDINGS[read.origin]}"
        sha256 = read.sha256
    elif isinstance(read, Rejected):
        fate, reason, sha256 = Fate.REJECT, " ".join(read.text.split()), read.sha256
    else:
        fate, reason = Fate.FAIL, str(read)
    return Entry(
        name=source.name,
        owner=owner_text(source),
        original=source.original,
        file=file,
        attempts=source.attempts,
        attempt=source.attempt,
        late=source.late,
        fate=fate,
        reason=reason,
        notices=read.notices if isinstance(read, Submission) else (),
        same_as=same_as,
        earlier=earlier.status if earlier else "",
        changed=earlier is not None and earlier.submission_sha256 != sha256,
    )


def _decide(entry: Entry, earlier: Earlier | None, plan_sha256: str, *, left_out: bool) -> Entry:
    if left_out:
        return replace(entry, fate=Fate.LEFT_OUT)
    if entry.fate is not Fate.GRADE or earlier is None or entry.changed:
        return entry
    settled = earlier.status not in _UNSETTLED and earlier.plan_sha256 == plan_sha256
    return replace(entry, fate=Fate.KEPT) if settled else entry


def _estimate(
    assignment: Assignment, times_s: Sequence[float], count: int, *, jobs: int
) -> Estimate:
    """Return how long `count` submissions take, by the mean of earlier ones if there are any."""
    if times_s:
        each_s = sum(times_s) / len(times_s)
        rests_on = f"the mean of {len(times_s)} graded into this folder before"
    else:
        problems = len(assignment.problems)
        targets = sum(len(problem.targets) for problem in assignment.problems)
        each_s = problems * GUESSED_PROBLEM_S + targets * GUESSED_TARGET_S
        limit_s = problems * assignment.limits.problem_wall_s
        rests_on = (
            f"a guess for {problems} problems and {targets} targets, because nothing was graded "
            f"into this folder yet; without targets one takes at most {limit_s:g} s"
        )
    return Estimate(each_s=each_s, total_s=each_s * count / jobs, rests_on=rests_on)

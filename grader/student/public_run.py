"""Runs the public cases on a student's module in a separate Python process, and watches it.

The process is `student.replay`. It reports what it does in an events file, one `Event` a line, so
an endless loop, a crash or `os._exit` costs only the problem in which it happens: the other
problems run in a new process. This needs nothing but processes and files, so it works on any
operating system. It is no sandbox, and nothing here counts for a grade.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from grader.assignment.folders import PACKAGE
from grader.assignment.public_cases import CaseName
from grader.assignment.steps import Expect
from grader.assignment.table import Assignment, Check, Limits, Problem
from grader.errors import SandboxError
from grader.evidence.faults import PARTS_LOADED, LoadFailure, damage_of
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.judgement import Cause
from grader.strict import json_converter
from grader.student.result import PublicCheck, PublicFinding, PublicResult, with_code

T = TypeVar("T")
_Asked = tuple[Problem, Check]

_CONVERTER = json_converter()


class EventKind(StrEnum):
    """What the process has just reached; `SPAWNED` is nothing yet."""

    SPAWNED = "spawned"
    STARTED = "started"
    LOADED = "loaded"
    STEP = "step"
    CHECK = "check"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the events file: the call with which a step begins, or the results of checks.

    Attributes:
        case: name of the case whose step begins; `steps` of it have begun.
        notices: those of a load: statements that raised while the others ran.
    """

    kind: EventKind
    problem: str = ""
    check: str = ""
    doing: str = ""
    case: str = ""
    steps: int = 0
    results: tuple[PublicCheck, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayJob:
    """What the process has to run.

    Attributes:
        assignment: its folder.
        problems: names of those to run, in order.
        folder: holds the student's files, and nothing else.
        display: the student's own name for it.
        files: as they lie in `folder`, with the cells that their lines are from.
        checks: those to run; all if empty. `only_case` is the one case of one check, None all.
        allowed: the assignment's `allowed_imports`.
        only: names whose statements are loaded, and no others; all if empty.
        damage: what could not be read, so that names are missing.
    """

    assignment: str
    problems: tuple[str, ...]
    folder: str
    entry: str
    display: str
    files: tuple[SourceFile, ...]
    events: str
    checks: tuple[str, ...] = ()
    only_case: int | None = None
    allowed: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    damage: tuple[LoadFailure, ...] = ()

    @property
    def path(self) -> str:
        """The file of the student's module."""
        return str(Path(self.folder) / f"{self.entry}.py")


def to_line(record: Any) -> str:  # noqa: ANN401 - any dataclass
    """Return a record as one line of JSON."""
    return json.dumps(asdict(record)) + "\n"


def from_line(kind: type[T], line: str | bytes) -> T:
    """Return the record of class `kind` in one line of JSON."""
    return _CONVERTER.structure(json.loads(line), kind)


# The package is imported from the folder of this one, whatever else is installed. Then that folder
# goes to the end of the path, where its neighbours cannot shadow the standard library.
_BOOT = """
import sys
root = sys.argv[1]
sys.path.insert(0, root)
import grader
sys.path.remove(root)
sys.path.append(root)
from grader.student.{} import main
main(sys.argv[2])
"""

START_WALL_S = 180.0
"""Seconds to start an interpreter and import torch on a slow, busy machine."""

POLL_S = 0.02
_TIMEOUT_HINTS = {
    False: "Look for a loop that does not end.",
    True: "Compile less: smaller functions, fewer shapes; or try it without compiling.",
}  # by whether compiling may have taken the time
OUTPUT_CHARACTERS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    """How a process ended before its work was done: by TIMEOUT or CRASH, after which event."""

    cause: Cause
    last: Event
    detail: str


@dataclass(slots=True)
class _Watch:
    """Compares one running process with its limits.

    Attributes:
        limits: with `compile_wall_s` 0 for a submission that names no compiler.
        events: the file that the process appends events to.
        results: of checks that are done, in this process and in earlier ones.
        notices: of loads, likewise.
        problem_s: seconds of the problem's steps that are done, without those that only compare.
    """

    limits: Limits
    events: BinaryIO
    results: list[PublicCheck]
    notices: list[str]
    last: Event = field(default_factory=lambda: Event(kind=EventKind.SPAWNED))
    problem_s: float = 0.0
    event_since: float = field(default_factory=time.monotonic)

    def update(self) -> None:
        """Note the newest events and when they came."""
        for event in self._new_events():
            now = time.monotonic()
            self.notices += [one for one in event.notices if one not in self.notices]
            if event.kind is EventKind.CHECK:
                again = {(one.problem, one.check) for one in event.results}
                kept = [one for one in self.results if (one.problem, one.check) not in again]
                self.results[:] = [*kept, *event.results]
                self._finish_step(now)
                self.event_since = now
                continue
            self._finish_step(now)
            if event.problem != self.last.problem:
                self.problem_s = 0.0
            self.last, self.event_since = event, now

    def _finish_step(self, now: float) -> None:
        if self._is_asked:
            self.problem_s += now - self.event_since

    @property
    def _is_asked(self) -> bool:
        """Whether the submission has been asked for something and has not answered."""
        return self.last.kind is EventKind.STEP and self.last.doing != Expect.__name__

    def _new_events(self) -> Iterator[Event]:
        while (line := self.events.readline()).endswith(b"\n"):
            yield from_line(Event, line)
        self.events.seek(-len(line), os.SEEK_CUR)  # the rest of this line is not written yet

    def overrun(self) -> str:
        """Return which limit is exceeded, for the student; empty if none is."""
        now = time.monotonic()
        waited, limits, spare_s = now - self.event_since, self.limits, self.limits.compile_wall_s
        call_s, load_s = limits.call_wall_s + spare_s, limits.load_wall_s + spare_s
        problem_s = limits.problem_wall_s + spare_s
        note = f", of which {spare_s:g} s are for compiling" if spare_s else ""
        match self.last.kind:
            case EventKind.STEP if self._is_asked and waited > call_s:
                return f"no reply within {call_s:g} s{note}"
            case EventKind.STEP if self._is_asked and self.problem_s + waited > problem_s:
                return f"the problem took more than {problem_s:g} s{note}"
            case EventKind.STARTED if waited > load_s:
                return f"not loaded within {load_s:g} s{note}"
            case EventKind.SPAWNED if waited > START_WALL_S:
                return f"Python and torch did not start within {START_WALL_S:g} s"
        return ""


def run_public(
    submission: Submission,
    folder: Path,
    table: Assignment,
    problems: tuple[Problem, ...],
    *,
    source: str,
    command: str = "grader check",
    only: CaseName | None = None,
) -> PublicResult:
    """Run the public cases of some problems of an assignment, which lies in `folder`.

    Args:
        submission: the student's files.
        folder: of the assignment.
        table: of the assignment.
        problems: those to run.
        source: the student's own name for the file.
        command: what the student typed, to be told how to see a case.
        only: the one case to run; its problem must be the only one.

    Raises:
        SandboxError: if the process does not start or the public cases cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="grader-check-") as scratch:
        job = lay_out(submission, folder, source, Path(scratch), only)
        spare_s = table.limits.compile_wall_s if submission.compiles() else 0.0
        limits = replace(table.limits, compile_wall_s=spare_s)
        checks, notices, output = _run_all(job, limits, _narrowed(problems, only), Path(scratch))
    module = "" if submission.origin is Origin.NOTEBOOK else Path(source).stem
    return PublicResult(
        assignment=table.slug,
        source=source,
        checks=with_code(checks, folder, module=module),
        notices=(*submission.notices, *notices),
        output=output,
        other_points=sum(target.points for one in problems for target in one.targets),
        command=command,
    )


def lay_out(
    submission: Submission, folder: Path, source: str, scratch: Path, only: CaseName | None = None
) -> ReplayJob:
    """Write the student's files into a folder below `scratch`, and return the job on them."""
    work = scratch / "work"
    work.mkdir()
    for file in submission.files:
        (work / file.name).write_text(file.text, encoding="utf-8", newline="\n")
    return ReplayJob(
        assignment=str(folder.resolve()),
        problems=(),
        folder=str(work),
        entry=submission.entry,
        display=source,
        files=submission.files,
        events="",
        allowed=submission.allowed_imports,
        damage=damage_of(submission),
        checks=(only.check,) if only else (),
        only_case=only.index if only else None,
    )


def boot_command(module: str, argument: str) -> list[str]:
    """Return the command of a process that calls `main(argument)` of a module of this folder."""
    code = _BOOT.format(module)
    return [sys.executable, "-X", "utf8", "-c", code, str(PACKAGE.parent), argument]


def _narrowed(problems: tuple[Problem, ...], only: CaseName | None) -> tuple[Problem, ...]:
    if only is None:
        return problems
    return tuple(
        replace(one, checks=tuple(check for check in one.checks if check.name == only.check))
        for one in problems
    )


def _run_all(
    job: ReplayJob, limits: Limits, problems: tuple[Problem, ...], scratch: Path
) -> tuple[tuple[PublicCheck, ...], tuple[str, ...], str]:
    """Run every problem; after a problem that ended its process, go on in a new one.

    If loading the file ends the process, each problem loads only the statements that it needs.
    """
    left = [(problem, check) for problem in problems for check in problem.checks]
    order = [(problem.name, check.name) for problem, check in left]
    results: list[PublicCheck] = []
    notices: list[str] = []
    output, attempt, sliced = "", 0, False
    while left:
        attempt += 1
        events = scratch / f"events-{attempt}.jsonl"
        names = tuple(dict.fromkeys(problem.name for problem, _ in left))[: 1 if sliced else None]
        only = left[0][0].exports if sliced else ()
        part = replace(job, problems=names, events=str(events), only=only)
        ending = _run_once(part, limits, results, notices)
        output += events.with_suffix(".txt").read_text(encoding="utf-8", errors="replace")
        left = _without_done(left, results)
        if ending is None:
            continue
        if not ending.last.problem and not sliced:
            sliced = True
            notices.append(PARTS_LOADED.format(ending.detail))
            continue
        stuck = ending.last.problem or names[0]
        ended = [(p, c) for p, c in left if p.name == stuck]
        names = tuple(check.name for _, check in ended)
        if before := names[
            : names.index(ending.last.check) if ending.last.check in names else 0
        ]:  # they are done, but what they replied was not compared yet
            events = scratch / f"events-{attempt}-before.jsonl"
            part = replace(part, problems=(stuck,), events=str(events), checks=before)
            _run_once(part, limits, results, notices)
            left, ended = _without_done(left, results), _without_done(ended, results)
        results += [_stopped(problem, check, ending, output) for problem, check in ended]
        left = [one for one in left if one not in ended]
    results.sort(key=lambda result: order.index((result.problem, result.check)))
    return tuple(results), tuple(notices), output[-OUTPUT_CHARACTERS:]


def _without_done(left: list[_Asked], results: list[PublicCheck]) -> list[_Asked]:
    done = {(result.problem, result.check) for result in results}
    return [(p, c) for p, c in left if (p.name, c.name) not in done]


def _run_once(
    job: ReplayJob, limits: Limits, results: list[PublicCheck], notices: list[str]
) -> _Ending | None:
    """Run one process to its end, add to what is known; return None if it did all of its work."""
    events = Path(job.events)
    printed = events.with_suffix(".txt")
    events.touch()
    (job_file := events.with_suffix(".job")).write_text(to_line(job), encoding="utf-8")
    with events.open("rb") as stream, printed.open("wb") as out:
        watch = _Watch(limits=limits, events=stream, results=results, notices=notices)
        process = subprocess.Popen(
            boot_command("replay", str(job_file)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=job.folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            late = _wait(process, watch)
        finally:
            process.kill()
            process.wait()
        watch.update()
    if watch.last.kind is EventKind.SPAWNED:
        lines = printed.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise SandboxError(
            f"Python could not start the public cases: {late or lines[-1:] or process.returncode}",
            hint="install the project again; if that does not help, tell the course staff",
        )
    if late:
        return _Ending(cause=Cause.TIMEOUT, last=watch.last, detail=late)
    if watch.last.kind is EventKind.DONE and process.returncode == 0:
        return None
    ended = f"Python ended with exit code {process.returncode}"
    return _Ending(cause=Cause.CRASH, last=watch.last, detail=ended)


def _wait(process: "subprocess.Popen[bytes]", watch: _Watch) -> str:
    """Wait for `process` to end; return the limit that it exceeded, empty if it ended by itself."""
    while True:
        try:
            process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            watch.update()
            if late := watch.overrun():
                return late
        else:
            return ""


def _stopped(problem: Problem, check: Check, ending: _Ending, output: str) -> PublicCheck:
    here, late = ending.last.check == check.name, ending.detail
    if here or not ending.last.problem:
        doing = f"while {ending.last.doing} ran" if here else "while your file was loaded"
        timeout = _TIMEOUT_HINTS["compiling" in late] if ending.cause is Cause.TIMEOUT else ""
        last_lines = output.strip().splitlines()[-1:] if ending.cause is Cause.CRASH else []
        hint = timeout or " ".join(["Look for calls of `exit` and for native code.", *last_lines])
    else:
        doing = f"in {ending.last.check}, before this check was reached"
        hint = f"Fix {ending.last.check} first."
    finding = PublicFinding(
        label="what your code did",
        expected="a reply",
        got=ending.detail,
        where=doing,
        hint=hint,
        case=ending.last.case if here else "",
        steps=ending.last.steps if here else 0,
    )
    return PublicCheck.not_run(problem.name, check, ending.cause, finding)

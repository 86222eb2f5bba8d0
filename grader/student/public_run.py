"""Runs the public cases on a student's module in an interpreter of its own, and watches it.

Takes: the student's source and an assignment. Gives: a `PublicResult`. Does not cover: grading;
this works on any operating system, with nothing but processes and files.

An endless loop, a crash or `os._exit` costs the problem in which it happens; the other problems
run in a fresh interpreter.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from grader.assignment.folders import PACKAGE
from grader.assignment.table import Assignment, Check, Limits, Problem
from grader.errors import SandboxError
from grader.intake.submission import Submission
from grader.judge.judgement import Cause
from grader.student.job import Event, EventKind, ReplayJob, from_line, to_line
from grader.student.result import PublicCheck, PublicFinding, PublicResult

# The package comes from where this one lies, whatever else is installed; after that its folder goes
# to the end of the path, where its neighbours cannot shadow the standard library.
_BOOT = """
import sys
root = sys.argv[1]
sys.path.insert(0, root)
import grader
sys.path.remove(root)
sys.path.append(root)
from grader.student.replay import main
main(sys.argv[2])
"""

START_WALL_S = 180.0
"""Seconds to start an interpreter and import torch on a slow, busy machine."""

POLL_S = 0.02
OUTPUT_CHARACTERS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ending:
    """How an interpreter ended before its work was done.

    Attributes:
        cause: TIMEOUT or CRASH.
        last: the last event that came.
        detail: what happened, for the student.
    """

    cause: Cause
    last: Event
    detail: str


@dataclass(slots=True)
class _Tail:
    """Reads the events file as it grows, whole lines only."""

    path: Path
    offset: int = 0
    rest: str = ""

    def new_events(self) -> Iterator[Event]:
        """Yield the events that came since the last call."""
        with self.path.open(encoding="utf-8") as file:
            file.seek(self.offset)
            text = self.rest + file.read()
            self.offset = file.tell()
        *lines, self.rest = text.split("\n")
        yield from (from_line(Event, line) for line in lines)


@dataclass(slots=True)
class _Watch:
    """Holds the limits against one running interpreter."""

    limits: Limits
    results: list[PublicCheck]
    last: Event = field(default_factory=lambda: Event(kind=EventKind.SPAWNED))
    problem_since: float = 0.0
    event_since: float = field(default_factory=time.monotonic)

    def take(self, events: Iterable[Event]) -> None:
        """Note what was reached, and when."""
        for event in events:
            now = time.monotonic()
            if event.kind is EventKind.CHECK:
                self.results.extend(event.results)
                self.event_since = now
                continue
            if event.problem != self.last.problem:
                self.problem_since = now
            self.last, self.event_since = event, now

    def overrun(self) -> str:
        """Return which limit is exceeded, for the student; empty if none is."""
        now = time.monotonic()
        waited, limits = now - self.event_since, self.limits
        match self.last.kind:
            case EventKind.STEP if waited > limits.call_wall_s:
                return f"no reply within {limits.call_wall_s:g} s"
            case EventKind.STEP if now - self.problem_since > limits.problem_wall_s:
                return f"the problem took more than {limits.problem_wall_s:g} s"
            case EventKind.STARTED if waited > limits.load_wall_s:
                return f"not loaded within {limits.load_wall_s:g} s"
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
) -> PublicResult:
    """Run the public cases of `problems`.

    Args:
        submission: the student's work, taken in.
        folder: folder of the assignment.
        table: what its `assignment.toml` says.
        problems: those to run, in order.
        source: the student's own name for the file.

    Raises:
        SandboxError: if the interpreter does not start or the public cases cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="grader-check-") as scratch:
        job = _prepare(submission, folder, Path(scratch), source)
        checks, output = _run_all(job, table.limits, problems, Path(scratch))
    return PublicResult(
        assignment=table.slug,
        source=source,
        checks=checks,
        notices=submission.notices,
        output=output,
    )


def _prepare(submission: Submission, folder: Path, scratch: Path, source: str) -> ReplayJob:
    worker = scratch / "box"
    worker.mkdir()
    for file in submission.files:
        (worker / file.name).write_text(file.text, encoding="utf-8", newline="\n")
    return ReplayJob(
        assignment=str(folder.resolve()),
        problems=(),
        folder=str(worker),
        entry=submission.entry,
        display=source,
        cells=tuple((at.cell, at.line) for at in submission.files[0].cell_lines),
        events="",
    )


def _run_all(
    job: ReplayJob, limits: Limits, problems: tuple[Problem, ...], scratch: Path
) -> tuple[tuple[PublicCheck, ...], str]:
    """Run every problem, with a fresh interpreter after each one that ended badly."""
    left, results, output = list(problems), list[PublicCheck](), ""
    attempt = 0
    while left:
        attempt += 1
        events = scratch / f"events-{attempt}.jsonl"
        names = tuple(problem.name for problem in left)
        watch = _Watch(limits=limits, results=results)
        printed = scratch / f"output-{attempt}.txt"
        ending = _run_once(replace(job, problems=names, events=str(events)), watch, printed)
        output += printed.read_text(encoding="utf-8", errors="replace")
        if ending is None:
            break
        stuck = ending.last.problem
        ended = [p for p in left if p.name == stuck] if stuck else left
        done = {(result.problem, result.check) for result in results}
        for problem in ended:
            open_checks = [c for c in problem.checks if (problem.name, c.name) not in done]
            results.extend(_stopped(problem, check, ending, output) for check in open_checks)
        closed = {(result.problem, result.check) for result in results}
        left = [p for p in left if any((p.name, c.name) not in closed for c in p.checks)]
    order = [(p.name, c.name) for p in problems for c in p.checks]
    results.sort(key=lambda result: order.index((result.problem, result.check)))
    return tuple(results), output[-OUTPUT_CHARACTERS:]


def _run_once(job: ReplayJob, watch: _Watch, printed: Path) -> _Ending | None:
    """Run one interpreter to its end; None if it did all of its work."""
    events = Path(job.events)
    events.touch()
    job_file = events.with_suffix(".job")
    job_file.write_text(to_line(job), encoding="utf-8")
    boot = ["-X", "utf8", "-c", _BOOT, str(PACKAGE.parent), str(job_file)]
    tail = _Tail(path=events)
    with printed.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *boot],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=job.folder,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            late = _wait(process, watch, tail)
        finally:
            process.kill()
            process.wait()
    watch.take(tail.new_events())
    if watch.last.kind is EventKind.SPAWNED:
        words = printed.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise SandboxError(
            f"Python could not start the public cases: {late or words[-1:] or process.returncode}",
            hint="install the project again; if that does not help, tell the course staff",
        )
    if watch.last.kind is EventKind.DONE and process.returncode == 0 and not late:
        return None
    if late:
        return _Ending(cause=Cause.TIMEOUT, last=watch.last, detail=late)
    detail = f"Python ended with exit code {process.returncode}"
    return _Ending(cause=Cause.CRASH, last=watch.last, detail=detail)


def _wait(process: "subprocess.Popen[bytes]", watch: _Watch, tail: _Tail) -> str:
    """Wait for the end of `process`; return which limit it overran, empty if it ended by itself."""
    while True:
        try:
            process.wait(timeout=POLL_S)
        except subprocess.TimeoutExpired:
            watch.take(tail.new_events())
            late = watch.overrun()
            if late:
                return late
        else:
            return ""


def _stopped(problem: Problem, check: Check, ending: _Ending, output: str) -> PublicCheck:
    here = ending.last.check == check.name
    if here or not ending.last.problem:
        doing = f"while {ending.last.doing} ran" if here else "while your file was loaded"
        timeout = "Look for a loop that does not end." if ending.cause is Cause.TIMEOUT else ""
        last_words = output.strip().splitlines()[-1:] if ending.cause is Cause.CRASH else []
        hint = timeout or " ".join(["Look for `exit` and native code.", *last_words])
    else:
        doing = f"in {ending.last.check}, before this check was reached"
        hint = f"Mend {ending.last.check} first."
    finding = PublicFinding(
        label="what your code did", expected="a reply", got=ending.detail, where=doing, hint=hint
    )
    return PublicCheck(
        problem=problem.name,
        check=check.name,
        title=check.title,
        cause=ending.cause,
        findings=(finding,),
        cases=1,
        cases_passed=0,
    )

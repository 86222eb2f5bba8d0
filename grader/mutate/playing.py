"""Plays cases on a mutant in a process of its own, which is a fork of one that has all imported.

Takes: a program, a mutant and cases in order. Gives: what went wrong first, if anything did. Does
not cover: which mutants and cases are played (`hunt`).

A fork has a limit of its own processor time for each case, held by the system, so that an endless
loop ends; one of wall-clock time for what waits; and one of memory.
"""

import contextlib
import gc
import json
import mmap
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grader.assignment.declare import load_harness
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import PlannedCheck, PlannedProblem
from grader.correctness.instances import Instance, instances
from grader.evidence.faults import Fault
from grader.evidence.observations import ErrorObservation
from grader.judge.judgement import Cause
from grader.judge.rule import Trouble, first_trouble
from grader.mutate.mutants import Mutant
from grader.mutate.program import LineTrace, Program
from grader.runner.linux import die_with_parent
from grader.student.local_ranks import LocalRanks, Namespace, local_worker

OUR_CAUSES = frozenset({Cause.AUTHOR, Cause.INFRASTRUCTURE})
"""A mutant that only makes the case itself fail costs no student a point: it is not killed."""
MEMORY_BYTES = 2 << 30
"""That a fork may have beside what it has at its start."""
Told = Mapping[str, Any]
"""A line that a fork writes: JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One case, as every mutant plays it.

    Attributes:
        harness: names of the harness; empty if there is none.
    """

    problem: PlannedProblem
    check: PlannedCheck
    instance: Instance
    harness: Namespace

    @property
    def name(self) -> str:
        """As reports name it: `softmax.rows, hidden case 2`."""
        visibility = "public" if self.instance.public else "hidden"
        return f"{self.problem.name}.{self.check.name}, {visibility} case {self.instance.index}"

    def play(self, submission: Namespace) -> Trouble | None:
        """Run the case on a submission; return what went wrong first, or None."""
        worker = local_worker(self.problem.ranks, submission, self.harness)
        try:
            return first_trouble(self.instance.run(worker), self.check.tolerance)
        finally:
            if isinstance(worker, LocalRanks):
                worker.close()


def tests_of(loaded: LoadedAssignment) -> tuple[Test, ...]:
    """Return every case of an assignment, public and hidden.

    Raises:
        AuthorError: if the harness cannot be imported.
    """
    harness = load_harness(loaded.folder, "harness")  # so that right answers, too, can import it
    return tuple(
        Test(
            problem=problem,
            check=next(one for one in problem.checks if one.name == instance.maker.check),
            instance=instance,
            harness=harness,
        )
        for problem in loaded.plan.problems
        for instance in instances(loaded.plan, problem, loaded.cases)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one case may take."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """A running fork.

    Attributes:
        pid: the leader of a process group of its own.
        lines: where its lines are read from.
    """

    pid: int
    lines: int

    def kill(self) -> None:
        """End it and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # it may not be a leader yet
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self.lines)


def start_mutant(
    program: Program, mutant: Mutant, tests: Sequence[tuple[int, Test, Limit]]
) -> Fork:
    """Play cases on a mutant until one fails, in a fork.

    It tells {"play": number of the case} before each, {"failed": cause} after one that fails,
    {"confused": number} after one that fails itself, {"unusable": why} if the text is not Python,
    and {"survived": true} at the end. A fork that ends without a last word was killed.
    """

    def run(tell: Callable[[Told], None]) -> None:
        _limit_memory()
        scratch = program.folder.parent
        tempfile.tempdir = str(scratch)  # what a fork leaves when it is ended goes with it
        with tempfile.TemporaryDirectory(prefix="mutant-") as overlay:
            try:
                submission = program.load(mutant, Path(overlay))
            except SyntaxError as error:
                return tell({"unusable": str(error)})
            except Exception as error:  # noqa: BLE001 - a mutant may raise anything
                return tell({"failed": f"loading it: {type(error).__name__}: {error}"})
            return tell(_first_failure(submission, tests, tell))

    return _fork(run)


def _first_failure(
    submission: Namespace,
    tests: Sequence[tuple[int, Test, Limit]],
    tell: Callable[[Told], None],
) -> Told:
    """Play cases until one fails; return the last word."""
    for number, test, limit in tests:
        tell({"play": number})
        signal.setitimer(signal.ITIMER_PROF, limit.cpu_s)
        trouble = test.play(submission)
        if trouble and trouble.cause not in OUR_CAUSES:
            return {"failed": trouble.cause.value}
        if trouble:
            tell({"confused": number})
    return {"survived": True}


def start_watched(program: Program, tests: Sequence[tuple[int, Test]]) -> Fork:
    """Play cases on a program that must pass them, in a fork, and note which lines each runs.

    It tells {"test": number, "cpu_s": …, "wall_s": …, "lines": {file: numbers}, "trouble": why}
    after each case, and {"failed": why} if the program cannot be loaded.
    """

    def run(tell: Callable[[Told], None]) -> None:
        trace = LineTrace(program, memoryview(mmap.mmap(-1, LineTrace.size(program))))
        try:
            submission = program.load()
        except Exception as error:  # noqa: BLE001 - the author's code
            return tell({"failed": f"loading it: {type(error).__name__}: {error}"})
        for number, test in tests:
            wall_s, cpu_s = time.monotonic(), _cpu_s()
            trace.start()
            trouble = test.play(submission)
            trace.stop()
            tell(
                {
                    "test": number,
                    "wall_s": time.monotonic() - wall_s,
                    "cpu_s": _cpu_s() - cpu_s,
                    "lines": dict(trace.take()),
                    "trouble": _words(trouble) if trouble else "",
                }
            )
        return None

    return _fork(run)


def _words(trouble: Trouble) -> str:
    """Return what went wrong, for the author."""
    match trouble.seen:
        case Fault() as fault:
            return fault.detail or fault.message
        case ErrorObservation() as seen:
            return f"{seen.label}: expected {seen.expected}, got {seen.text or 'no exception'}"
        case seen:
            found = seen.comparison
            return f"{seen.label}{found.where}: expected {found.expected}, got {found.got}"


def _cpu_s() -> float:
    """Return the processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _limit_memory() -> None:
    with contextlib.suppress(OSError, ValueError):  # not on every system
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def freeze() -> None:
    """Keep all that exists out of the garbage collector, so that forks share its memory."""
    gc.collect()
    gc.freeze()


def _fork(run: Callable[[Callable[[Told], None]], None]) -> Fork:
    """Run a function in a fork that writes lines to the pipe that is returned."""
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        pid = os.fork()
    if pid:
        os.close(theirs)
        return Fork(pid=pid, lines=ours)
    try:
        os.setsid()
        if sys.platform == "linux":
            die_with_parent()
        os.close(ours)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        warnings.simplefilter("ignore")

        def tell(told: Told) -> None:
            os.write(theirs, (json.dumps(told) + "\n").encode())

        run(tell)
    finally:
        os._exit(0)  # an exception ends it without a last word
    return None  # type: ignore[unreachable]


def read_lines(fork: Fork, before: bytes) -> tuple[list[Told], bytes, bool]:
    """Return the lines that a fork has written, the rest of one, and whether it has ended.

    Args:
        fork: there is something to read from it, or it has ended.
        before: the rest of the last time.
    """
    read = os.read(fork.lines, 1 << 16)
    *lines, rest = (before + read).split(b"\n")
    return [json.loads(line) for line in lines], rest, not read


def whole(fork: Fork) -> Iterator[Told]:
    """Yield the lines of a fork until it ends."""
    rest, ended = b"", False
    while not ended:
        lines, rest, ended = read_lines(fork, rest)
        yield from lines

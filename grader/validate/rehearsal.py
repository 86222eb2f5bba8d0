"""Plays every case on the solution before anything is graded: what fails here is told alone.

If the solution fails, everything else fails with it; so each cause is told once, with its place in
the author's files, and nothing more is run. Then every case is played again under the same seed:
with the recorded replies in this process, and on the solution in a second one, whose sets have
another order. Nothing random is reset in between. A case that asks or expects something else then
would give each student other inputs, and a grade could not be repeated.

A set of two strings has the same order in half of all second processes; such a case may pass once.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from grader.assignment.declare import written_at
from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference
from grader.assignment.plan import PlannedCheck, PlannedProblem
from grader.correctness.instances import instances
from grader.errors import AuthorError
from grader.evidence.comparison import Mismatch, use_one_thread
from grader.evidence.faults import NAME_MISSING, Fault, FaultKind
from grader.evidence.observations import ErrorObservation, ValueObservation
from grader.judge.rule import NOTHING_COMPARED, Trouble, allowed_error, first_trouble
from grader.release.record_public import difference, place_of
from grader.student.local_ranks import Namespace
from grader.validate.published import Cover
from grader.validate.recording import (
    PlayedCase,
    Watch,
    play_case,
    playing_worker,
    recorded_worker,
)
from grader.validate.seed_vetting import load_here

SMALL_ERROR = 1e-2
"""A larger error without a tolerance is more than rounding: it is told as a wrong value."""
STEPS, ERRORS = "steps.jsonl", "errors.txt"
"""Files that the second process writes."""
Played = Mapping[str, Sequence[PlayedCase]]
"""The cases of an assignment, by problem."""
Steps = Mapping[str, Sequence[str]]
"""The steps of cases, by the name of the case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """The cases of an assignment as the solution played them in this process.

    Attributes:
        solution: names of the solution's module; `harness` those of the harness, if there is one.
        played: every public and hidden case, by problem.
        causes: why the solution fails; empty if it passes every check.
        unsteady: cases that differ when they are played again under the same seed.
        cover: the kinds of arguments of all cases so far.
    """

    solution: Namespace
    harness: Namespace
    played: Mapping[str, tuple[PlayedCase, ...]]
    causes: tuple[str, ...]
    unsteady: tuple[str, ...] = ()
    cover: Cover = field(default_factory=Cover)


def rehearse(loaded: LoadedAssignment) -> Rehearsal:
    """Play every case on the solution, once.

    Raises:
        AuthorError: if the solution or the harness cannot be imported.
    """
    use_one_thread()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries; in a sandbox they are not shown either
        solution, harness = load_here(loaded)
        cover = Cover()
        played = {
            problem.name: _play(loaded, problem, solution, harness, watch=cover.watch)
            for problem in loaded.plan.problems
        }
    causes = _causes(loaded, played)
    return Rehearsal(solution=solution, harness=harness, played=played, causes=causes, cover=cover)


def rehearse_twice(loaded: LoadedAssignment) -> Rehearsal:
    """Play every case on the solution; if it passes, also find the cases that differ the next time.

    Raises:
        AuthorError: if the solution or the harness cannot be imported.
    """
    with _second_process(loaded) as second:
        first = rehearse(loaded)
        here = replay(loaded, first.played)
        if first.causes:  # one that does not repeat may be why
            causes = (*find_unsteady(first.played, here), *first.causes)
            return replace(first, causes=causes)
        try:
            there = second.steps()
        except AuthorError as error:
            return replace(first, unsteady=(str(error), *find_unsteady(first.played, here)))
    return replace(first, unsteady=tuple(find_unsteady(first.played, here, there)))


def replay(loaded: LoadedAssignment, played: Played) -> Steps:
    """Play every case again in this process, with the recorded replies; nothing is reset before."""
    problems = {problem.name: problem for problem in loaded.plan.problems}
    return {
        one.name: play_case(one.instance, playing_worker(problems[name], one.replies)).steps
        for name, cases in played.items()
        for one in cases
    }


def _play(
    loaded: LoadedAssignment,
    problem: PlannedProblem,
    solution: Namespace,
    harness: Namespace,
    *,
    watch: Watch = lambda instance, step: None,
) -> tuple[PlayedCase, ...]:
    found = []
    for instance in instances(loaded.plan, problem, loaded.cases):
        worker = recorded_worker(
            problem, solution, harness, partial(place_of, below=loaded.reference)
        )
        found.append(play_case(instance, worker, watch))
        worker.close()
    return tuple(found)


# Why the solution fails ---------------------------------------------------------------------------


def _causes(loaded: LoadedAssignment, played: Played) -> tuple[str, ...]:
    """Return each cause once, with the checks that fail because of it."""
    found: dict[str, dict[str, None]] = {}
    for problem in loaded.plan.problems:
        for check in problem.checks:
            cases = [one for one in played[problem.name] if one.instance.maker.check == check.name]
            troubles = [(one, first_trouble(one.measurement, check.tolerance)) for one in cases]
            failed = [(one, trouble) for one, trouble in troubles if trouble is not None]
            if failed:
                first, trouble = failed[0]
                cause = _cause(loaded, check, first, trouble)
                count = f"{len(failed)} of {len(cases)} cases"
                found.setdefault(cause, {})[f"{problem.name}.{check.name} ({count})"] = None
    return tuple(f"{', '.join(checks)}: {cause}" for cause, checks in found.items())


def _cause(
    loaded: LoadedAssignment, check: PlannedCheck, played: PlayedCase, trouble: Trouble
) -> str:
    """Return why a case fails on the solution."""
    place = written_at(played.instance.maker.code)
    if played.errors:
        error = played.errors[0]
        line = place_of(error, loaded.reference)
        return f"the case or its oracle raises {type(error).__name__}: {error}; {line}"
    match trouble.seen:
        case Fault() as fault if fault is NOTHING_COMPARED:
            return f"its case compares nothing ({place}); let it yield `Expect` or `Raises`"
        case Fault() as fault if fault.kind is FaultKind.AUTHOR:
            return f"{fault.message} ({place})"
        case Fault() as fault:
            told = fault.detail or fault.message
            if fault.message == NAME_MISSING:
                told += f" is not defined in solution.py; define it, or correct {place}"
            return f"the solution ends the case: {told}{fault.where and f'; {fault.where}'}"
        case ErrorObservation() as seen:
            got = seen.text or "no exception"
            told = f"{seen.label}: expected {seen.expected}, got {got}"
            return f"the solution fails it ({place}): {told}"
        case seen:
            return _wrong_value(check, seen, place)


def _wrong_value(check: PlannedCheck, seen: ValueObservation, place: str) -> str:
    found = seen.comparison
    if (
        found.mismatch is Mismatch.NONE
        and found.dtype not in check.tolerance
        and found.error < SMALL_ERROR
    ):
        return (
            f"it compares floats of dtype {found.dtype} and states no tolerance, so they must be "
            f"equal bit for bit; the solution is off by {found.error:.2g} of the output's scale. "
            f"Add `tolerance = {{ {found.dtype} = … }}` to its [[problem.check]] in assignment.toml"
        )
    size = ""
    if found.mismatch is Mismatch.NONE:
        allowed = allowed_error(found, check.tolerance)
        size = f" (error {found.error:.2g} of the output's scale, allowed {allowed:.2g})"
    return (
        f"the solution fails it ({place}): {seen.label}{found.where}: the oracle gives "
        f"{found.expected}, the solution {found.got}{size}"
    )


# Whether cases repeat themselves ------------------------------------------------------------------


def find_unsteady(played: Played, *others: Steps) -> Iterator[str]:
    """Yield a complaint for the first case of each check that differs in another play of it."""
    told: set[str] = set()
    for one in (case for cases in played.values() for case in cases):
        check = one.name.partition(",")[0]
        differences = (_first_difference(one.steps, o.get(one.name, one.steps)) for o in others)
        where = next(filter(None, differences), "")
        if where and check not in told:
            told.add(check)
            yield (
                f"{one.name} ({written_at(one.instance.maker.code)}): played twice under one seed, "
                f"it differs in {where}. Take everything random from `draw`, nothing from the "
                "clock, and sort what comes from a set; else each student gets other inputs"
            )


def _first_difference(before: Sequence[str], now: Sequence[str]) -> str:
    """Return the first step in which two plays of a case differ, and how; empty if in none."""
    for number, (old, new) in enumerate(zip(before, now, strict=False), 1):
        if old != new:
            step = json.loads(old)
            where = difference(step, json.loads(new))
            if where:
                keys = ("label", "method", "target", "class", "op")
                name = next(step[key] for key in keys if step.get(key))
                return f"step {number} ({name}): {where}"
    counts = f"the number of steps: {len(before)}, now {len(now)}"
    return counts if len(before) != len(now) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _SecondProcess:
    """Another process that plays all cases; `folder` has what it writes."""

    process: "subprocess.Popen[bytes]"
    folder: Path

    def steps(self) -> Steps:
        """Wait for it, and return the steps of its cases.

        Raises:
            AuthorError: if it could not play them.
        """
        if self.process.wait() != 0:
            told = (self.folder / ERRORS).read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line for line in reversed(told) if line.strip()), "it was ended")
            raise AuthorError(f"the cases cannot be played in a second process: {last.strip()}")
        with (self.folder / STEPS).open(encoding="utf-8") as lines:
            return dict(json.loads(line) for line in lines)


@contextlib.contextmanager
def _second_process(loaded: LoadedAssignment) -> Iterator[_SecondProcess]:
    """Start to play all cases in another process, which has another order of sets."""
    code = "from grader.validate.rehearsal import play_again; play_again()"
    with tempfile.TemporaryDirectory(prefix="grader-validate-") as scratch:
        folder = Path(scratch)
        told = (loaded.folder, loaded.reference, loaded.plan.device, loaded.plan.seed, folder)
        with (folder / ERRORS).open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, told)],
                env={**os.environ, "PYTHONHASHSEED": str(1 + secrets.randbelow(2**32 - 1))},
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
            )
        try:
            yield _SecondProcess(process=process, folder=folder)
        finally:
            process.kill()
            process.wait()


def play_again() -> None:
    """Play all cases of an assignment and write their steps; this is what a second process does."""
    assignment, reference, device, seed, folder = sys.argv[1:]
    use_one_thread()
    loaded = load_assignment_with_reference(
        Path(assignment), Path(reference), device=device, seed=seed
    )
    solution, harness = load_here(loaded)
    with (Path(folder) / STEPS).open("w", encoding="utf-8") as lines:
        for problem in loaded.plan.problems:
            for one in _play(loaded, problem, solution, harness):
                lines.write(json.dumps([one.name, one.steps]) + "\n")

"""The process that runs a student's module through the public cases.

Its job is a file with a `ReplayJob`. It writes a line to the events file when a step begins and
when a check is done, so that `student.public_run`, which starts and watches it and holds the
limits, knows where an endless loop or a crash happened.
"""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from grader.assignment.declare import load_harness
from grader.assignment.public_cases import CaseName, split_case_name
from grader.assignment.steps import (
    Call,
    CaseSteps,
    Each,
    Expect,
    New,
    On,
    Raises,
    Step,
    Value,
    tap,
)
from grader.assignment.table import Check, Problem, load_assignment
from grader.correctness.drive import Worker, drive
from grader.evidence.faults import FaultKind, LoadFailure
from grader.evidence.observations import CaseMeasurement
from grader.judge.judgement import Cause
from grader.runner.denial import OperationDenied, denied_here
from grader.runner.loading import Loading
from grader.runner.worker import stack_of
from grader.student.local_ranks import local_worker
from grader.student.public_run import Event, EventKind, ReplayJob, from_line, to_line
from grader.student.result import PublicCheck, PublicFinding
from grader.student.trace import Recording, TracedProblem, load_problem, play
from grader.student.verdict import Origin, judge_check, origins_of

_KEPT = frozenset(
    "PATH LANG TMPDIR TEMP TMP CC CXX CUDA_HOME CUDA_PATH CUDA_VISIBLE_DEVICES SYSTEMROOT COMSPEC "
    "PATHEXT".split()
)
_KEPT_BEGIN = ("LC_", "LD_", "DYLD_", "OMP_", "MKL_", "KMP_", "GLOO_", "TRITON_", "TORCH", "PYTHON")
"""Variables that Python, torch and compilers need; those of grading are in `runner.confinement`."""


def replay(job: ReplayJob, emit: Callable[[Event], None]) -> None:
    """Run a job and tell what it does."""
    folder = Path(job.assignment)
    assignment = load_assignment(folder)
    wanted = [p for p in assignment.problems if p.name in job.problems]
    if any(problem.ranks > 1 for problem in wanted):
        _import_all(assignment.limits.preload)
    recorded = {problem.name: load_problem(folder, problem.name) for problem in wanted}
    harness = load_harness(folder, "harness")  # so that the submission, too, can import it
    emit(Event(kind=EventKind.STARTED))  # what fails from here on is the student's
    locate, reply_bytes = partial(_locate, job), assignment.limits.reply_bytes
    try:
        submission, failures = load(job)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything
        finding = _import_failed(error, locate(error))
        failed = (
            PublicCheck.not_run(problem.name, check, Cause.CRASH, finding)
            for problem in wanted
            for check in _chosen(job, problem)
        )
        emit(Event(kind=EventKind.CHECK, results=tuple(failed)))
        emit(Event(kind=EventKind.DONE))
        return
    emit(
        Event(
            kind=EventKind.LOADED,
            notices=tuple(one.notice for one in failures if one not in job.damage),
        )
    )
    for problem in wanted:
        for check in _chosen(job, problem):
            open_ = partial(local_worker, problem.ranks, submission, harness, locate=locate)
            worker = open_(failures=failures, reply_bytes=reply_bytes)
            observe = partial(_tell_step, emit)
            result = run_check(
                problem, check, recorded[problem.name], worker, observe, only=job.only_case
            )
            emit(Event(kind=EventKind.CHECK, results=(result,)))
        refused = _run_refused(job, problem, recorded[problem.name], harness, emit)
        emit(Event(kind=EventKind.CHECK, results=refused))
    emit(Event(kind=EventKind.DONE))


def _import_all(modules: Sequence[str]) -> None:
    """Import what every rank of every case would import again otherwise."""
    for module in modules:
        importlib.import_module(module)


def _chosen(job: ReplayJob, problem: Problem) -> list[Check]:
    return [one for one in problem.checks if job.only_check in ("", one.name)]


def _tell_step(emit: Callable[[Event], None], case: str, step: Step, steps: int) -> None:
    name = split_case_name(case)
    emit(
        Event(
            kind=EventKind.STEP,
            problem=name.problem,
            check=name.check,
            doing=_doing(step),
            case=case,
            steps=steps,
        )
    )


def _run_refused(
    job: ReplayJob,
    problem: Problem,
    traced: TracedProblem,
    harness: Mapping[str, Value],
    emit: Callable[[Event], None],
) -> tuple[PublicCheck, ...]:
    """Return the checks whose first case uses what the problem denies.

    The file is loaded and the cases are run once more, with torch refusing as in grading, and
    nothing is compared meanwhile: that would use torch, too.
    """
    found: list[PublicCheck] = []
    with contextlib.ExitStack() as stack:
        if not problem.denied:
            return ()
        # A torch that cannot refuse, or refuses this process: grading will tell.
        stack.enter_context(contextlib.suppress(OSError, OperationDenied))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))  # printed once already
        stack.enter_context(denied_here(problem.name, problem.denied))
        names, failures = load(job)
        for check in _chosen(job, problem):
            worker = local_worker(
                problem.ranks, names, harness, locate=partial(_locate, job), failures=failures
            )
            observe = partial(_tell_step, emit)
            index = job.only_case or 0
            found.append(
                run_check(problem, check, traced, worker, observe, only=index, compare=False)
            )
    return tuple(check for check in found if check.cause is Cause.FORBIDDEN)


def run_check(
    problem: Problem,
    check: Check,
    traced: TracedProblem,
    worker: Worker,
    observe: Callable[[str, Step, int], None] = lambda case, step, steps: None,
    *,
    only: int | None = None,
    compare: bool = True,
) -> PublicCheck:
    """Run the public cases of one check.

    Args:
        problem: the problem that has the check.
        check: the check to run.
        traced: the problem's recorded cases.
        worker: where the submission runs.
        observe: is told the case, the step and its number from 1, before the step runs.
        only: number of the one case to run; None runs all.
        compare: whether values are compared with what is expected.
    """
    mine = [one for one in traced.checks if one.name == check.name]
    recordings = [recording for one in mine for recording in one.instances]
    seen: list[CaseMeasurement] = []
    origins: list[list[Origin]] = []
    for index, recording in enumerate(recordings):
        if only not in (None, index):
            continue
        name = CaseName(problem=problem.name, check=check.name, index=index)
        tapped, of_case = _traced(recording, partial(observe, str(name)), compare=compare)
        seen.append(drive(tapped, worker, check=check.name, index=index, public=True))
        origins.append([*of_case.observations, Origin(steps=of_case.steps)])
    description = mine[0].description if mine else ""
    return judge_check(problem.name, check, seen, description=description, origins=origins)


@dataclass(slots=True)
class _Trail:
    """How many steps of a case have begun, and where its observations come from."""

    steps: int = 0
    observations: list[Origin] = field(default_factory=list)


def _traced(
    recording: Recording, observe: Callable[[Step, int], None], *, compare: bool
) -> tuple[CaseSteps, _Trail]:
    """Return the steps of a recording, and a trail that is written while they run."""
    trail = _Trail()

    def on_step(step: Step) -> Step | None:
        if isinstance(step, Expect) and not compare:
            return None
        trail.steps += 1
        observe(step, trail.steps)
        if isinstance(step, Expect):
            trail.observations += origins_of(step, trail.steps)
        return step

    def on_reply(step: Step, reply: Value) -> Value:
        if isinstance(step, Raises):  # over ranks there is one observation each
            count = len(reply) if isinstance(reply, list) else 1
            trail.observations += [Origin(steps=trail.steps)] * count
        return reply

    return tap(play(recording), on_step, on_reply), trail


def _doing(step: Step) -> str:
    match step:
        case New():
            return f"{step.name}(…)"
        case Call():
            return f"{step.method or step.target}(…)"
        case Each():
            return f"{_doing(step.steps[0])} on every rank"
        case On():
            return f"{_doing(step.step)} on rank {step.rank}"
        case Raises():
            return _doing(step.step)
        case _:
            return type(step).__name__


def load(job: ReplayJob) -> tuple[Mapping[str, Value], tuple[LoadFailure, ...]]:
    """Load the student's modules as grading does; return the names, and what raised."""
    _enter(job)
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels run on the CPU, slowly
    for path in Path(job.folder).glob("*.py"):
        sys.modules.pop(path.stem, None)  # this process may use another module of that name
    loading = Loading(
        home=job.folder,
        describe=partial(_describe, job),
        allowed=job.allowed,
        only=job.only,
    )
    names = loading.run(job.entry)
    if "triton" in sys.modules and sys.modules["triton"].knobs.runtime.interpret:
        from grader.runner.interpreter import behave_as_a_device  # it imports triton

        behave_as_a_device()
    raised = (replace(one.raised, names=tuple(one.names)) for one in loading.failures)
    return names, (*job.damage, *raised)


def _enter(job: ReplayJob) -> None:
    """Hide what grading does not have: the variables of this machine, and its home folder."""
    home = os.environ.get("HOME", "")
    kept = {k: v for k, v in os.environ.items() if k in _KEPT or k.startswith(_KEPT_BEGIN)}
    os.environ.clear()
    os.environ.update(kept, HOME=job.folder, USERPROFILE=job.folder)
    if home and home != job.folder:
        os.environ.setdefault("TRITON_CACHE_DIR", f"{home}/.triton/cache")


def _describe(job: ReplayJob, error: BaseException) -> LoadFailure:
    return LoadFailure(
        names=(),
        text=f"{type(error).__name__}: {error}",
        where=_locate(job, error),
        kind=FaultKind.MISSING if isinstance(error, NotImplementedError) else FaultKind.EXCEPTION,
    )


def _import_failed(error: BaseException, where: str) -> PublicFinding:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return PublicFinding(
        label="loading your file",
        expected="a module that imports without an error",
        got=f"{type(error).__name__}: {message}",
        where=where,
        hint="Fix this first: nothing else can run before.",
    )


def _locate(job: ReplayJob, error: BaseException) -> str:
    """Return where in the student's source an exception arose, in the words of grading.

    That is "In [3], line 2" or "kv_cache.py, line 41"; empty if it came from elsewhere.
    """
    frames = stack_of(error)
    lines = [(f.filename, f.lineno) for f in frames if f.filename.startswith(job.folder)]
    if isinstance(error, SyntaxError) and (error.filename or "").startswith(job.folder):
        lines.append((error.filename or "", error.lineno))
    path, line = lines[-1] if lines else ("", None)
    if line is None:
        return ""
    file = next((one for one in job.files if one.name == Path(path).name), None)
    if file is None or (path == job.path and not file.cell_lines):
        return f"{job.display if file else Path(path).name}, line {line}"
    return file.place_of(line)


def main(job_path: str) -> None:
    """Run the job in the file `job_path`."""
    job = from_line(ReplayJob, Path(job_path).read_text(encoding="utf-8"))
    with Path(job.events).open("a", encoding="utf-8") as events:

        def emit(event: Event) -> None:
            events.write(to_line(event))
            events.flush()

        replay(job, emit)

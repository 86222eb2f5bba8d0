"""The process that runs a student's module through the public cases.

Its job is a file with a `ReplayJob`. It writes a line to the events file when a step begins and
when a check is done, so that `student.public_run`, which starts and watches it and holds the
limits, knows where an endless loop or a crash happened.

Where a problem denies operators, torch refuses them as in grading while the modules are loaded and
the problem's cases run. Its checks are told together, after their replies were compared.
"""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from grader.assignment.declare import load_harness
from grader.assignment.public_cases import split_case_name
from grader.assignment.steps import (
    Call,
    Each,
    Expect,
    New,
    On,
    Raises,
    Step,
    Value,
)
from grader.assignment.table import Check, Problem, load_assignment
from grader.evidence.faults import FaultKind, LoadFailure
from grader.judge.judgement import Cause
from grader.runner.loading import Loading
from grader.runner.worker import stack_of
from grader.student.local_ranks import local_worker
from grader.student.local_worker import interpret_as_graded
from grader.student.played import PlayedCheck, play_check, refusing
from grader.student.public_run import Event, EventKind, ReplayJob, from_line, to_line
from grader.student.result import PublicCheck, PublicFinding
from grader.student.trace import load_problem

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
        emit(Event(kind=EventKind.CHECK, results=_all_crashed(job, wanted, finding)))
        emit(Event(kind=EventKind.DONE))
        return
    emit(
        Event(
            kind=EventKind.LOADED,
            notices=tuple(one.notice for one in failures if one not in job.damage),
        )
    )
    for problem in wanted:
        with refusing(problem) as refuses:
            names, raised = _load_quietly(job) if refuses else (submission, failures)
            open_ = partial(local_worker, problem.ranks, names, harness, locate=locate)
            played: list[PlayedCheck] = []
            for check in _chosen(job, problem):
                worker = open_(failures=raised, reply_bytes=reply_bytes)
                observe = partial(_tell_step, emit)
                traced, only = recorded[problem.name], job.only_case
                played.append(play_check(problem, check, traced, worker, observe, only=only))
                if not refuses:
                    _tell(emit, played.pop())
        for one in played:
            _tell(emit, one)
    emit(Event(kind=EventKind.DONE))


def _all_crashed(
    job: ReplayJob, wanted: Sequence[Problem], finding: PublicFinding
) -> tuple[PublicCheck, ...]:
    """Return every check, as one that a file without a module leaves behind."""
    return tuple(
        PublicCheck.not_run(problem.name, check, Cause.CRASH, finding)
        for problem in wanted
        for check in _chosen(job, problem)
    )


def _tell(emit: Callable[[Event], None], played: PlayedCheck) -> None:
    """Compare what a check replied, and tell the result."""
    name, doing = played.check.name, Expect.__name__  # its time is not the submission's
    emit(Event(kind=EventKind.STEP, problem=played.problem, check=name, doing=doing))
    emit(Event(kind=EventKind.CHECK, results=(played.judge(),)))


def _load_quietly(job: ReplayJob) -> tuple[Mapping[str, Value], tuple[LoadFailure, ...]]:
    """Load the modules once more, while torch refuses; what they print is printed already."""
    with contextlib.redirect_stdout(io.StringIO()):
        return load(job)


def _import_all(modules: Sequence[str]) -> None:
    """Import what every rank of every case would import again otherwise."""
    for module in modules:
        importlib.import_module(module)


def _chosen(job: ReplayJob, problem: Problem) -> list[Check]:
    return [one for one in problem.checks if not job.checks or one.name in job.checks]


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
    interpret_as_graded()
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

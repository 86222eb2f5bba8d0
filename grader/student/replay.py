"""The process that runs a student's module through the public cases.

Its job is a file with a `ReplayJob` (`python -m grader.student.replay JOB`). It writes a line to
the events file when a step begins and when a check is done, so that `student.public_run`, which
watches it and holds the limits, knows where an endless loop or a crash happened.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

import torch

from grader.assignment.declare import load_harness
from grader.assignment.steps import Call, CaseSteps, Each, New, On, Raises, Step, Value, tap
from grader.assignment.table import Check, Problem, load_assignment
from grader.correctness.drive import Worker, drive
from grader.judge.judgement import Cause
from grader.student.local_ranks import local_worker
from grader.student.public_run import Event, EventKind, ReplayJob, from_line, to_line
from grader.student.result import PublicCheck, PublicFinding
from grader.student.trace import Recording, TracedProblem, load_problem, play
from grader.student.verdict import judge_check

Namespace = Mapping[str, Value]
Observer = Callable[[Check, str], None]


class LoadFailed(Exception):
    """The student's module cannot be imported."""

    def __init__(self, finding: PublicFinding) -> None:
        super().__init__(finding.got)
        self.finding = finding


def replay(job: ReplayJob, events: TextIO) -> None:
    """Run a job and write events to `events`."""

    def emit(event: Event) -> None:
        events.write(to_line(event))
        events.flush()

    folder = Path(job.assignment)
    wanted = [p for p in load_assignment(folder).problems if p.name in job.problems]
    recorded = {problem.name: load_problem(folder, problem.name) for problem in wanted}
    harness = load_harness(folder, "harness")  # so that the submission, too, can import it
    emit(Event(kind=EventKind.STARTED))  # what fails from here on is the student's
    try:
        submission = _load(job)
    except LoadFailed as failed:
        for problem in wanted:
            for check in problem.checks:
                emit(Event(kind=EventKind.CHECK, results=(_not_loaded(problem, check, failed),)))
        emit(Event(kind=EventKind.DONE))
        return
    emit(Event(kind=EventKind.LOADED))
    locate = _Locate(job)
    for problem in wanted:

        def observe(check: Check, doing: str, name: str = problem.name) -> None:
            emit(Event(kind=EventKind.STEP, problem=name, check=check.name, doing=doing))

        for check in problem.checks:
            worker = local_worker(problem.ranks, submission, harness, locate=locate)
            result = run_check(problem, check, recorded[problem.name], worker, observe)
            emit(Event(kind=EventKind.CHECK, results=(result,)))
    emit(Event(kind=EventKind.DONE))


def run_check(
    problem: Problem, check: Check, traced: TracedProblem, worker: Worker, observe: Observer
) -> PublicCheck:
    """Run all public cases of one check; `observe` is called before every step."""
    mine = [one for one in traced.checks if one.name == check.name]
    recordings = [recording for one in mine for recording in one.instances]
    seen = [
        drive(
            _observed(recording, check, observe), worker, check=check.name, index=index, public=True
        )
        for index, recording in enumerate(recordings)
    ]
    description = mine[0].description if mine else ""
    return judge_check(problem.name, check, seen, description=description)


def _observed(recording: Recording, check: Check, observe: Observer) -> CaseSteps:
    def on_step(step: Step) -> Step:
        observe(check, _doing(step))
        return step

    return tap(play(recording), on_step)


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


def _execute(path: Path, name: str) -> Namespace:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # triton and dataclasses look a class's module up by name
    spec.loader.exec_module(module)
    return vars(module)


def _load(job: ReplayJob) -> Namespace:
    """Import the student's module.

    Raises:
        LoadFailed: if it cannot be imported.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels run on the CPU, slowly
    sys.path.insert(0, job.folder)
    try:
        return _execute(Path(job.folder) / f"{job.entry}.py", job.entry)
    except (Exception, SystemExit) as error:
        message = str(error) if not isinstance(error, SyntaxError) else error.msg
        finding = PublicFinding(
            label="loading your file",
            expected="a module that imports without an error",
            got=f"{type(error).__name__}: {message}",
            where=_Locate(job)(error),
            hint="Fix this first: nothing else can run before.",
        )
        raise LoadFailed(finding) from error


def _not_loaded(problem: Problem, check: Check, failed: LoadFailed) -> PublicCheck:
    return PublicCheck(
        problem=problem.name,
        check=check.name,
        title=check.title,
        cause=Cause.CRASH,
        findings=(failed.finding,),
        cases=1,
        cases_passed=0,
    )


class _Locate:
    """Finds the location of an exception in the student's source, as the student knows it."""

    def __init__(self, job: ReplayJob) -> None:
        self._path = str(Path(job.folder) / f"{job.entry}.py")
        self._display = job.display
        self._cells = job.cells

    def __call__(self, error: BaseException) -> str:
        """Return "cell 3, line 2" or "kv_cache.py, line 41"; empty if it came from elsewhere."""
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == self._path]
        if isinstance(error, SyntaxError) and error.filename == self._path:
            lines.append(error.lineno)
        line = lines[-1] if lines else None
        if line is None:
            return ""
        if 0 < line <= len(self._cells):
            cell, cell_line = self._cells[line - 1]
            return f"cell {cell}, line {cell_line}"
        return f"{self._display}, line {line}"


def main(job_path: str) -> None:
    """Run the job in the file `job_path`."""
    job = from_line(ReplayJob, Path(job_path).read_text(encoding="utf-8"))
    with Path(job.events).open("a", encoding="utf-8") as events:
        replay(job, events)


if __name__ == "__main__":
    main(sys.argv[1])

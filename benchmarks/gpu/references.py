"""Reference solutions on a device, case by case, against their oracles on the processor.

Takes: the folders of assignments and references, a device. Gives: `run_references`. Does not cover:
sandboxes: a reference is trusted, and runs in this process.

Arguments are placed on the device with the strides that they have, replies are copied back. An
object whose class takes a `device` is made on this one.
"""

import importlib
import inspect
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
import torch

from grader.assignment.declare import fresh_kernels, load_folder, load_harness, load_solution
from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference
from grader.assignment.steps import Call, New, Ref, Value
from grader.correctness.instances import instances
from grader.evidence.comparison import use_one_thread
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped
from grader.evidence.measurement import Measurement, ProblemMeasurement
from grader.judge.judge import judge
from grader.judge.judgement import Verdict
from grader.runner.tensors import NAMES, TensorHeader
from grader.runner.worker import MissingName, ObjectTable
from grader.student.local_ranks import LocalRanks

SEED = "gpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceReport:
    """How one reference did.

    Attributes:
        assignment: its slug.
        cases: instances that ran.
        checks: checks that they belong to.
        failures: one sentence per check that did not pass.
        seconds: for all of it, oracles included.
    """

    assignment: str
    cases: int
    checks: int
    failures: tuple[str, ...]
    seconds: float


class DeviceWorker:
    """A worker in this process whose tensors lie on a device; see `evidence.worker_protocol`."""

    def __init__(
        self, submission: dict[str, Any], harness: dict[str, Any], device: torch.device
    ) -> None:
        self._names = submission
        self._table = ObjectTable(submission, harness)
        self._device = device
        self._numbered: list[torch.Tensor] = []
        self._wall_ns = 0

    @property
    def wall_ns(self) -> int:
        """Time spent in calls so far, the device's work included."""
        return self._wall_ns

    def new(self, ref: Ref, step: New) -> None:
        """Make an object, on the device if its class takes one."""
        args, kwargs = self._arguments(step)
        if takes_device(self._names.get(step.name)):
            kwargs.setdefault("device", str(self._device))
        self._run(lambda: self._table.new(ref.id, step.name, args, kwargs))

    def call(self, step: Call) -> Value:
        """Call a function or method and copy its reply back."""
        args, kwargs = self._arguments(step)
        before = [tensor.clone() for tensor in self._numbered]
        target = step.target.id if isinstance(step.target, Ref) else step.target
        reply = self._run(lambda: self._table.call(target, step.method, args, kwargs))
        for old, new in zip(before, self._numbered, strict=True):
            if not torch.equal(old.nan_to_num(), new.nan_to_num()):
                message = f"{step.method or step.target} changed one of its input tensors"
                raise Stopped(Fault(kind=FaultKind.INPUT_CHANGED, message=message))
        return _everywhere(reply, lambda tensor: tensor.detach().cpu().clone())

    def drop(self, ref: Ref) -> None:
        """Forget an object."""
        self._table.drop(ref.id)

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors passed to the last call."""
        for tensor in self._numbered:
            span = _span(tensor)
            if span:
                flat = tensor.as_strided((span,), (1,))
                flat.fill_(1 if tensor.dtype is torch.bool else 77)

    def reclaim_arguments(self) -> None:
        """Zero the tensors passed to the last call."""
        for tensor in self._numbered:
            span = _span(tensor)
            if span:
                tensor.as_strided((span,), (1,)).zero_()

    def _arguments(self, step: New | Call) -> tuple[list[Value], dict[str, Value]]:
        self._numbered = []

        def put(tensor: torch.Tensor) -> torch.Tensor:
            self._numbered.append(place(tensor, self._device))
            return self._numbered[-1]

        def into(value: Value) -> Value:
            return self._table.object(value.id) if isinstance(value, Ref) else value

        args = [_everywhere(value, put, into) for value in step.args]
        return args, {key: _everywhere(value, put, into) for key, value in step.kwargs.items()}

    def _run(self, request: Any) -> Value:
        begin_ns = time.perf_counter_ns()
        try:
            with numpy.errstate(all="ignore"):  # as in the worker: interpreted kernels divide by 0
                reply = request()
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            return reply
        except MissingName as missing:
            fault = Fault(kind=FaultKind.MISSING, message="not defined", detail=str(missing))
            raise Stopped(fault) from None
        except Exception as error:
            names = tuple(kind.__name__ for kind in type(error).__mro__)
            raise Raised(names, str(error), "") from error
        finally:
            self._wall_ns += time.perf_counter_ns() - begin_ns


def place(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a copy on a device, with the same strides and what lies in the gaps."""
    span = _span(tensor)
    if not span:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
    flat = tensor.detach().as_strided((span,), (1,)).to(device, copy=True)
    return flat.as_strided(tensor.shape, tensor.stride())


def takes_device(made: Any) -> bool:
    """Return whether a class takes a `device` when an object of it is made."""
    try:
        return "device" in inspect.signature(made).parameters
    except (TypeError, ValueError):
        return False


def run_references(assignments: Path, root: Path, *, device: str) -> list[ReferenceReport]:
    """Run `solution.py` of every assignment on a device."""
    use_one_thread()
    reports = []
    for solution in sorted(root.glob("*/solution.py")):
        slug = solution.parent.name
        loaded = load_assignment_with_reference(
            assignments / slug, solution.parent, device=device, seed=SEED
        )
        reports.append(run_reference(loaded, torch.device(device)))
        print(f"  {slug}: {reports[-1].cases} cases, {len(reports[-1].failures)} checks failed")
    return reports


def run_reference(loaded: LoadedAssignment, device: torch.device) -> ReferenceReport:
    """Run every case of a loaded assignment on its reference, and judge it as a submission is.

    Targets stay out: a reference that is raced against itself would say nothing. Problems of ranks
    run in forks of this process, by gloo on the processor, whatever device there is.
    """
    begin = time.perf_counter()
    for name in loaded.plan.limits.preload:  # or every fork would import it
        importlib.import_module(name)
    plan = replace(
        loaded.plan,
        problems=tuple(replace(problem, targets=()) for problem in loaded.plan.problems),
    )
    on_cpu = device.type == "cpu"
    if on_cpu:
        module = load_solution(loaded.reference)
    else:
        with fresh_kernels(loaded.reference):
            module = load_folder(loaded.reference, "solution")
    solution = dict(vars(module))
    harness = load_harness(loaded.folder)
    problems = []
    for problem in plan.problems:
        cases = tuple(
            instance.run(
                LocalRanks(solution, dict(harness), most=problem.ranks)
                if problem.ranks
                else DeviceWorker(solution, dict(harness), device)
            )
            for instance in instances(plan, problem, loaded.cases)
        )
        problems.append(
            ProblemMeasurement(
                problem=problem.name, cases=cases, output="", hidden_output="", children=0
            )
        )
    measurement = Measurement(
        sandbox="none",
        isolation="warm",
        layers=(f"unconfined: this process, on {device}",),
        problems=tuple(problems),
        wall_ns=0,
    )
    judgement = judge(plan, measurement)
    failures = [
        f"{check.problem}.{check.check}: {check.cause.value}: {check.summary}"
        for check in judgement.checks
        if check.verdict is not Verdict.PASS
    ]
    return ReferenceReport(
        assignment=loaded.assignment.slug,
        cases=sum(len(problem.cases) for problem in problems),
        checks=len(judgement.checks),
        failures=tuple(failures),
        seconds=round(time.perf_counter() - begin, 2),
    )


def _span(tensor: torch.Tensor) -> int:
    header = TensorHeader(
        dtype=NAMES[tensor.dtype],
        shape=tuple(tensor.shape),
        strides=tuple(tensor.stride()),
        offset=0,
    )
    return header.span


def _everywhere(value: Value, on_tensor: Any, on_other: Any = lambda value: value) -> Value:
    """Return a value with every tensor and every other leaf replaced."""
    match value:
        case torch.Tensor():
            return on_tensor(value)
        case list() | tuple():
            return type(value)(_everywhere(item, on_tensor, on_other) for item in value)
        case dict():
            return {key: _everywhere(item, on_tensor, on_other) for key, item in value.items()}
        case _:
            return on_other(value)

"""The single cases of a problem: which there are, and how each one is run.

A check's case is drawn several times: public instances from the public seed, hidden ones from the
run's secret seed, each with its own stream of inputs. An instance that is a sequence of operations
is run again when it fails, with shorter sequences, so that a report can show a short one.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from grader.assignment.declare import CaseMaker, Key, RowMaker
from grader.assignment.draw import PUBLIC_SEED, Draw
from grader.assignment.factors import Row
from grader.assignment.plan import Plan, PlannedProblem
from grader.assignment.sequences import Sequence, SequenceMaker, shrink, without_labels
from grader.assignment.steps import CaseSteps
from grader.correctness.drive import Worker, drive
from grader.evidence.comparison import Mismatch
from grader.evidence.faults import Fault, FaultKind
from grader.evidence.observations import (
    CaseMeasurement,
    ErrorObservation,
    Observation,
    ValueObservation,
)

MAX_TRIES = 150
"""Shorter sequences to try: 30 operations need about 100; each takes tens of milliseconds."""
MAX_SEARCH_S = 6.0
"""A second limit, for slow submissions; only this one depends on the machine."""
MAX_SHOWN = 24
"""Operations that a report names; of a longer sequence it leaves out the middle."""

_OURS_OR_MISSING = frozenset(
    {FaultKind.MISSING, FaultKind.BUSY, FaultKind.INFRASTRUCTURE, FaultKind.AUTHOR}
)
_NOT_SHRUNK = _OURS_OR_MISSING | {FaultKind.TIMEOUT}

Cases = Mapping[Key, CaseMaker]
RunCase = Callable[[CaseSteps], CaseMeasurement]
"""Runs a case on fresh objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One case to be run.

    Attributes:
        plan: its seed decides the inputs of a hidden instance.
        index: number among the instances of its visibility.
        public: whether it is drawn from the public seed.
    """

    plan: Plan
    maker: CaseMaker
    index: int
    public: bool

    def draw(self) -> Draw:
        """Return the case's own stream of inputs."""
        seed = PUBLIC_SEED if self.public else self.plan.seed
        return Draw(seed, (self.plan.assignment, self.maker.problem, self.maker.check), self.index)

    def steps(self, played: list[Row] | None = None) -> CaseSteps:
        """Start the case; the rows of factors that it plays, if any, are added to `played`."""
        if isinstance(self.maker, RowMaker):
            return self.maker.play(self.draw(), [] if played is None else played)
        return self.maker(self.draw())

    def run(self, worker: Worker, steps: CaseSteps | None = None) -> CaseMeasurement:
        """Run the case, or other steps in its name, to the end or to the first fault."""
        played: list[Row] = []
        measured = drive(
            steps or self.steps(played),
            worker,
            check=self.maker.check,
            index=self.index,
            public=self.public,
        )
        return name_row(measured, played)

    def unmeasured(self, fault: Fault) -> CaseMeasurement:
        """Return the measurement of a case that could not be run."""
        return CaseMeasurement(
            check=self.maker.check,
            index=self.index,
            public=self.public,
            observations=(),
            faults=(fault,),
            calls=0,
            wall_ns=0,
        )


def instances(plan: Plan, problem: PlannedProblem, cases: Cases) -> Iterator[Instance]:
    """Yield the public instances of all checks of a problem, then the hidden ones."""
    for public in (True, False):
        for check in problem.checks:
            maker = cases[problem.name, check.name]
            for index in range(check.public if public else check.hidden):
                yield Instance(plan=plan, maker=maker, index=index, public=public)


def drive_sequence(
    maker: SequenceMaker, draw: Draw, run: RunCase, *, alive: Callable[[], bool]
) -> CaseMeasurement:
    """Run one sequence; if it fails, search for a shorter one that fails in the same way.

    The search ends when the worker is no longer `alive`, as after a crash.
    """
    drawn = maker.draw_sequence(draw)
    labels: list[str] = []
    found = run(without_labels(maker.play(drawn), labels))
    if not failed(found) or any(fault.kind in _OURS_OR_MISSING for fault in found.faults):
        return found
    if any(fault.kind in _NOT_SHRUNK for fault in found.faults):
        return _name_sequence(found, labels)
    deadline_s, way = time.monotonic() + MAX_SEARCH_S, _way_of_failing(found)

    def fails(candidate: Sequence) -> bool:
        nonlocal found, labels
        if not alive() or time.monotonic() > deadline_s:
            return False
        candidate_labels: list[str] = []
        measured = run(without_labels(maker.play(candidate), candidate_labels))
        if not failed(measured) or _way_of_failing(measured) != way:
            return False
        found, labels = measured, candidate_labels
        return True

    shrink(drawn, fails, tries=MAX_TRIES)
    return _name_sequence(found, labels)


def failed(case: CaseMeasurement) -> bool:
    """Return whether anything in a case is not as expected; sequences have no tolerance."""
    return bool(case.faults) or any(_is_wrong(one) for one in case.observations)


def name_row(case: CaseMeasurement, played: list[Row]) -> CaseMeasurement:
    """Return the measurement with the last row of factors in the text of its fault, if any."""
    if not played or not case.faults or case.faults[0].kind in _OURS_OR_MISSING:
        return case
    fault = replace(case.faults[0], message=f"{case.faults[0].message} ({played[-1].label})")
    return replace(case, faults=(fault, *case.faults[1:]))


def _is_wrong(observation: Observation) -> bool:
    if isinstance(observation, ErrorObservation):
        return not observation.matches
    return observation.comparison.mismatch is not Mismatch.NONE or observation.comparison.error > 0


def _way_of_failing(case: CaseMeasurement) -> str:
    """Return how a case fails first: a shorter sequence must not lead to another fault."""
    wrong = next((one for one in case.observations if _is_wrong(one)), None)
    return type(wrong).__name__ if wrong is not None else case.faults[0].kind.value


def _name_sequence(case: CaseMeasurement, labels: list[str]) -> CaseMeasurement:
    """Return the measurement with the sequence in the text of its first failure."""
    if len(labels) > MAX_SHOWN:
        labels = [*labels[: MAX_SHOWN // 2], "…", *labels[-MAX_SHOWN // 2 :]]
    sequence = f"shortest failing sequence found: {'; '.join(labels)}"
    for index, one in enumerate(case.observations):
        if _is_wrong(one):
            named = replace(one, label=f"{_label_with_expected(one)} ({sequence})")
            before, after = case.observations[:index], case.observations[index + 1 :]
            return replace(case, observations=(*before, named, *after))
    fault = replace(case.faults[0], message=f"{case.faults[0].message} ({sequence})")
    return replace(case, faults=(fault, *case.faults[1:]))


def _label_with_expected(observation: Observation) -> str:
    """Return the label with the expected value: the operations shown decide it, not the seed."""
    if isinstance(observation, ValueObservation):
        comparison = observation.comparison
        return f"{observation.label}{comparison.where}, {comparison.expected} by the model,"
    return observation.label

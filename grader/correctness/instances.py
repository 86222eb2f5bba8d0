"""The cases of a problem, one by one: public ones first, each with its own stream of inputs.

Takes: a planned problem and its cases. Gives: `Instance`s. Does not cover: running them (see
`correctness.run`).
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from grader.assignment.declare import CaseMaker
from grader.assignment.draw import PUBLIC_SEED, Draw
from grader.assignment.plan import Plan, PlannedProblem
from grader.assignment.sequences import Sequence, SequenceMaker, shrink, without_labels
from grader.assignment.steps import CaseSteps
from grader.evidence.comparison import Mismatch
from grader.evidence.faults import Fault, FaultKind
from grader.evidence.observations import (
    CaseMeasurement,
    ErrorObservation,
    Observation,
    ValueObservation,
)

Cases = Mapping[tuple[str, str], CaseMaker]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One case still to be run.

    Attributes:
        maker: its generator.
        index: number among the instances of its visibility.
        public: whether it is drawn from the public seed.
    """

    maker: CaseMaker
    index: int
    public: bool

    def draw(self, plan: Plan) -> Draw:
        """Return the case's own stream of inputs."""
        seed = PUBLIC_SEED if self.public else plan.seed
        path = (plan.assignment, self.maker.problem, self.maker.check)
        return Draw(seed, path, self.index)

    def steps(self, plan: Plan) -> CaseSteps:
        """Start the case."""
        return self.maker(self.draw(plan))

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


def instances(problem: PlannedProblem, cases: Cases) -> Iterator[Instance]:
    """Yield public instances of all checks before any hidden one."""
    for public in (True, False):
        for check in problem.checks:
            maker = cases[problem.name, check.name]
            for index in range(check.public if public else check.hidden):
                yield Instance(maker=maker, index=index, public=public)


TRIES = 150
"""Candidates: 30 operations need about 100, each takes some tens of milliseconds at most."""
SEARCH_SECONDS = 6.0
"""A second bound, for submissions that are slow; it alone hangs on the machine."""
SHOWN = 24
"""Operations that a report names; a sequence that could not be made shorter loses its middle."""

RunCase = Callable[[CaseSteps], CaseMeasurement]
"""Carries a case out on fresh objects."""

_NOT_SHRUNK = frozenset(
    {FaultKind.MISSING, FaultKind.TIMEOUT, FaultKind.INFRASTRUCTURE, FaultKind.AUTHOR}
)


def drive_sequence(
    maker: SequenceMaker, draw: Draw, run: RunCase, *, alive: Callable[[], bool]
) -> CaseMeasurement:
    """Run one sequence, and if it fails others, until none is shorter or the budget is spent.

    Args:
        maker: the case.
        draw: its stream of inputs.
        run: carries out steps; it is called again for each candidate.
        alive: whether `run` can still be called; a crash ends the search.
    """
    drawn = maker.draw_sequence(draw)
    told: list[str] = []
    found = run(without_labels(maker.play(drawn), told))
    if not failed(found):
        return found
    if any(fault.kind in _NOT_SHRUNK for fault in found.faults):
        return found if _ours_or_missing(found) else _named(found, told)
    deadline, manner = time.monotonic() + SEARCH_SECONDS, _manner(found)

    def fails(candidate: Sequence) -> bool:
        nonlocal found, told
        if not alive() or time.monotonic() > deadline:
            return False
        words: list[str] = []
        seen = run(without_labels(maker.play(candidate), words))
        if not failed(seen) or _manner(seen) != manner:
            return False
        found, told = seen, words
        return True

    shrink(drawn, fails, tries=TRIES)
    return _named(found, told)


def failed(case: CaseMeasurement) -> bool:
    """Return whether anything in a case is not as expected; sequences have no tolerance."""
    return bool(case.faults) or any(_is_wrong(one) for one in case.observations)


def _is_wrong(observation: Observation) -> bool:
    if isinstance(observation, ErrorObservation):
        return not observation.matches
    return observation.comparison.mismatch is not Mismatch.NONE or observation.comparison.error > 0


def _manner(case: CaseMeasurement) -> str:
    """Return how a case fails first: a shorter sequence must not lead to another fault."""
    wrong = next((one for one in case.observations if _is_wrong(one)), None)
    return type(wrong).__name__ if wrong is not None else case.faults[0].kind.value


def _ours_or_missing(case: CaseMeasurement) -> bool:
    return any(fault.kind in _NOT_SHRUNK - {FaultKind.TIMEOUT} for fault in case.faults)


def _named(case: CaseMeasurement, told: list[str]) -> CaseMeasurement:
    """Return the measurement with the sequence in its first failure."""
    words = told if len(told) <= SHOWN else [*told[: SHOWN // 2], "…", *told[-SHOWN // 2 :]]
    sequence = f"shortest failing sequence found: {'; '.join(words)}"
    for index, one in enumerate(case.observations):
        if _is_wrong(one):
            named = replace(one, label=f"{_expectation(one)} ({sequence})")
            before, after = case.observations[:index], case.observations[index + 1 :]
            return replace(case, observations=(*before, named, *after))
    fault = replace(case.faults[0], message=f"{case.faults[0].message} ({sequence})")
    return replace(case, faults=(fault, *case.faults[1:]))


def _expectation(observation: Observation) -> str:
    """Return the label with what the model expects: the operations shown decide it."""
    if isinstance(observation, ValueObservation):
        seen = observation.comparison
        return f"{observation.label}{seen.where}, {seen.expected} by the model,"
    return observation.label

"""`Measurement`: everything measured of one submission, all on the judge's side.

Verdicts on it are made by `judge`.
"""

from dataclasses import dataclass

from grader.evidence.observations import CaseMeasurement
from grader.evidence.samples import TargetMeasurement


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemMeasurement:
    """All cases of one problem, run in one worker process (in more only after a crash).

    Attributes:
        cases: one per planned instance.
        output: stdout and stderr before the first hidden case, capped.
        hidden_output: the same from then on; it may repeat hidden inputs, so only staff see it.
        children: worker processes that were forked for it.
        control_runs: of a problem that denies operators, the first case of each check that raised,
            run once more without the denial. They never give points.
    """

    problem: str
    cases: tuple[CaseMeasurement, ...]
    output: str
    hidden_output: str
    children: int
    control_runs: tuple[CaseMeasurement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One run of one submission.

    Attributes:
        isolation: `warm` or `strict`.
        layers: the layers of isolation between submission and judge, outermost first.
        problems: in the plan's order.
        wall_ns: of the whole run, targets included, on the judge's clock.
        targets: of problems whose essential checks passed, in the plan's order.
        sliced: whether the submission did not load as a whole, and each problem loaded only the
            statements that it needs.
    """

    sandbox: str
    isolation: str
    layers: tuple[str, ...]
    problems: tuple[ProblemMeasurement, ...]
    wall_ns: int
    targets: tuple[TargetMeasurement, ...] = ()
    sliced: bool = False

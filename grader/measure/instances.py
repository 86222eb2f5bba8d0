"""The cases of a problem, one by one: public ones first, each with its own stream of inputs.

Takes: a planned problem and its cases. Gives: `Instance`s. Does not cover: running them (see
`measure.run`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from grader.author.declare import CaseMaker
from grader.author.draw import PUBLIC_SEED, Draw
from grader.author.steps import CaseSteps
from grader.measure.measurement import CaseMeasurement, Fault
from grader.plan.plan import Plan, PlannedProblem

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

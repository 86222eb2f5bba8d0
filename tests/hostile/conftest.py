"""Runs a hostile submission on the target, in every real sandbox that this machine has."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference
from grader.correctness.run import measure
from grader.evidence.measurement import Measurement
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.judge import judge
from grader.judge.judgement import Cause, CheckJudgement, Judgement, Verdict
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.sandbox.pool import SandboxPool
from grader.worker.machine import TimedMachine
from tests.hostile import race as racing
from tests.hostile.honest import HONEST
from tests.hostile.race import Race
from tests.hostile.unhurried import SPEED_TARGET

TARGET = Path(__file__).parent / "target"
DENIAL_TARGET = Path(__file__).parent / "denial_target"
RANK_TARGET = Path(__file__).parent / "rank_target"
SEED = "a-seed-that-no-box-may-hold-91c2"

SANDBOXES = [
    pytest.param("bwrap", marks=pytest.mark.bwrap),
    pytest.param("docker", marks=pytest.mark.docker),
]


@pytest.fixture(scope="session")
def target() -> LoadedAssignment:
    return load_assignment_with_reference(
        TARGET / "assignments" / "target",
        TARGET / "reference" / "target",
        device="cpu",
        seed=SEED,
    )


@pytest.fixture(scope="session")
def speed_target() -> LoadedAssignment:
    return load_assignment_with_reference(
        SPEED_TARGET / "assignments" / "speed_target",
        SPEED_TARGET / "reference" / "speed_target",
        device="cpu",
        seed=SEED,
    )


@pytest.fixture(scope="session")
def denial_target() -> LoadedAssignment:
    return load_assignment_with_reference(
        DENIAL_TARGET / "assignments" / "denial_target",
        DENIAL_TARGET / "reference" / "denial_target",
        device="cpu",
        seed=SEED,
    )


@pytest.fixture(scope="session")
def rank_target() -> LoadedAssignment:
    return load_assignment_with_reference(
        RANK_TARGET / "assignments" / "rank_target",
        RANK_TARGET / "reference" / "rank_target",
        device="cpu",
        seed=SEED,
    )


@pytest.fixture(scope="session", params=SANDBOXES)
def rank_sandboxes(
    request: pytest.FixtureRequest, rank_target: LoadedAssignment
) -> Iterator[SandboxPool]:
    with closing(_pool(request.param, rank_target)) as pool:
        yield pool


@pytest.fixture(scope="session", params=SANDBOXES)
def denial_sandboxes(
    request: pytest.FixtureRequest, denial_target: LoadedAssignment
) -> Iterator[SandboxPool]:
    with closing(_pool(request.param, denial_target)) as pool:
        yield pool


@pytest.fixture(scope="session", params=SANDBOXES)
def sandboxes(request: pytest.FixtureRequest, target: LoadedAssignment) -> Iterator[SandboxPool]:
    with closing(_pool(request.param, target)) as pool:
        yield pool


# Races take seconds each, and one runs at a time on a machine. Honest and plainly slow submissions
# race in every sandbox. Attacks on clocks and meters, which are the judge's own, race in one.
@pytest.fixture(scope="session", params=SANDBOXES[:1])
def speed_sandboxes(
    request: pytest.FixtureRequest, speed_target: LoadedAssignment
) -> Iterator[SandboxPool]:
    with closing(_pool(request.param, speed_target)) as pool:
        yield pool


def _pool(sandbox: str, loaded: LoadedAssignment) -> SandboxPool:
    return SandboxPool(
        sandbox,
        loaded.plan.limits,
        isolation=Isolation.WARM,
        jobs=1,
        device="cpu",
        image=DEFAULT_IMAGE,
    )


class Result:
    """What became of an attack."""

    def __init__(self, measurement: Measurement, judgement: Judgement) -> None:
        self.measurement = measurement
        self.judgement = judgement

    @property
    def output(self) -> str:
        """What the attack printed."""
        return "".join(problem.output for problem in self.measurement.problems)

    def cause(self, problem: str) -> Cause:
        """The cause of the problem's only check; NONE if it passed."""
        check = self._check(problem)
        assert (check.verdict is Verdict.PASS) == (check.cause is Cause.NONE)
        return check.cause

    def finding(self, problem: str) -> str:
        """Why the check failed, with the output of the submission."""
        check = self._check(problem)
        return " ".join([check.summary, *(finding.got for finding in check.findings)])

    def _check(self, problem: str) -> CheckJudgement:
        """The problem's only check, or the one that compares values."""
        checks = [c for c in self.judgement.checks if c.problem == problem]
        return next((c for c in checks if c.check == "values"), checks[0])


Attack = Callable[[str], Result]
Racing = Callable[..., Race]


@pytest.fixture
def attack(target: LoadedAssignment, sandboxes: SandboxPool) -> Attack:
    return lambda source: _grade(source, target, sandboxes)


@pytest.fixture
def attack_denial(denial_target: LoadedAssignment, denial_sandboxes: SandboxPool) -> Attack:
    """Grade a source on the denial target, whose problems deny all computing, one, and nothing."""
    return lambda source: _grade(source, denial_target, denial_sandboxes)


@pytest.fixture
def attack_ranks(rank_target: LoadedAssignment, rank_sandboxes: SandboxPool) -> Attack:
    """Grade a source on the rank target: a mean over ranks, and a state in parts."""
    return lambda source: _grade(source, rank_target, rank_sandboxes)


@pytest.fixture
def race_ranks(rank_target: LoadedAssignment, rank_sandboxes: SandboxPool) -> Racing:
    """Grade a source on the named targets of the rank target."""

    def run(source: str, *targets: str) -> Race:
        return racing.race(source, rank_target, rank_sandboxes, *targets)

    return run


def submission_of(source: str) -> Submission:
    """Return a source as it is handed in."""
    return Submission(
        name="attack",
        sha256="0" * 64,
        origin=Origin.MODULE,
        entry="submission",
        files=(SourceFile(name="submission.py", text=source),),
    )


def _grade(source: str, loaded: LoadedAssignment, sandboxes: SandboxPool) -> Result:
    submission = submission_of(source)
    measurement = measure(submission, loaded, sandboxes=sandboxes, machine=TimedMachine())
    return Result(measurement, judge(loaded.plan, measurement))


@pytest.fixture
def race(speed_target: LoadedAssignment, speed_sandboxes: SandboxPool) -> Racing:
    """Grade a source on the named targets of the speed target."""

    def run(source: str, *targets: str) -> Race:
        return racing.race(source, speed_target, speed_sandboxes, *targets)

    return run


@pytest.fixture
def spy(attack: Attack) -> Callable[[str], list[str]]:
    """Run a probe inside the sandbox, at import, and return the lines it printed."""

    def run(probe: str) -> list[str]:
        result = attack(HONEST + probe)
        assert result.cause("scale") is Cause.NONE, result.finding("scale")
        lines = result.measurement.problems[0].output.splitlines()
        assert lines, "the probe printed nothing"
        return lines

    return run

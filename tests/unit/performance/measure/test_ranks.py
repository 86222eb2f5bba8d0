"""Ranks in turns: warm-up runs, and the limit on their network traffic."""

import itertools
from dataclasses import replace

import pytest

from grader.assignment.target import Quantity
from grader.errors import SandboxError
from grader.evidence.faults import FaultKind
from grader.intake.submission import Submission
from grader.performance.measure.interleaved import UNLIMITED_RATE, UNLIMITED_RUNS
from tests.unit.performance.measure.fake_session import FakeSession, raised
from tests.unit.performance.measure.race import SIDES, Race
from tests.unit.performance.synthetic import planned

BALANCED = replace(planned(), traffic_share=0.5)


@pytest.fixture
def race(monkeypatch):
    return Race(monkeypatch)


def test_the_first_process_group_of_a_sandbox_is_not_timed(race):
    measured = race.run(target=planned(Quantity.TIME), stages=(2,), ranks=2)
    assert [len(fork.pairs) for fork in measured.forks] == [1, 1]
    assert [side for side, _ in race.calls()[:2]] == ["submission", "reference"]
    for side in SIDES.values():
        draws = [args for who, args in race.calls() if who == side]
        assert len(draws) == 3  # one, on other numbers, before the clock counts
        assert len(set(map(str, draws))) == 3
    assert len(race.opened) == 4  # each in a worker of its own
    for counted in (Quantity.TRAFFIC, Quantity.MEMORY):
        race.log.clear()
        race.run(target=planned(counted), stages=(2,), ranks=2)
        assert len(race.calls()) == 4


def test_what_compiles_is_not_timed_while_it_does(race):
    race.submission = Submission.of_text("ada", "import torch\nf = torch.compile(abs)\n")
    measured = race.run(target=planned(Quantity.TIME), stages=(1,))
    pairs = len(measured.forks[0].pairs)
    assert len(race.calls()) == 2 * (pairs + 1)  # each side once more, before the clock counts
    race.log.clear()
    race.run(target=planned(Quantity.MEMORY), stages=(1,))
    assert len(race.calls()) == 2  # one run only: a peak is counted from the fork on


def test_the_network_rate_follows_from_the_reference(race):
    calls = UNLIMITED_RUNS
    measured = race.run(target=BALANCED, stages=(2,), ranks=2)
    # 5 bytes in 1000 ns when sending costs nothing; in half of that time 10 million a second.
    assert measured.network_rate == 10_000_000
    assert race.opened[0] == ("reference", "# of the author\n")
    assert race.network_rates == [UNLIMITED_RATE, *[10_000_000] * 4]
    assert [side for side, _ in race.calls()[:calls]] == ["reference"] * calls
    assert len({str(args) for side, args in race.calls() if side == "reference"}) == calls + 3


def test_the_fastest_run_without_a_network_limit_counts(race):
    race.costs_ns[1] = itertools.chain((4000, 1000, 2000), itertools.repeat(9000))
    assert race.run(target=BALANCED, stages=(1,), ranks=2).network_rate == 10_000_000


def test_a_fixed_rate_is_what_it_says(race):
    measured = race.run(target=replace(planned(), network_rate=77), stages=(1,), ranks=2)
    assert measured.network_rate == 77
    assert set(race.network_rates) == {77}


def test_a_reference_that_sends_nothing_is_the_authors_mistake(race, monkeypatch):
    monkeypatch.setattr(FakeSession, "traffic_bytes_per_call", 0)
    measured = race.run(target=BALANCED, stages=(2,), ranks=2)
    (fault,) = measured.reference_faults
    assert fault.kind is FaultKind.AUTHOR
    assert fault.message == "problem.target: the reference sends nothing"
    assert not measured.faults
    assert not measured.forks


def test_a_reference_that_fails_without_a_network_limit_is_the_authors_mistake(race):
    race.replies[1] = lambda step: raised()
    measured = race.run(target=BALANCED, stages=(2,), ranks=2)
    assert [fault.kind for fault in measured.reference_faults] == [FaultKind.AUTHOR]
    assert not measured.faults
    assert not any(side == "submission" for side, _ in race.calls())


def test_a_network_limit_that_fails_is_our_fault(race):
    race.open_errors[1] = SandboxError("no tc")
    measured = race.run(target=BALANCED, stages=(2,), ranks=2)
    (fault,) = measured.reference_faults
    assert fault.kind is FaultKind.INFRASTRUCTURE
    assert "no tc" in fault.message

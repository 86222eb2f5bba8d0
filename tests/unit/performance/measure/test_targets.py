"""Which targets are measured, and how long."""

import contextlib
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import pytest

from grader.assignment.plan import PlannedProblem
from grader.assignment.target import Quantity
from grader.errors import SandboxError
from grader.evidence.faults import FaultKind
from grader.performance.decide.metrics import RULES
from grader.performance.measure import targets as targets_module
from grader.performance.measure.targets import measure_targets
from grader.worker.machine import TimedMachine
from tests.unit.performance.synthetic import planned, raced
from tests.unit.worker.cuda.fake_driver import FakeDriver


class FakePool:
    """Lends a pair, or says that there is none."""

    def __init__(self, error=None):
        self._error = error
        self.borrowed = 0

    @contextlib.contextmanager
    def borrow_pair(self):
        if self._error is not None:
            raise self._error
        self.borrowed += 1
        yield "submission", "reference"


class Measurer:
    """Plays a race that was recorded, as long as nobody has seen enough."""

    seen = raced()
    asked: ClassVar[list[tuple[str, str, int]]] = []

    machines: ClassVar[list[TimedMachine]] = []

    def __init__(self, sandboxes, submission, loaded, machine):
        self.machines.append(machine)

    def target(self, problem, target, *, stages, enough):
        for forks in stages:
            measured = replace(self.seen, problem=problem.name, target=target.name)
            cut = replace(measured, forks=(measured.forks * forks)[:forks])
            Measurer.asked.append((problem.name, target.name, forks))
            if enough(cut):
                break
        return cut


class MemorySearch(Measurer):
    """The same, of the memory of a device."""


@pytest.fixture(autouse=True)
def measurer(monkeypatch):
    monkeypatch.setattr(targets_module, "TargetMeasurer", Measurer)
    monkeypatch.setattr(targets_module, "MemorySearch", MemorySearch)
    monkeypatch.setattr(Measurer, "asked", [])
    monkeypatch.setattr(Measurer, "machines", [])


def assignment_with(*problems):
    return SimpleNamespace(plan=SimpleNamespace(problems=problems))


def problem(name, *targets):
    return PlannedProblem(name=name, title=name, exports=(), checks=(), targets=targets)


def run(loaded, sound, sandboxes=None, machine=None):
    sandboxes = sandboxes or FakePool()
    found = measure_targets(
        None,  # type: ignore[arg-type]
        loaded,
        frozenset(sound),
        sandboxes=sandboxes,
        machine=machine or TimedMachine(),
    )
    return found, sandboxes


TARGET = planned()
ASSIGNMENT = assignment_with(
    problem("a", TARGET, replace(TARGET, name="elsewhere", tiers=())), problem("b", TARGET)
)


def test_only_sound_problems_and_devices_at_hand_are_measured():
    found, sandboxes = run(ASSIGNMENT, {"a"})
    assert [(one.problem, one.target) for one in found] == [("a", "target")]
    assert sandboxes.borrowed == 1


@pytest.mark.parametrize(
    ("loaded", "sound"), [(ASSIGNMENT, set()), (assignment_with(problem("a")), {"a"})]
)
def test_without_anything_to_measure_no_sandbox_is_borrowed(loaded, sound):
    found, sandboxes = run(loaded, sound)
    assert (found, sandboxes.borrowed) == ((), 0)


def test_all_targets_of_a_submission_share_a_pair_of_sandboxes():
    found, sandboxes = run(ASSIGNMENT, {"a", "b"})
    assert [one.problem for one in found] == ["a", "b"]
    assert sandboxes.borrowed == 1


@pytest.mark.parametrize(("ratio", "stages"), [(1.0, 1), (3.0, 1), (1.5, 4)])
def test_a_race_goes_on_until_it_is_decided(monkeypatch, ratio, stages):
    monkeypatch.setattr(Measurer, "seen", raced(ratio=ratio, noise=0.05))
    run(ASSIGNMENT, {"b"})
    assert [forks for _, _, forks in Measurer.asked] == list(RULES[Quantity.TIME].stages[:stages])


def test_what_no_further_fork_would_change_is_not_repeated(monkeypatch):
    monkeypatch.setattr(Measurer, "seen", replace(raced(), metered=False))
    memory = assignment_with(problem("m", planned(Quantity.MEMORY)))
    run(memory, {"m"})
    assert len(Measurer.asked) == 1


@pytest.fixture
def leased(monkeypatch):
    """Names of what was leased, in turn."""
    names: list[str] = []

    @contextlib.contextmanager
    def alone(self):
        names.append(self.lease_name)
        yield

    monkeypatch.setattr(TimedMachine, "alone", alone)
    return names


@pytest.mark.parametrize(
    ("quantities", "count"),
    [
        ((Quantity.MEMORY, Quantity.TRAFFIC), 0),
        ((Quantity.MEMORY, Quantity.TIME), 1),
        ((Quantity.GROWTH,), 1),
    ],
)
def test_the_machine_is_leased_only_for_times(monkeypatch, leased, quantities, count):
    monkeypatch.setattr(targets_module, "decide", lambda *_: SimpleNamespace(unmetered=True))
    run(assignment_with(problem("a", *map(planned, quantities))), {"a"})
    assert leased == ["cpu"] * count


def test_a_device_is_leased_for_its_memory_too(leased):
    on_device = TimedMachine(drivers=(FakeDriver(),))
    memory = assignment_with(problem("m", planned(Quantity.MEMORY)))
    run(memory, {"m"}, machine=on_device)
    assert leased == [on_device.lease_name]


def test_beside_a_device_ranks_are_measured_on_the_processor(monkeypatch, leased):
    monkeypatch.setattr(Measurer, "seen", replace(Measurer.seen, network_rate=7))
    monkeypatch.setattr(targets_module, "record_ranks", lambda *_, network_rate: [network_rate])
    on_device = TimedMachine(drivers=(FakeDriver(),))
    memory = planned(Quantity.MEMORY)
    ranked = replace(problem("ranks", memory, TARGET), ranks=2)
    loaded = assignment_with(problem("one", TARGET), ranked)
    found, _ = run(loaded, {"one", "ranks"}, machine=on_device)
    assert [one.timelines for one in found] == [
        (),
        (),
        [7],
    ]  # at the network rate of the timed runs
    assert Measurer.machines == [on_device, TimedMachine()]
    assert leased == [on_device.lease_name, "cpu"]  # for its time, not its memory


def test_sandboxes_that_cannot_start_are_our_failure_for_every_target():
    found, _ = run(ASSIGNMENT, {"a", "b"}, FakePool(SandboxError("no sandbox", hint="make room")))
    assert len(found) == 2
    for one in found:
        assert (one.forks, one.faults) == ((), ())
        (fault,) = one.reference_faults
        assert fault.kind is FaultKind.INFRASTRUCTURE
        assert "make room" in fault.message

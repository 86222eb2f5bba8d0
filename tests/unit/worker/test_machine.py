"""Only one run at a time has the machine, or its device, to itself."""

from types import SimpleNamespace

import pytest

from grader.assignment.declare import CaseMaker
from grader.assignment.plan import PlannedCheck, PlannedProblem
from grader.assignment.steps import Call
from grader.assignment.table import Evidence
from grader.correctness.run import measure
from grader.errors import DeviceError, SandboxError
from grader.evidence.faults import FaultKind
from grader.worker import lease
from grader.worker import machine as machine_module
from grader.worker.machine import TimedMachine
from tests.unit.worker.cuda.fake_driver import FakeDriver


@pytest.fixture
def private_leases(monkeypatch, tmp_path):
    """Keep leases in a folder of the test's own, and give up at once."""

    def hold(name, *, on_wait):
        return lease.hold_lease(name, folder=tmp_path, limit_s=0.0, on_wait=on_wait)

    monkeypatch.setattr(machine_module, "hold_lease", hold)


def never(draw):
    yield Call("never")


CASES = {
    ("p", "c"): CaseMaker(problem="p", check="c", public=0, hidden=1, make=never),
}
CHECK = PlannedCheck(
    name="c",
    title="C",
    description="",
    points=1,
    tolerance={},
    evidence=Evidence.OUTSIDE,
    public=0,
    hidden=1,
)
ON_DEVICE = TimedMachine(drivers=(FakeDriver(),))


@pytest.mark.parametrize("machine", [TimedMachine(), ON_DEVICE])
def test_only_one_is_timed_at_a_time(private_leases, machine):
    with machine.alone(), pytest.raises(DeviceError), machine.alone():
        pass


def test_on_a_device_what_is_not_timed_waits_as_well(private_leases):
    with ON_DEVICE.alone(), pytest.raises(DeviceError), ON_DEVICE.alone_on_device():
        pass
    with ON_DEVICE.alone_on_device(), pytest.raises(DeviceError), ON_DEVICE.alone():
        pass


def test_on_the_processor_it_runs_beside(private_leases):
    machine = TimedMachine()
    with machine.alone(), machine.alone_on_device():
        pass


def test_who_waits_is_told(private_leases):
    told: list[str] = []
    machine = TimedMachine(drivers=(FakeDriver(),), on_wait=told.append)
    with machine.alone(), pytest.raises(DeviceError), machine.alone():
        pass
    assert told[0].startswith("waiting to measure: ")


@pytest.mark.parametrize("machine", [TimedMachine(), ON_DEVICE])
def test_checks_on_a_device_wait_until_it_is_free(private_leases, machine):
    """On the processor they run beside what is timed; a device would be disturbed."""

    class Sandboxes:
        sandbox, isolation = "none", "warm"

        def borrow(self):
            raise SandboxError("no sandbox, but it was asked for")

    problem = PlannedProblem(name="p", title="P", exports=(), checks=(CHECK,))
    loaded = SimpleNamespace(plan=SimpleNamespace(problems=(problem,)), cases=CASES)
    with machine.alone():
        measured = measure(
            None,  # type: ignore[arg-type]
            loaded,  # type: ignore[arg-type]
            sandboxes=Sandboxes(),  # type: ignore[arg-type]
            machine=machine,
        )
    (fault,) = measured.problems[0].cases[0].faults
    assert fault.kind is FaultKind.INFRASTRUCTURE
    assert ("was asked for" in fault.message) == (not machine.drivers)


def test_ranks_see_no_device_and_wait_for_the_processor(private_leases):
    seen = ON_DEVICE.seen_by(4)
    assert (seen.drivers, seen.ceilings) == ((), ())
    assert ON_DEVICE.seen_by(0) is ON_DEVICE
    with ON_DEVICE.alone(), seen.alone(), pytest.raises(DeviceError), TimedMachine().alone():
        pass

"""Who has the machine, or its device, to himself."""

import pytest

from grader.device import lease
from grader.device.fake_driver import FakeDriver
from grader.errors import DeviceError
from grader.measure import machine as machine_module
from grader.measure.machine import TimedMachine


@pytest.fixture
def held(monkeypatch, tmp_path):
    """Keep leases in a folder of the test's own, and give up at once."""

    def hold(name, *, on_wait):
        return lease.hold_lease(name, folder=tmp_path, limit_s=0.0, on_wait=on_wait)

    monkeypatch.setattr(machine_module, "hold_lease", hold)


ON_DEVICE = TimedMachine(drivers=(FakeDriver(),))


@pytest.mark.parametrize("machine", [TimedMachine(), ON_DEVICE])
def test_only_one_is_timed_at_a_time(held, machine):
    with machine.alone(), pytest.raises(DeviceError), machine.alone():
        pass


def test_on_a_device_what_is_not_timed_waits_as_well(held):
    with ON_DEVICE.alone(), pytest.raises(DeviceError), ON_DEVICE.alone_on_device():
        pass
    with ON_DEVICE.alone_on_device(), pytest.raises(DeviceError), ON_DEVICE.alone():
        pass


def test_on_the_processor_it_runs_beside(held):
    machine = TimedMachine()
    with machine.alone(), machine.alone_on_device():
        pass


def test_who_waits_is_told(held):
    told: list[str] = []
    machine = TimedMachine(drivers=(FakeDriver(),), on_wait=told.append)
    with machine.alone(), pytest.raises(DeviceError), machine.alone():
        pass
    assert told[0].startswith("waiting to measure: ")

"""What is found out about the machine before anything is measured on it."""

import contextlib
from types import SimpleNamespace

import pytest
from rich.console import Console

from grader.commands import timing
from grader.performance.measure import ceilings
from grader.worker import machine as machine_module
from tests.unit.performance.measure.ceiling_samples import CEILINGS
from tests.unit.performance.synthetic import planned
from tests.unit.worker.cuda.fake_driver import FakeDriver

TIMED = SimpleNamespace(plan=SimpleNamespace(problems=[SimpleNamespace(targets=[planned()])]))


@pytest.mark.parametrize("drivers", [(), (FakeDriver(),)])
def test_ceilings_are_measured_with_the_machine_to_oneself(monkeypatch, drivers):
    log = []

    @contextlib.contextmanager
    def hold(name, *, on_wait):
        log.append(f"hold {name}")
        yield
        log.append("let go")

    def measure(setting):
        log.append(f"measure {setting}")
        return CEILINGS

    monkeypatch.setattr(machine_module, "hold_lease", hold)
    monkeypatch.setattr(ceilings, "find_setting", lambda device: device)
    monkeypatch.setattr(ceilings, "measure_ceilings", measure)
    monkeypatch.setattr(ceilings, "ceilings_of", lambda setting, make, **_: make(setting))
    machine = timing.timed_machine(TIMED, drivers, Console(quiet=True))  # type: ignore[arg-type]
    assert machine.ceilings == (CEILINGS,)
    device = "cuda" if drivers else "cpu"
    assert log == [f"hold {machine.lease_name}", f"measure {device}", "let go"]

"""A channel, and a worker on a device, with threads at their other ends."""

import sys

import pytest

from tests.unit.worker.cuda.device_worker import Events, Worker
from tests.unit.worker.cuda.thread_sandbox import DEVICES, pretend
from tests.unit.worker.peer import Peer


@pytest.fixture
def peer():
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def worker(tmp_path, monkeypatch, request):
    pretend(monkeypatch, Events)
    name = f"submitted_{abs(hash(request.node.name))}"
    monkeypatch.setattr(Events, "claim", 1234)
    with Worker(tmp_path, name) as made:
        DEVICES.append(made.driver)
        yield made
    DEVICES.clear()
    made.driver.close()  # nothing was forgotten
    sys.modules.pop(name, None)

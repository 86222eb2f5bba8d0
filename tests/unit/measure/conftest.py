"""A channel, and a box on a device, with threads at their other ends."""

import sys

import pytest

from tests.unit.measure.device_box import Box, Events
from tests.unit.measure.peer import Peer
from tests.unit.measure.thread_wall import DEVICES, pretend


@pytest.fixture
def peer():
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def box(tmp_path, monkeypatch, request):
    pretend(monkeypatch, Events)
    name = f"submitted_{abs(hash(request.node.name))}"
    monkeypatch.setattr(Events, "claim", 1234)
    with Box(tmp_path, name) as made:
        DEVICES.append(made.driver)
        yield made
    DEVICES.clear()
    made.driver.close()  # nothing was forgotten
    sys.modules.pop(name, None)

"""A box that is left so much of a device's memory: what it may take, and what it is charged for."""

import pytest
import torch

from grader.author.steps import Call
from grader.device.fake_driver import GRANULE_BYTES
from grader.measure.drive import Raised, Stopped
from grader.measure.measurement import FaultKind
from tests.unit.measure.device_box import Box, Events
from tests.unit.measure.thread_wall import HELD, pretend

ROOM = 40 * GRANULE_BYTES


@pytest.fixture
def squeezed(box):
    """Return a box that has been left `ROOM`, before its first call."""
    assert box.session.squeeze(ROOM) == ROOM
    yield box
    box.driver.hold(-sum(HELD))
    HELD.clear()


def test_what_is_left_is_all_that_it_can_take(squeezed):
    with pytest.raises(Raised) as caught:
        squeezed.session.call(Call("allocate", ROOM + 1))
    assert "MemoryError" in caught.value.names
    squeezed.session.call(Call("allocate", ROOM))
    assert squeezed.driver.free_bytes() == 0
    assert squeezed.session.usage().peak_bytes == ROOM


def test_the_judges_arguments_cost_the_box_nothing(squeezed):
    squeezed.session.call(Call("allocate", ROOM))
    for side in (1, 60, 1, 50):
        assert squeezed.session.call(Call("double", torch.ones(side, side))).shape == (side, side)
        assert squeezed.driver.free_bytes() == 0
    assert squeezed.session.usage().peak_bytes == ROOM


def test_arguments_that_the_box_keeps_are_charged_to_it(squeezed):
    chunk = torch.zeros(10 * GRANULE_BYTES // 4)

    def keep():
        squeezed.session.call(Call("keep", chunk))
        squeezed.driver.hold(chunk.nbytes)  # the fake frees what a real device would not
        HELD.append(chunk.nbytes)

    for _ in range(ROOM // chunk.nbytes + 1):
        keep()
    with pytest.raises(Stopped) as caught:
        keep()
    assert caught.value.fault.kind is FaultKind.OUT_OF_MEMORY


def test_with_all_of_the_device_the_peak_is_what_was_missing(box):
    left = box.session.squeeze(1 << 62)
    assert left == box.driver.free_bytes()
    for size in (3, 5, -6):
        box.session.call(Call("allocate", size * GRANULE_BYTES))
        box.session.call(Call("double", torch.ones(3000)))
    assert box.session.usage().peak_bytes == 8 * GRANULE_BYTES
    box.driver.hold(-sum(HELD))
    HELD.clear()


def test_after_the_phase_the_device_is_the_boxes_and_nothing_counts(squeezed):
    squeezed.session.release()
    squeezed.session.call(Call("allocate", 3 * ROOM))
    assert squeezed.session.usage().peak_bytes < ROOM


def test_closing_gives_the_ballast_back(tmp_path, monkeypatch):
    pretend(monkeypatch, Events)
    with Box(tmp_path, "squeezed_and_closed") as made:
        made.session.squeeze(ROOM)
        assert made.driver.free_bytes() == ROOM
    assert made.driver.free_bytes() == made.driver.facts.total_bytes
    made.driver.close()

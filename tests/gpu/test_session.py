"""A submission on the device, end to end: its values, its times within bounds, its lies."""

import pytest
import torch

from grader.assignment.steps import Call, New, Ref
from grader.evidence.faults import FaultKind, Raised, Stopped
from grader.performance.decide.event_claims import calibrate, check_claim

pytestmark = pytest.mark.gpu

HONEST = """
import torch

def nothing(a, b):
    return None

def product(a, b):
    return a @ b

def spoil(a, b):
    a[0, 0] = 5.0
    return a

def too_much(a, b):
    return torch.empty(1 << 50, dtype=torch.uint8, device=a.device)

def read_outside(a, b):
    return torch.ops.aten.index(a.flatten(), [torch.full((1,), 1 << 60, device=a.device)])

class Keeper:
    def __init__(self):
        self.kept = []
    def keep(self, x):
        self.kept.append(x)
        return torch.stack([part.sum() for part in self.kept])
"""

OTHER_STREAM = """
import torch

STREAM = None

def nothing(a, b):
    return None

def product(a, b):
    global STREAM
    STREAM = STREAM or torch.cuda.Stream()
    with torch.cuda.stream(STREAM):
        return a @ b
"""

ALLOCATING = """
import torch

HELD = []

def hold(size):
    HELD.append(torch.empty(size, dtype=torch.uint8, device="cuda").fill_(1))

def count(a, b):
    return a.numel() + b.numel()
"""

PATCHED_EVENTS = """
import torch

def nothing(a, b):
    return None

def product(a, b):
    return a @ b

torch.cuda.Event.elapsed_time = lambda self, end: 0.001
"""

SIZE = 4096
REPEATS = 10


def pair():
    return torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)


def timed(session, name, repeats=REPEATS):
    """Return the judge's times and the worker's claims of calls with arguments of one size."""
    before = len(session.claims())
    for _ in range(repeats):
        session.call(Call(name, *pair()))
    return session.claims()[before:]


def claim_of(session):
    timed(session, "nothing", 3)
    timed(session, "product", 3)
    overhead = calibrate([call.wall_ns for call in timed(session, "nothing", 20)])
    calls = timed(session, "product")
    sandboxes = [call.wall_ns for call in calls]
    return check_claim([call.events_ns for call in calls], sandboxes, overhead)


def test_a_value_comes_back_from_the_device(open_session):
    a, b = pair()
    got = open_session(HONEST).call(Call("product", a, b))
    want = a.double() @ b.double()
    assert got.device.type == "cpu"
    assert float((got - want).norm() / want.norm()) < 1e-4


def test_objects_keep_their_arguments(open_session):
    session = open_session(HONEST)
    session.new(Ref(0), New("Keeper"))
    parts = [torch.randn(1000) for _ in range(3)]
    for part in parts:
        got = session.call(Call(Ref(0), "keep", part))
    assert torch.allclose(got, torch.stack([part.sum() for part in parts]), atol=1e-3)


def test_event_times_lie_within_the_clocks_bounds(open_session):
    assert not claim_of(open_session(HONEST))


@pytest.mark.parametrize("text", [OTHER_STREAM, PATCHED_EVENTS], ids=["stream", "events"])
def test_work_that_events_do_not_show_breaks_the_bound(open_session, text):
    assert "events claim" in claim_of(open_session(text))


def test_faults(open_session):
    session = open_session(HONEST)
    with pytest.raises(Raised) as raised:
        session.call(Call("too_much", *pair()))
    assert "MemoryError" in raised.value.names
    with pytest.raises(Stopped) as stopped:
        session.call(Call("spoil", *pair()))
    assert stopped.value.fault.kind is FaultKind.INPUT_CHANGED


def test_a_worker_whose_context_is_lost_is_not_asked_again(open_session):
    session = open_session(HONEST)
    with pytest.raises(Raised):
        session.call(Call("read_outside", *pair()))
    assert not session.alive


def test_states_of_the_device_come_with_the_replies(open_session):
    session = open_session(HONEST)
    session.device_states()
    timed(session, "product", 3)
    (state,) = session.device_states()
    assert 100 < state.sm_clock_mhz < 10_000


def test_a_worker_gets_its_limit_and_no_more(open_worker):
    session = open_worker(ALLOCATING)
    room = session.limit_memory(1 << 30)
    assert 1 << 30 <= room <= (1 << 30) + (16 << 20)
    session.load()
    a, b = pair()
    session.call(Call("hold", 512 << 20))
    for _ in range(3):  # arguments come out of the reserved memory, not out of the limit
        assert session.call(Call("count", a, b)) == 2 * SIZE * SIZE
    assert 512 << 20 <= session.usage().peak_bytes <= 1 << 30
    with pytest.raises(Raised) as raised:
        session.call(Call("hold", 768 << 20))
    assert "MemoryError" in raised.value.names
    session.release()
    session.call(Call("hold", 768 << 20))

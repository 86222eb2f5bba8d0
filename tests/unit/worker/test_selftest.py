"""A limit that does not hold is an error in a real sandbox, and named without one."""

from typing import Any

import pytest

from grader.errors import SandboxError
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped
from grader.intake.submission import Origin, Submission
from grader.worker import selftest
from grader.worker.selftest import Finding, refuse_unless

GOOD = Finding(name="time limit", holds=True, detail="an endless loop was ended")
BAD = Finding(name="no network", holds=False, detail="reached 10.0.0.1")
WORSE = Finding(name="memory limit", holds=False, detail="512 MiB allocated")


@pytest.mark.parametrize("sandbox", ["docker", "bwrap", "none"])
def test_limits_that_hold_leave_no_caveats(sandbox):
    assert refuse_unless((GOOD, GOOD), sandbox) == ()
    assert refuse_unless((), sandbox) == ()


@pytest.mark.parametrize("sandbox", ["docker", "bwrap", "a new sandbox"])
def test_a_sandbox_with_broken_limits_is_refused_with_all_of_them(sandbox):
    with pytest.raises(SandboxError) as caught:
        refuse_unless((BAD, GOOD, WORSE), sandbox)
    message = str(caught.value)
    assert sandbox in message
    assert "no network: reached 10.0.0.1" in message
    assert "memory limit: 512 MiB allocated" in message
    assert GOOD.detail not in message
    assert "doctor" in caught.value.hint


def test_an_unconfined_run_names_what_is_not_enforced():
    caveats = refuse_unless((BAD, GOOD, WORSE), "none")
    assert caveats == ("not enforced: no network", "not enforced: memory limit")


def stopped(kind):
    return Stopped(Fault(kind=kind, message=f"it ended by {kind.value}"))


@pytest.mark.parametrize(
    ("ending", "holds", "detail"),
    [
        (stopped(FaultKind.OUT_OF_MEMORY), True, "it ended by out_of_memory"),
        (Raised(("MemoryError", "Exception"), "no room", ""), True, "raised MemoryError"),
        (stopped(FaultKind.TIMEOUT), False, "it ended by timeout"),
        (None, False, "allocated"),
    ],
)
def test_the_memory_probe_tells_what_happened(monkeypatch, ending, holds, detail):
    def ask(*_):
        if ending is not None:
            raise ending

    monkeypatch.setattr(selftest, "_ask", ask)
    probe = Submission(name="p", sha256="", origin=Origin.MODULE, entry="p", files=())
    unused: Any = None
    found = selftest._memory(unused, probe)
    assert (found.holds, found.detail.rpartition(": ")[2]) == (holds, detail)


def test_only_the_loop_is_timed_tightly():
    """A busy machine takes seconds to end a process that ran out of memory."""
    assert selftest.PROBE_LIMITS.call_wall_s >= 20
    assert selftest.LOOP_LIMITS.call_wall_s < 1

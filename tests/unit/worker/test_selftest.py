"""A limit that does not hold is an error in a real sandbox, and named without one."""

import pytest

from grader.errors import SandboxError
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

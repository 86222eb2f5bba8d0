"""Attack 5, in a race: results cached by identity, address or content of the input.

Every measured call has content never seen before, and its reply is compared."""

import pytest

from grader.judge.judgement import Cause
from tests.hostile.conftest import Racing
from tests.hostile.unhurried import HONEST, SLOW_MIX

REPLAY = """
seen = {}
slow = mix

def mix(x):
    key = (tuple(x.shape), KEY)
    if key not in seen:
        seen[key] = slow(x)
    return seen[key]
"""

KEYS = {
    "shape": ("0", {Cause.WRONG_VALUE}),
    "identity": ("id(x)", {Cause.WRONG_VALUE, Cause.TOO_SLOW}),
    "address": ("x.data_ptr()", {Cause.WRONG_VALUE, Cause.TOO_SLOW}),
    "version": ("x._version", {Cause.WRONG_VALUE}),
    "content": ("hash(x.numpy().tobytes())", {Cause.TOO_SLOW}),
}
"""What results are kept by; whether an address comes again is the allocator's affair."""


@pytest.mark.parametrize("by", KEYS)
def test_replayed_results_are_wrong_or_never_found(race: Racing, by: str) -> None:
    key, causes = KEYS[by]
    found = race(HONEST + SLOW_MIX + REPLAY.replace("KEY", key), "time")
    assert found.cause("time") in causes

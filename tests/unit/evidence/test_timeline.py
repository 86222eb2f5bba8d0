"""Records of collectives are accepted in one form only."""

import pytest

from grader.assignment.steps import Value
from grader.evidence.faults import Raised, Stopped
from grader.evidence.timeline import Collective, Span, read_timelines


def record(**special: Value) -> dict[str, Value]:
    return {
        "collectives": [["all_reduce", 4096, 1_000, 1_200, 5_000], ["isend", 8, 1_500, 1_600, -1]],
        "gradients": [900, 2_000],
        "backward": [[800, 2_100]],
        "left_out": 0,
    } | special


def test_times_begin_with_the_first_moment_of_any_rank():
    first, second = read_timelines([record(), record(backward=[[700, 2_100]])])
    assert first.collectives == (
        Collective(name="all_reduce", nbytes=4096, launch_ns=300, return_ns=500, end_ns=(4_300,)),
        Collective(name="isend", nbytes=8, launch_ns=800, return_ns=900, end_ns=()),
    )
    assert first.gradients_ns == (200, 1_300)
    assert (first.backward, second.backward) == (
        (Span(begin_ns=100, end_ns=1_400),),
        (Span(begin_ns=0, end_ns=1_400),),
    )


def test_ranks_that_did_nothing_have_no_timeline():
    nothing = record(collectives=[], gradients=[], backward=[])
    assert read_timelines([nothing, nothing]) == ()


@pytest.mark.parametrize(
    "value",
    [
        None,
        Raised(("KeyError",), "", ""),
        record(more=1),
        record(collectives={}),
        record(collectives=[["all_reduce", 1, 2, 3]]),
        record(collectives=[["<script>", 1, 2, 3, 4]]),
        record(collectives=[["a" * 33, 1, 2, 3, 4]]),
        record(collectives=[[1, 1, 2, 3, 4]]),
        record(collectives=[["all_reduce", 1 << 51, 2, 3, 4]]),
        record(collectives=[["all_reduce", 1, 3, 2, 4]]),
        record(collectives=[["all_reduce", 1, 2, 3, 1]]),
        record(collectives=[["all_reduce", 1, 2, -1, -1]]),
        record(collectives=[["all_reduce", 1, 2, 3, 4]] * 513),
        record(gradients=[True]),
        record(gradients=[1.5]),
        record(gradients=[-1]),
        record(gradients=[0, 601 * 10**9]),
        record(backward=[[2, 1]]),
        record(left_out="many"),
    ],
)
def test_any_other_form_is_refused(value: Value):
    with pytest.raises(Stopped, match="of the known form"):
        read_timelines([record(), value])

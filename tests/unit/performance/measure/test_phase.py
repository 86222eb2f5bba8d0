"""One run: what it took, what its author says that it needs, and where it ends."""

import pytest

from grader.assignment.steps import Call, Expect, New, PhaseEnd, ReclaimArguments, Work
from grader.correctness.drive import drive
from grader.evidence.observations import CaseMeasurement
from grader.evidence.samples import RunSample, SizeWork
from grader.performance.measure.phase import Phase
from tests.unit.performance.measure.fake_session import FakeSession, raised


def run(steps, session):
    """Drive a workload's steps in a new phase, as the measurer does."""
    phase = Phase(session, 7, limit_s=1.0)
    case: CaseMeasurement = drive(
        phase.listen(steps), session, check="target", index=0, public=False
    )
    return phase, case


def steps_of(*steps, replies=None):
    for step in steps:
        reply = yield step
        if replies is not None:
            replies.append(reply)


def test_a_run_is_measured_from_where_it_begins():
    session = FakeSession()
    session.call(Call("before"))
    phase, case = run(steps_of(New("Cache"), Call("f"), Call("f")), session)
    assert not case.faults
    assert phase.end() == RunSample(
        wall_ns=3000,
        cpu_ns=6000,
        peak_bytes=400,
        traffic_bytes=15,
        calls=3,
        ran_ns=3000,
        queued_ns=21,
    )


def test_replies_come_back_to_the_workload():
    replies: list[object] = []
    session = FakeSession(lambda step: step.args[0] * 2)
    run(steps_of(Call("f", 3), Work(flops=1), Call("f", 5), PhaseEnd(), replies=replies), session)
    assert replies == [6, None, 10, None]


def test_work_adds_up_and_never_reaches_the_worker():
    session = FakeSession()
    work = Work(bytes_moved=3, flops=5, traffic_bytes=7)
    phase, case = run(steps_of(work, Call("f"), work), session)
    assert phase.work == SizeWork(size=7, bytes_moved=6, flops=10, traffic_bytes=14)
    assert case.calls == phase.end().calls == 1
    assert session.calls == 1


@pytest.mark.parametrize(
    ("works", "dtype"),
    [
        ([Work(flops=1, dtype="float32")], "float32"),
        ([Work(flops=1, dtype="float32"), Work(flops=1, dtype="float32")], "float32"),
        ([Work(flops=1, dtype="float32"), Work(flops=1, dtype="float16")], ""),
        ([Work(flops=1), Work(flops=1, dtype="float32")], ""),
        ([Work(bytes_moved=1), Work(flops=1, dtype="float32")], "float32"),
    ],
)
def test_work_in_several_dtypes_is_in_none(works, dtype):
    phase, _ = run(steps_of(*works), FakeSession())
    assert phase.work.dtype == dtype


def test_the_end_of_a_phase_freezes_its_sample():
    session = FakeSession()
    phase, _ = run(steps_of(Call("f"), PhaseEnd(), Call("g"), Call("g")), session)
    assert session.calls == 3
    assert phase.end() == RunSample(
        wall_ns=1000,
        cpu_ns=2000,
        peak_bytes=100,
        traffic_bytes=5,
        calls=1,
        ran_ns=1000,
        queued_ns=7,
    )


def test_what_is_no_request_is_no_call():
    session = FakeSession(lambda step: 4)
    steps = steps_of(Call("f"), ReclaimArguments(), Expect(4, 4, label="four"))
    phase, case = run(steps, session)
    assert phase.end().calls == 1
    assert ("", "reclaim") in session.log
    assert len(case.observations) == 1


def test_a_fault_ends_the_run_and_the_workload_is_closed():
    closed = []

    def steps():
        try:
            yield Call("f")
            yield Call("g")
        finally:
            closed.append(True)

    session = FakeSession(lambda step: raised())
    phase, case = run(steps(), session)
    assert len(case.faults) == 1
    assert session.calls == 1
    with pytest.raises(StopIteration):
        next(phase.listen(steps_of()))


def test_an_author_may_return_early():
    phase, case = run(steps_of(), FakeSession())
    assert not case.faults
    assert phase.end().calls == 0

"""Running a case on a worker: order of steps, errors, and whose fault an end is."""

import pytest
import torch

from grader.assignment.steps import (
    Call,
    Drop,
    Each,
    Expect,
    New,
    OverwriteArguments,
    Raises,
    ReclaimArguments,
    Ref,
)
from grader.correctness.drive import drive
from grader.errors import DeviceError, SandboxError
from grader.evidence.comparison import Mismatch
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped, fault_of, public_name
from grader.evidence.observations import ErrorObservation, ValueObservation


class FakeWorker:
    """Replies from a list and keeps the requests."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.wall_ns = 100

    def _answer(self):
        self.wall_ns += 7
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def new(self, ref, step):
        self.asked.append(("new", ref.id, step.name))
        self._answer()

    def call(self, step):
        self.asked.append(("call", step.target, step.method))
        return self._answer()

    def drop(self, ref):
        self.asked.append(("drop", ref.id))

    def overwrite_arguments(self):
        self.asked.append(("overwrite",))

    def reclaim_arguments(self):
        self.asked.append(("reclaim",))


class FakeGroup(FakeWorker):
    """Three ranks that answer all at once."""

    size = 3

    def __init__(self, *answers):
        super().__init__()
        self.by_rank = dict(enumerate(answers))

    def world(self, size):
        pass

    def ask(self, steps, ref):
        return self.by_rank


def run(steps, *answers):
    worker = FakeWorker(*answers)
    return drive(steps, worker, check="c", index=2, public=True), worker


def raised(*names, text="boom", where="m.py, line 3"):
    return Raised((*names, "Exception", "BaseException"), text, where)


def test_steps_run_in_order_and_replies_come_back():
    replies = []

    def case():
        first = yield New("Cache", 1)
        second = yield New("Cache", 2)
        replies.append((first, second))
        replies.append((yield Call(first, "append", 3)))
        replies.append((yield OverwriteArguments()))
        replies.append((yield ReclaimArguments()))
        replies.append((yield Call("free", 4)))
        replies.append((yield Expect("b", "b", label="free")))
        replies.append((yield Drop(first)))

    measured, worker = run(case(), None, None, "a", "b")
    assert replies == [(Ref(0), Ref(1)), "a", None, None, "b", None, None]
    assert worker.asked == [
        ("new", 0, "Cache"),
        ("new", 1, "Cache"),
        ("call", Ref(0), "append"),
        ("overwrite",),
        ("reclaim",),
        ("call", "free", ""),
        ("drop", 0),
    ]
    assert (measured.check, measured.index, measured.public) == ("c", 2, True)
    assert (measured.calls, measured.wall_ns, measured.faults) == (4, 28, ())


def test_the_oracle_is_computed_after_the_reply():
    order = []

    class Recorder(FakeWorker):
        def call(self, step):
            order.append("reply")
            return 5

    def oracle():
        order.append("oracle")
        return 5

    def case():
        got = yield Call("f")
        yield Expect(got, oracle, label="f")

    measured = drive(case(), Recorder(), check="c", index=0, public=False)
    assert order == ["reply", "oracle"]
    assert isinstance(measured.observations[0], ValueObservation)
    assert measured.observations[0].comparison.error == 0.0


@pytest.mark.parametrize(
    ("names", "matches", "got"),
    [
        (("ValueError",), True, "ValueError"),
        (("MyOwn", "ValueError"), True, "ValueError"),
        (("UnicodeDecodeError", "UnicodeError", "ValueError"), True, "UnicodeDecodeError"),
        (("TypeError",), False, "TypeError"),
        (("secret_42",), False, "Exception"),
    ],
)
def test_a_promised_error_may_be_a_subclass(names, matches, got):
    def case():
        text = yield Raises(Call("f"), "ValueError", label="refuses")
        assert "boom" in text
        yield Expect(1, 1, label="afterwards")

    measured, _ = run(case(), raised(*names))
    first, second = measured.observations
    assert isinstance(first, ErrorObservation)
    assert (first.matches, first.expected, first.got) == (matches, "ValueError", got)
    assert isinstance(second, ValueObservation)
    assert measured.faults == ()
    assert measured.calls == 1


def test_a_step_that_returns_instead_of_raising_is_observed():
    def case():
        assert (yield Raises(New("Cache"), "ValueError", label="refuses")) == ""

    measured, _ = run(case())
    (only,) = measured.observations
    assert isinstance(only, ErrorObservation)
    assert (only.matches, only.got, only.text) == (False, "", "")


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: Raises(s, "ValueError", label="x")])
def test_an_untouched_stub_is_missing(wrap):
    def case():
        yield wrap(Call("f"))

    measured, _ = run(case(), raised("NotImplementedError", "RuntimeError"))
    assert [fault.kind for fault in measured.faults] == [FaultKind.MISSING]
    assert measured.observations == ()


def test_not_implemented_may_itself_be_promised():
    def case():
        yield Raises(Call("f"), "NotImplementedError", label="x")

    measured, _ = run(case(), raised("NotImplementedError", "RuntimeError"))
    assert isinstance(measured.observations[0], ErrorObservation)
    assert measured.observations[0].matches
    assert measured.faults == ()


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("KeyError", "LookupError"), FaultKind.EXCEPTION),
        (("MemoryError",), FaultKind.OUT_OF_MEMORY),
        (("Mine", "MemoryError"), FaultKind.OUT_OF_MEMORY),
        (("NotImplementedError",), FaultKind.MISSING),
        (("SystemExit",), FaultKind.EXCEPTION),
    ],
)
def test_an_unexpected_exception_ends_the_case(names, kind):
    def case():
        yield Expect(1, 1, label="before")
        yield Call("f")
        raise RuntimeError("never reached")

    measured, _ = run(case(), raised(*names, text="hidden 42"))
    (fault,) = measured.faults
    assert fault.kind is kind
    assert (fault.detail, fault.where) == (f"{names[0]}: hidden 42", "m.py, line 3")
    assert "hidden 42" not in fault.message
    assert len(measured.observations) == 1


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (Call("attention", 1), "attention"),
        (Call(Ref(0), "append", 1), "append"),
        (New("KVCache"), "KVCache"),
        (Call("harness:train", 1), "train"),
    ],
)
def test_an_exception_that_nobody_asked_for_says_which_call_raised_it(step, name):
    measured, _ = run((one for one in [step]), raised("ValueError"))
    assert [fault.message for fault in measured.faults] == [
        f"{name} raised ValueError, and no exception was expected"
    ]


def dtypes_told(*, want, replies=()):
    """Return what each observation, and then the case, keeps of the last call's tensors."""

    def case():
        got = yield Call("f", torch.ones(2).half(), [torch.ones(1).bfloat16()], scale=2.0)
        yield Expect(got, want, label="f")
        yield Raises(Call("f", torch.ones(1)), "ValueError", "float32")

    measured, _ = run(case(), *replies)
    return [one.dtypes for one in measured.observations], measured.dtypes


def test_what_is_wrong_tells_the_dtypes_of_the_tensors_of_its_call():
    assert dtypes_told(want=1, replies=(1, raised("ValueError"))) == ([(), ()], ())
    wrong = dtypes_told(want=2, replies=(1, 3))
    assert wrong == ([("float16", "bfloat16"), ("float32",)], ())
    assert dtypes_told(want=1, replies=(raised("KeyError"),)) == ([], ("float16", "bfloat16"))


def test_an_exception_inside_a_kernel_is_called_so():
    measured, _ = run((one for one in [Call("add")]), raised("InterpreterError", "TritonError"))
    assert measured.faults[0].message.startswith("add raised an exception inside a kernel")


def test_every_rank_that_raised_has_its_stack():
    lost = raised("RuntimeError", text="gloo: Connection closed by peer", where="m.py, line 9")
    own = raised("KeyError", text="'w'", where="m.py, line 4")
    own.stack, own.who = "m.py, line 8, in step\nm.py, line 4, in gather", "rank 1"

    (fault,) = drive(
        (one for one in [Each(Call("step"))]),
        FakeGroup(lost, own, 3),
        check="c",
        index=0,
        public=True,
    ).faults
    assert fault.message == "rank 1: step raised KeyError, and no exception was expected"
    assert [(one.rank, one.state, one.where) for one in fault.stacks] == [
        (0, "had raised RuntimeError", "m.py, line 9"),
        (1, "had raised KeyError", "m.py, line 4"),
        (2, "had returned", ""),
    ]
    assert fault.stacks[1].text == f"{own.stack}\nKeyError: 'w'"


def test_class_names_of_the_submission_are_not_repeated():
    assert public_name(("leak_0_123", "KeyError", "LookupError")) == "KeyError"
    assert public_name(("leak",)) == "an exception"
    assert "leak" not in fault_of(Raised(("leak", "KeyError"), "x", "")).message


def test_a_stopped_worker_stops_the_case():
    fault = Fault(kind=FaultKind.TIMEOUT, message="too long")

    def case():
        yield Call("f")

    measured, _ = run(case(), Stopped(fault))
    assert measured.faults == (fault,)
    assert measured.calls == 1


@pytest.mark.parametrize(
    ("reply", "mismatch"),
    [
        (None, Mismatch.KIND),
        (torch.zeros(2, dtype=torch.float64), Mismatch.DTYPE),
        (torch.zeros(3), Mismatch.SHAPE),
    ],
)
def test_a_reply_of_another_form_ends_the_case_without_a_fault(reply, mismatch):
    def case():
        got = yield Call("f")
        yield Expect(got, torch.zeros(2), label="form")
        yield Call("never")

    measured, worker = run(case(), reply)
    (only,) = measured.observations
    assert isinstance(only, ValueObservation)
    assert only.comparison.mismatch is mismatch
    assert measured.faults == ()
    assert len(worker.asked) == 1


def test_a_wrong_value_lets_the_case_go_on():
    def case():
        got = yield Call("f")
        yield Expect(got, torch.ones(2), label="value")
        yield Call("next")

    _, worker = run(case(), torch.full((2,), torch.nan))
    assert len(worker.asked) == 2


@pytest.mark.parametrize("where", ["case", "oracle"])
def test_an_exception_of_the_authors_is_the_authors(where):
    def oracle():
        raise ZeroDivisionError("oracle")

    def case():
        yield Call("f")
        if where == "case":
            raise KeyError("case")
        yield Expect(1, oracle, label="x")

    measured, _ = run(case())
    (fault,) = measured.faults
    assert fault.kind is FaultKind.AUTHOR
    assert fault.message.startswith("c: the case itself failed: ")


@pytest.mark.parametrize("error", [SandboxError, DeviceError])
@pytest.mark.parametrize("step", [Call("f"), OverwriteArguments(), ReclaimArguments()])
def test_an_error_of_the_machine_is_ours_at_every_step(monkeypatch, error, step):
    def refuse(*_):
        raise error("gone", hint="look at the device")

    for method in ("call", "overwrite_arguments", "reclaim_arguments"):
        monkeypatch.setattr(FakeWorker, method, refuse)
    measured, _ = run(iter_of(step))
    (fault,) = measured.faults
    assert (fault.kind, fault.message) == (FaultKind.INFRASTRUCTURE, "gone. look at the device")


def iter_of(step):
    yield step


def test_a_case_is_closed_when_it_ends_early():
    closed = []

    def case():
        try:
            yield Call("f")
        finally:
            closed.append(True)

    run(case(), raised("KeyError"))
    assert closed == [True]

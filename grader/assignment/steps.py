"""The steps that cases are written in: what a case generator yields, and what it is sent back.

A case is a generator on the judge's side. It yields one step at a time and is sent the reply, so it
can choose the next step. No step but `Expect` holds an expected value, and that one is compared on
the judge's side, after the reply. Steps are carried out by `correctness.drive`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

# A reply is a tensor, a JSON primitive, or a list, tuple or dict of replies. Authors index and
# compute with replies without narrowing them first, hence Any in the send position.
Value = Any
Oracle = Callable[[], Value]


@dataclass(frozen=True, slots=True)
class Ref:
    """Names an object that the submission made, as the target or an argument of a call.

    Attributes:
        id: number chosen by the judge's side, unique within one case.
    """

    id: int


@dataclass(frozen=True, slots=True, init=False)
class New:
    """Make an object of a class of the submission (or of the harness); the reply is its `Ref`.

    `New("KVCache", 2, 4, 8, dtype=torch.float16)`; a class of the harness is `"harness:TinyGPT"`.

    Attributes:
        name: name of the class; one of the submission stands in the `exports` of the problem.
        args: positional arguments: tensors, numbers, text, dtypes, None, `Ref`s, and lists, tuples
            and dicts of them. Each is a copy; a submission must leave them unchanged.
        kwargs: keyword arguments, likewise.
    """

    name: str
    args: tuple[Value, ...]
    kwargs: dict[str, Value]

    def __init__(self, name: str, /, *args: Value, **kwargs: Value) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "args", args)
        object.__setattr__(self, "kwargs", kwargs)


@dataclass(frozen=True, slots=True, init=False)
class Call:
    """Call a function (`Call("decode_attention", q, k)`) or a method (`Call(cache, "append", k)`).

    Attributes:
        target: name of a function of the submission, or the `Ref` of an object.
        method: name of the method; empty when `target` names a function.
        args: positional arguments, as for `New`.
        kwargs: keyword arguments, as for `New`.
    """

    target: str | Ref
    method: str
    args: tuple[Value, ...]
    kwargs: dict[str, Value]

    def __init__(self, target: str | Ref, /, *args: Value, **kwargs: Value) -> None:
        method = ""
        if isinstance(target, Ref):
            method, *rest = args
            args = tuple(rest)
        object.__setattr__(self, "target", target)
        object.__setattr__(self, "method", method)
        object.__setattr__(self, "args", args)
        object.__setattr__(self, "kwargs", kwargs)


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget an object in the worker, or on every rank.

    Attributes:
        ref: the object.
    """

    ref: Ref


@dataclass(frozen=True, slots=True)
class World:
    """Start `size` fresh ranks that have joined a process group, and end the ranks before them.

    This is the first step of every case whose problem has `ranks` in `assignment.toml`. Objects of
    an earlier world are gone; replies from it stay valid. There is no reply.

    Attributes:
        size: number of ranks, at most the `ranks` of the problem.
    """

    size: int


@dataclass(frozen=True, slots=True, init=False)
class Each:
    """Ask every rank at once: with one step for all, or one step per rank, in order of rank.

    Every rank has its request before any of them runs, so they may call collectives. `New` replies
    with one `Ref`, which names an object on every rank; `Call` replies with a list, by rank. All
    steps must be of one kind.

    Attributes:
        steps: one `New` or `Call`, or as many as there are ranks.
    """

    steps: tuple[New | Call, ...]

    def __init__(self, *steps: New | Call) -> None:
        object.__setattr__(self, "steps", steps)


@dataclass(frozen=True, slots=True)
class On:
    """Ask one rank alone, so it cannot call a collective; its reply is returned.

    Attributes:
        rank: number of the rank, from 0.
        step: a `New` or `Call`.
    """

    rank: int
    step: New | Call


Request = New | Call | Each | On


@dataclass(frozen=True, slots=True, kw_only=True)
class Beyond:
    """What an oracle returns where a statistic of a reply lies beyond its bound.

    A check of statistics has no expected value: `Expect(got, want)`, where the function `want`
    returns `got` itself if it is as chance would have it, and this otherwise. Students read it.

    Attributes:
        statistic: what was computed: "largest sum of a group, in standard deviations".
        value: what came out.
        bound: what chance allows at most.
        count: of how many numbers it was computed.
    """

    statistic: str
    value: float
    bound: float
    count: int


def name_of(step: Request) -> str:
    """Return what a step calls, as students know it: a function, a method or a class."""
    match step:
        case Each():
            return name_of(step.steps[0]) if step.steps else ""
        case On():
            return name_of(step.step)
        case New():
            name = step.name
        case Call():
            name = step.method or str(step.target)
    return name.removeprefix("harness:")


def arguments_of(step: Request) -> list[Value]:
    """Return all that a step passes to the submission."""
    match step:
        case Each():
            return [value for one in step.steps for value in arguments_of(one)]
        case On():
            return arguments_of(step.step)
        case New() | Call():
            return [*step.args, *step.kwargs.values()]


@dataclass(frozen=True, slots=True)
class Raises:
    """Carry out `step` and require that it raises the named built-in exception (or a subclass).

    The reply is the text of the exception; for `Each`, where every rank must raise, a list of them.
    A step that returns instead fails the check with `wrong_error`.

    Attributes:
        step: a `New`, `Call`, `Each` or `On`.
        error: class name of the exception, such as "ValueError".
        label: what is called, as students read it: "append: values of one row only".
    """

    step: Request
    error: str
    label: str


@dataclass(frozen=True, slots=True)
class OverwriteArguments:
    """Overwrite the tensors passed to the last call, as a caller that reuses its buffers would."""


@dataclass(frozen=True, slots=True)
class ReclaimArguments:
    """Take back the memory of the last call's tensors, as a caller that frees its buffers would.

    If the submission still maps them, they read as zeros, and pages it touches again are charged
    to it: it cannot keep its state in memory that the judge allocated.
    """


@dataclass(frozen=True, slots=True)
class PhaseStart:
    """Start measuring here: the steps before it, such as building a model, do not count.

    Peak memory is counted from the start of the process all the same.
    """


@dataclass(frozen=True, slots=True)
class PhaseEnd:
    """Stop measuring here: the steps after it only check results, and do not count.

    Only for memory and traffic: work that a submission delays until after a timed phase would cost
    it nothing.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The least work of a workload, by arithmetic; several `Work` steps add up.

    Attributes:
        bytes_moved: bytes that must be read from and written to memory.
        flops: floating-point operations, a multiply-add counted as two.
        dtype: the least precise one that passes the tolerance, without `torch.`; if it is empty, or
            there are several, the device's fastest dtype sets the least possible time.
        traffic_bytes: bytes that must cross the network, over all ranks.
        derivation: how `traffic_bytes` is derived, one line; students read it in the report.
    """

    bytes_moved: int = 0
    flops: int = 0
    dtype: str = ""
    traffic_bytes: int = 0
    derivation: str = ""


@dataclass(frozen=True, slots=True)
class Expect:
    """Compare a reply with the oracle's value, on the judge's side.

    Tensors are compared by `max |got − want| / scale`; every other value exactly, Python's floats
    included. The tolerance comes from the check's `tolerance` table in `assignment.toml`, by the
    dtype of `want`; values of a dtype that the table does not list must be equal.

    Attributes:
        got: a reply, or a part of one.
        want: the expected value, or a function that computes it (called after the reply).
        label: what is compared, as students read it: "keys after 3 chunks".
        exact: True compares tensors bit for bit: -0.0 is not 0.0; any NaN equals a NaN at the same
            index.
        per_row: True takes the scale from each row of the last dimension, else from all of `want`.
        rounded_once: dtype of the reply's tensors, where the docstring promises the exact value
            "rounded once": `want` holds it in float64, and every entry must be within half a unit
            in the last place of it. No tolerance applies.
        parts: names of the entries where `want` is a tuple: `("dq", "dk", "dv")`. A label that
            lists as many names ("dq, dk and dv") gives them by itself.
    """

    got: Value
    want: Value | Oracle
    label: str = field(kw_only=True)
    exact: bool = field(default=False, kw_only=True)
    per_row: bool = field(default=False, kw_only=True)
    rounded_once: Value = field(default=None, kw_only=True)
    parts: tuple[str, ...] = field(default=(), kw_only=True)


Step = Request | World | Drop | Raises | OverwriteArguments | Expect
WorkloadStep = Step | ReclaimArguments | PhaseStart | PhaseEnd | Work
CaseSteps = Generator[Step, Value, None]
WorkloadSteps = Generator[WorkloadStep, Value, None]

In = TypeVar("In")
Out = TypeVar("Out")


def tap(
    steps: Generator[In, Value, None],
    on_step: Callable[[In], Out | None],
    on_reply: Callable[[Out, Value], Value] = lambda step, reply: reply,
) -> Generator[Out, Value, None]:
    """Pass the steps of a generator on and the replies back; either may be changed on its way.

    Args:
        steps: a case or workload; it is closed at the end.
        on_step: is called with each step; returns the step to pass on, or None to leave it out,
            and the generator then gets None as its reply.
        on_reply: is called with each step that was passed on and the reply to it; returns the reply
            for the generator.
    """
    reply: Value = None
    with closing(steps):
        while True:
            try:
                step = steps.send(reply)
            except StopIteration:
                return
            reply, passed_on = None, on_step(step)
            if passed_on is not None:
                reply = on_reply(passed_on, (yield passed_on))

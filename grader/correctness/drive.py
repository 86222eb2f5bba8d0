"""Runs one case: sends its steps to a worker one by one, and compares the replies.

The steps come from a case generator, the result is a `CaseMeasurement`. The oracle's value of an
`Expect` is computed on this side, after the reply, and is never sent to the worker. How a request
reaches the submission is the worker's matter: a sandboxed process (`worker.session`), ranks
(`worker.ranks`), or this process on a student's machine (`student.local_worker`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from grader.assignment.steps import (
    Call,
    CaseSteps,
    Drop,
    Each,
    Expect,
    New,
    On,
    OverwriteArguments,
    PhaseEnd,
    PhaseStart,
    Raises,
    ReclaimArguments,
    Ref,
    Request,
    Value,
    Work,
    WorkloadStep,
    WorkloadSteps,
    World,
    arguments_of,
    name_of,
)
from grader.errors import AuthorError, DeviceError, SandboxError
from grader.evidence.comparison import (
    Mismatch,
    compare_parts,
    dtypes_of,
    labels_of_parts,
    name_part,
)
from grader.evidence.faults import (
    Fault,
    FaultKind,
    Raised,
    Stopped,
    fault_of,
    our_fault,
    public_name,
    raised_together,
)
from grader.evidence.observations import (
    CaseMeasurement,
    ErrorObservation,
    Observation,
    ValueObservation,
)

AnySteps = CaseSteps | WorkloadSteps

UNUSABLE = frozenset(
    {Mismatch.KIND, Mismatch.LENGTH, Mismatch.KEYS, Mismatch.DTYPE, Mismatch.SHAPE}
)
"""Mismatches that end a case: its author may index, in later steps, what was compared here."""


class Worker(Protocol):
    """Where a submission runs.

    Every method raises `Raised` when the submission raised, `Stopped` when the case must end.
    """

    def new(self, ref: Ref, step: New) -> None:
        """Make an object and remember it as `ref`."""

    def call(self, step: Call) -> Value:
        """Call a function or method and return its reply."""

    def drop(self, ref: Ref) -> None:
        """Forget an object."""

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors passed to the last call."""

    def reclaim_arguments(self) -> None:
        """Take back the memory of the tensors passed to the last call."""

    @property
    def wall_ns(self) -> int:
        """Time from request to reply of all calls so far, on the judge's clock."""


@runtime_checkable
class WorkerGroup(Worker, Protocol):
    """Where a submission runs as the ranks of a process group."""

    @property
    def size(self) -> int:
        """Ranks of the current world; 0 before the first."""

    def world(self, size: int) -> None:
        """End the current world and start another."""

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> dict[int, Value | Raised]:
        """Ask several ranks at once; return what each replied or raised, in order of arrival.

        Args:
            steps: by rank, all of one kind.
            ref: the object that `New` makes; None for calls.

        Raises:
            Stopped: if a rank ended, hangs or sent no valid reply.
        """


class _Unusable(Exception):
    """The last reply has another form than expected, so the case ends here."""


@dataclass(slots=True)
class _Progress:
    """What has been observed so far, how many objects and requests there were, and the last's."""

    observations: list[Observation] = field(default_factory=list)
    refs: int = 0
    calls: int = 0
    dtypes: tuple[str, ...] = ()


def drive(
    steps: AnySteps, worker: Worker, *, check: str, index: int, public: bool
) -> CaseMeasurement:
    """Run one case to its end or to the first fault; `Instance.run` does it for an instance."""
    progress = _Progress()
    before_ns = worker.wall_ns
    faults: tuple[Fault, ...] = ()
    try:
        _run_all(steps, worker, progress)
    except _Unusable:
        pass  # the observation tells what was wrong
    except (Raised, Stopped) as error:
        faults = (fault_of(error),)
    except (SandboxError, DeviceError) as error:
        faults = (our_fault(error),)
    except Exception as error:  # noqa: BLE001 - cases.py and oracles are the author's code: any error is the author's
        message = f"{check}: the case itself failed: {type(error).__name__}: {error}"
        faults = (Fault(kind=FaultKind.AUTHOR, message=message),)
    finally:
        steps.close()
    return CaseMeasurement(
        check=check,
        index=index,
        public=public,
        observations=tuple(progress.observations),
        faults=faults,
        calls=progress.calls,
        wall_ns=worker.wall_ns - before_ns,
        dtypes=progress.dtypes if faults else (),
    )


def _run_all(steps: AnySteps, worker: Worker, progress: _Progress) -> None:
    reply: Value = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            return
        reply = _run_step(step, worker, progress)


def _run_step(step: WorkloadStep, worker: Worker, progress: _Progress) -> Value:
    match step:
        case Expect():
            observed = observe_values(step, progress.dtypes)
            progress.observations.extend(observed)
            if any(one.comparison.mismatch in UNUSABLE for one in observed):
                raise _Unusable
            return None
        case Raises():
            return _expect_error(step, worker, progress)
        case New() | Call() | Each() | On():
            return _request(step, worker, progress)
        case World():
            _group(worker).world(step.size)
        case Drop():
            worker.drop(step.ref)
        case OverwriteArguments():
            worker.overwrite_arguments()
        case ReclaimArguments():
            worker.reclaim_arguments()
        case _ if type(step) not in (PhaseStart, PhaseEnd, Work):  # of `measure.phase`
            raise AuthorError(f"it yields a {type(step).__name__}; expected a step such as `Call`")
    return None


def observe_values(step: Expect, dtypes: tuple[str, ...] = ()) -> tuple[ValueObservation, ...]:
    """Compare a reply with what is expected; one observation for each of its parts.

    `dtypes` are those of the tensors of the call that is compared.
    """
    want = step.want() if isinstance(step.want, Callable) else step.want  # type: ignore[arg-type]
    observed, labels = [], labels_of_parts(step.label, step.parts, want)
    for part in compare_parts(
        step.got,
        want,
        exact=step.exact,
        per_row=step.per_row,
        rounded_once=step.rounded_once,
    ):
        label, where = name_part(part.where, labels)
        observed.append(
            ValueObservation(
                label=label or step.label,
                comparison=replace(part, where=where),
                dtypes=dtypes if part.error else (),
            )
        )
    return tuple(observed)


def _request(step: Request, worker: Worker, progress: _Progress) -> Value:
    progress.calls += 1
    progress.dtypes = dtypes_of(arguments_of(step))
    try:
        return _reply_to(step, worker, progress)
    except Raised as raised:
        raised.call = name_of(step)
        raise


def _reply_to(step: Request, worker: Worker, progress: _Progress) -> Value:
    if isinstance(step, Call):
        return worker.call(step)
    if isinstance(step, New):
        ref = _next_ref(progress)
        worker.new(ref, step)
        return ref
    refs, replies = _ask_ranks(step, worker, progress)
    if any(isinstance(reply, Raised) for reply in replies.values()):
        raise raised_together(replies)
    if refs:
        return refs[0]
    values = [replies[rank] for rank in sorted(replies)]
    return values if isinstance(step, Each) else values[0]


def _ask_ranks(
    step: Each | On, worker: Worker, progress: _Progress
) -> tuple[list[Ref], dict[int, Value | Raised]]:
    """Return the object that was made, if any, and the reply of each rank."""
    group = _group(worker)
    if isinstance(step, On):
        steps = {step.rank: step.step}
    elif len(step.steps) == 1:
        steps = dict.fromkeys(range(group.size), step.steps[0])
    else:
        steps = dict(enumerate(step.steps))
    if not steps or not all(0 <= rank < group.size for rank in steps):
        raise AuthorError(f"steps for ranks {sorted(steps)}, but the world has {group.size} ranks")
    if isinstance(step, Each) and len(steps) != group.size:
        raise AuthorError(
            f"expected one step in `Each` or one per rank ({group.size}), found {len(steps)}"
        )
    kinds = {isinstance(one, New) for one in steps.values()}
    if len(kinds) > 1:
        raise AuthorError("expected only `New` or only `Call` in `Each`, found both")
    refs = [_next_ref(progress)] if kinds == {True} else []
    return refs, group.ask(steps, refs[0] if refs else None)


def _group(worker: Worker) -> WorkerGroup:
    if isinstance(worker, WorkerGroup):
        return worker
    raise AuthorError(
        "the case uses ranks, but its problem has none; add `ranks = N` to its [[problem]] table "
        "in assignment.toml"
    )


def _next_ref(progress: _Progress) -> Ref:
    progress.refs += 1
    return Ref(progress.refs - 1)


def _expect_error(step: Raises, worker: Worker, progress: _Progress) -> Value:
    if isinstance(step.step, Each):
        progress.calls += 1
        progress.dtypes = dtypes_of(arguments_of(step.step))
        _, replies = _ask_ranks(step.step, worker, progress)
        texts = []
        for rank in sorted(replies):
            label = f"{step.label}, rank {rank}"
            texts.append(_observe_error(step, label, replies[rank], progress))
        return texts
    try:
        reply = _request(step.step, worker, progress)
    except Raised as raised:
        reply = raised
    return _observe_error(step, step.label, reply, progress)


def _observe_error(step: Raises, label: str, reply: Value | Raised, progress: _Progress) -> str:
    """Observe the outcome of a step that must raise; return the text of its exception."""
    got, text, matches = "", "", False
    if isinstance(reply, Raised):
        got, text, matches = public_name(reply.names), str(reply), step.error in reply.names
        if "NotImplementedError" in reply.names and step.error != "NotImplementedError":
            raise reply  # an untouched stub is missing work, not a wrong error
    progress.observations.append(
        ErrorObservation(
            label=label,
            expected=step.error,
            got=got,
            text=text,
            matches=matches,
            dtypes=() if matches else progress.dtypes,
        )
    )
    return text

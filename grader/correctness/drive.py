"""Carries one case through a box, step by step, and keeps what was seen.

Takes: a case generator and a `Worker`. Gives: a `CaseMeasurement`. Does not cover: how requests
reach the submission (see `worker.session` for the sandbox, `runner.worker` for a student's
machine).

The oracle of an `Expect` is computed here, after the reply, and never leaves this side.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from grader.assignment.steps import (
    Call,
    CaseSteps,
    Drop,
    Each,
    Expect,
    New,
    On,
    OverwriteArguments,
    Raises,
    ReclaimArguments,
    Ref,
    Request,
    Value,
    WorkloadStep,
    WorkloadSteps,
    World,
)
from grader.errors import AuthorError, DeviceError, SandboxError
from grader.evidence.comparison import Mismatch, compare_parts
from grader.evidence.faults import (
    Fault,
    FaultKind,
    Raised,
    Stopped,
    fault_from,
    fault_of,
    public_name,
)
from grader.evidence.observations import (
    CaseMeasurement,
    ErrorObservation,
    Observation,
    ValueObservation,
)
from grader.evidence.worker_protocol import Worker, WorkerGroup

AnySteps = CaseSteps | WorkloadSteps

RANKS_HINT = "say `ranks = N` in its [[problem]]"


UNUSABLE = frozenset({Mismatch.KIND, Mismatch.DTYPE, Mismatch.SHAPE})
"""Mismatches after which a case cannot go on: an author may index what was compared before."""


class _Unusable(Exception):  # ends a case whose last reply has another form than expected
    pass


@dataclass(slots=True)
class _Progress:
    observations: list[Observation] = field(default_factory=list)
    refs: int = 0
    calls: int = 0


def drive(
    steps: AnySteps, worker: Worker, *, check: str, index: int, public: bool
) -> CaseMeasurement:
    """Run one case to its end or to the first fault.

    Args:
        steps: a fresh case generator.
        worker: where the submission runs.
        check: name of the check the case belongs to.
        index: number of the instance.
        public: whether students may see its content.
    """
    progress = _Progress()
    before_ns = worker.wall_ns
    faults: tuple[Fault, ...] = ()
    try:
        _exhaust(steps, worker, progress)
    except _Unusable:
        pass  # the observation says it all; later steps may rely on the reply's form
    except Raised as raised:
        faults = (fault_of(raised),)
    except Stopped as stopped:
        faults = (stopped.fault,)
    except (SandboxError, DeviceError) as error:
        faults = (fault_from(error),)
    except Exception as error:  # noqa: BLE001 - cases.py and oracles are authors' code; their failure is named as theirs
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
    )


def _exhaust(steps: AnySteps, worker: Worker, progress: _Progress) -> None:
    reply: Value = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            return
        reply = _carry_out(step, worker, progress)


def _carry_out(step: WorkloadStep, worker: Worker, progress: _Progress) -> Value:
    match step:
        case Expect():
            want = step.want() if isinstance(step.want, Callable) else step.want  # type: ignore[arg-type]
            parts = compare_parts(step.got, want, exact=step.exact, per_row=step.per_row)
            progress.observations.extend(
                ValueObservation(label=step.label, comparison=part) for part in parts
            )
            if any(part.mismatch in UNUSABLE for part in parts):
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
    return None


def _request(step: Request, worker: Worker, progress: _Progress) -> Value:
    progress.calls += 1
    if isinstance(step, Call):
        return worker.call(step)
    if isinstance(step, New):
        ref = _next_ref(progress)
        worker.new(ref, step)
        return ref
    refs, replies = _ask_ranks(step, worker, progress)
    for reply in replies.values():
        if isinstance(reply, Raised):
            raise reply
    if refs:
        return refs[0]
    values = [replies[rank] for rank in sorted(replies)]
    return values if isinstance(step, Each) else values[0]


def _ask_ranks(
    step: Each | On, worker: Worker, progress: _Progress
) -> tuple[list[Ref], dict[int, Value | Raised]]:
    """Return the object that was made, if one was, and what each rank replied."""
    group = _group(worker)
    if isinstance(step, On):
        steps = {step.rank: step.step}
    else:
        count = group.size if len(step.steps) == 1 else len(step.steps)
        given = step.steps * count if len(step.steps) == 1 else step.steps
        steps = dict(enumerate(given))
    if not steps or not all(0 <= rank < group.size for rank in steps):
        raise AuthorError(f"steps for ranks {sorted(steps)} in a world of {group.size}")
    if isinstance(step, Each) and len(steps) != group.size:
        raise AuthorError(f"Each has {len(steps)} steps for {group.size} ranks; give one or all")
    kinds = {isinstance(one, New) for one in steps.values()}
    if len(kinds) > 1:
        raise AuthorError("Each takes either New or Call for all ranks")
    refs = [_next_ref(progress)] if kinds == {True} else []
    return refs, group.ask(steps, refs[0] if refs else None)


def _group(worker: Worker) -> WorkerGroup:
    if isinstance(worker, WorkerGroup):
        return worker
    raise AuthorError("a case asks for ranks of a problem without any", hint=RANKS_HINT)


def _next_ref(progress: _Progress) -> Ref:
    progress.refs += 1
    return Ref(progress.refs - 1)


def _expect_error(step: Raises, worker: Worker, progress: _Progress) -> Value:
    if isinstance(step.step, Each):
        progress.calls += 1
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
    """Keep what came of a step that must raise; return the text of its exception."""
    got, text, matches = "", "", False
    if isinstance(reply, Raised):
        got, text, matches = public_name(reply.names), str(reply), step.error in reply.names
        if "NotImplementedError" in reply.names and step.error != "NotImplementedError":
            raise reply  # an untouched stub is missing work, not a wrong error
    progress.observations.append(
        ErrorObservation(label=label, expected=step.error, got=got, text=text, matches=matches)
    )
    return text

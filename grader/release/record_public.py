"""Records the public cases of an assignment as `public/<Problem>.json`, for students.

The reference solution runs in this process, because it is the author's own code, and each case runs
on it. Expected values are the oracle's, never the solution's. `student.trace` plays recordings.
"""

import json
import math
import traceback
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from grader.assignment.declare import CaseMaker, load_cases, load_harness, load_solution
from grader.assignment.draw import PUBLIC_SEED, Draw
from grader.assignment.public_cases import PUBLIC_FOLDER
from grader.assignment.steps import CaseSteps, Expect, Raises, Request, Step, Value, tap
from grader.assignment.table import Assignment, Check, Problem, load_assignment
from grader.correctness.drive import Worker, drive
from grader.errors import AuthorError
from grader.evidence.comparison import Mismatch, brief, compare_parts
from grader.evidence.observations import CaseMeasurement
from grader.release.record_performance import record_performance
from grader.runner.protocol import Json
from grader.student.local_ranks import local_worker
from grader.student.tensors import with_strides
from grader.student.trace import (
    Recording,
    ReplyPart,
    TracedCheck,
    TracedProblem,
    dump_problem,
    from_json,
    map_leaves,
    map_values,
    step_to_json,
)
from grader.student.verdict import judge_case

_NO_REPLY = object()
"""Logged for steps without a reply, so that `None` can only be the reply of a call."""
ROUNDING = 1e-5
"""Floats that differ by less are the same, since another CPU rounds in other ways: relative to the
largest magnitude of a tensor, and at least two units in the last place of its dtype."""
MOST_SHOWN = 60
"""Characters of a value in a message."""


@dataclass(slots=True)
class _Log:
    steps: list[Step] = field(default_factory=list)
    replies: list[Value] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)


def record_public(assignment: Path, reference: Path) -> dict[str, str]:
    """Return the text of every file of the `public/` folder by file name, targets' included.

    Raises:
        AuthorError: if a check has no public case, a case compares something that is not a reply,
            the reference solution fails a public case, or a case differs when it is played again.
    """
    table = load_assignment(assignment)
    cases = load_cases(reference)
    solution = vars(load_solution(reference))
    harness = load_harness(assignment)
    files: dict[str, str] = {}
    for problem in table.problems:
        worker = local_worker(problem.ranks, solution, harness)
        checks = tuple(
            _record_check(table, problem, check, cases, worker) for check in problem.checks
        )
        traced = TracedProblem(problem=problem.name, checks=checks)
        files[f"{problem.name}.json"] = dump_problem(traced)
    return files | record_performance(assignment, reference)


def write_public(assignment: Path, files: dict[str, str]) -> tuple[Path, ...]:
    """Replace the `public/` folder's recordings; return the files that changed.

    One that differs only by the rounding of another machine stays as it is.
    """
    folder = assignment / PUBLIC_FOLDER
    folder.mkdir(exist_ok=True)
    changed = [path for path in sorted(folder.glob("*.json")) if path.name not in files]
    for path in changed:
        path.unlink()
    for name, text in files.items():
        if not _is_recorded(folder / name, text) and write_if_changed(folder / name, text):
            changed.append(folder / name)
    return tuple(changed)


def _is_recorded(path: Path, text: str) -> bool:
    """Return whether a file holds these recordings, apart from rounding."""
    try:
        return not difference(json.loads(path.read_text(encoding="utf-8")), json.loads(text))
    except (OSError, ValueError):
        return False


def write_if_changed(path: Path, text: str) -> bool:
    """Write a file unless it holds `text` already; return whether it was written."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8", newline="\n")
    return True


def _record_check(
    table: Assignment,
    problem: Problem,
    check: Check,
    cases: dict[tuple[str, str], CaseMaker],
    worker: Worker,
) -> TracedCheck:
    maker = cases.get((problem.name, check.name))
    where = f"{table.slug}: {problem.name}.{check.name}"
    if maker is None:
        hint = f'add @case("{problem.name}", "{check.name}") to cases.py'
        raise AuthorError(f"{where}: has no case", hint=hint)
    if maker.public < 1:
        raise AuthorError(f"{where}: has no public case", hint="give @case at least public=1")
    path = (table.slug, problem.name, check.name)
    instances: list[Recording] = []
    for index in range(maker.public):
        log, again = _Log(), _Log()
        first, second = (
            _logged(maker(Draw(PUBLIC_SEED, path, index)), one, where) for one in (log, again)
        )
        seen = drive(first, worker, check=check.name, index=index, public=True)
        if log.errors:
            own = Path(maker.code.co_filename).parent
            raise _broken(f"{where}, public case {index}", log.errors[0], own)
        _refuse_failure(seen, check, where)
        _play_again(second, log.replies)
        if again.errors or not _are_the_same(log.steps, again.steps):
            raise AuthorError(
                f"{where}: public case {index} differs when it is played again under its seed",
                hint="take everything random from `draw`; `grader validate` says where it differs",
            )
        instances.append(tuple(log.steps))
    return TracedCheck(
        name=check.name,
        title=check.title,
        description=" ".join((maker.make.__doc__ or "").split()),
        instances=tuple(instances),
    )


def _refuse_failure(seen: CaseMeasurement, check: Check, where: str) -> None:
    why = judge_case(seen, check.tolerance).reason
    if why is not None:
        raise AuthorError(
            f"{where}: the reference solution fails public case {seen.index}: {why.label}: "
            f"expected {why.expected}, got {why.got}",
            hint="fix solution.py, oracle.py or the case",
        )


def _broken(where: str, error: Exception, own: Path) -> AuthorError:
    """Return what is wrong with a case that raises, with the place in the author's files."""
    if isinstance(error, AuthorError):
        return error
    raised = f"the case or its oracle raises {type(error).__name__}: {error}"
    return AuthorError(f"{where}: {raised}; {place_of(error, own)}")


def place_of(error: BaseException, below: Path | None = None) -> str:
    """Return file, line and text of the line from which an exception came.

    `below` is the folder whose files are named, if any is on the way: an author's.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [one for one in frames if below and one.filename.startswith(str(below.resolve()))]
    if not (own or frames):
        return ""
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}: `{frame.line}`"


def noting(steps: CaseSteps, errors: list[Exception]) -> CaseSteps:
    """Pass the steps on, and note what the case or its oracle raises."""
    try:
        yield from steps
    except Exception as error:
        errors.append(error)
        raise


def _play_again(steps: CaseSteps, replies: list[Value]) -> None:
    """Send a case the replies that it got before; what it raises now is noted in its log."""
    with suppress(Exception), closing(steps):  # StopIteration at the end
        next(steps)
        for reply in replies:
            steps.send(None if reply is _NO_REPLY else reply)


def _are_the_same(before: list[Step], now: list[Step]) -> bool:
    pairs = zip(before, now, strict=False)
    return len(before) == len(now) and not any(
        difference(step_to_json(one), step_to_json(other)) for one, other in pairs
    )


def _logged(steps: CaseSteps, log: _Log, where: str) -> CaseSteps:
    """Pass a case's steps through, and log each as it is before it runs."""

    def on_step(step: Step) -> Step:
        if isinstance(step, Expect):
            step = replace(step, want=step.want() if callable(step.want) else step.want)
            log.steps.append(_expectation(step, log, where))
        else:
            log.steps.append(map_values(step, partial(_recorded, log=log)))
        return step

    def on_reply(step: Step, reply: Value) -> Value:
        log.replies.append(reply if isinstance(step, Request | Raises) else _NO_REPLY)
        return reply

    return noting(tap(steps, on_step, on_reply), log.errors)


def _expectation(step: Expect, log: _Log, where: str) -> Expect:
    part = _find(step.got, log.replies)
    if part is None:
        raise AuthorError(
            f"{where}: `Expect({step.label!r})` compares something that is not a reply",
            hint="in public cases compare a reply itself, or an element of a tuple, list or dict",
        )
    # What a case expects may be a reply as well: the same on every rank, say, whatever that is. But
    # where it found a reply right in itself, only the numbers of the solution can say so.
    known = _Log() if step.want is step.got else log
    return replace(step, got=part, want=map_leaves(step.want, partial(_recorded, log=known)))


def _recorded(leaf: Value, log: _Log) -> Value:
    """Return a copy of a tensor, or a `ReplyPart` if it is a reply; anything else as it is."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    return _find(leaf, log.replies) or with_strides(leaf, tuple(leaf.stride()))


def _find(wanted: Value, replies: list[Value]) -> ReplyPart | None:
    """Return where the object `wanted` itself is, in the latest reply that contains it."""
    for step in reversed(range(len(replies))):
        path = _path_to(wanted, replies[step])
        if path is not None:
            return ReplyPart(step=step, path=path)
    return None


def _path_to(wanted: Value, reply: Value) -> tuple[int | str, ...] | None:
    if reply is wanted:
        return ()
    items = reply.items() if isinstance(reply, dict) else ()
    for key, item in enumerate(reply) if isinstance(reply, list | tuple) else items:
        path = _path_to(wanted, item)
        if path is not None:
            return (key, *path)
    return None


def difference(before: Json, now: Json, where: str = "") -> str:
    """Return the first difference of two recordings, apart from rounding; empty if there is none.

    Args:
        before: a file of public cases, one step of it, or a part of a step, as parsed JSON.
        now: another one.
        where: what they are, for the message.
    """
    match before, now:
        case {"t": dict() as old}, {"t": dict() as new}:
            return _difference_of_tensors(old, new, where)
        case dict(), dict() if before.keys() == now.keys():
            pairs = [(f"{where}.{key}", before[key], now[key]) for key in before]
        case list(), list() if len(before) == len(now):
            names = [
                one.get("name", i) if isinstance(one, dict) else i for i, one in enumerate(now)
            ]
            pairs = [
                (f"{where}[{name}]", old, new)
                for name, old, new in zip(names, before, now, strict=True)
            ]
        case float(), float() if math.isclose(before, now, rel_tol=ROUNDING):
            return ""
        case _:
            same = type(before) is type(now) and json.dumps(before) == json.dumps(
                now
            )  # NaN as well
            return "" if same else f"{where.lstrip('.')}: {_short(before)}, now {_short(now)}"
    return next(filter(None, (difference(old, new, name) for name, old, new in pairs)), "")


def _difference_of_tensors(before: Json, now: Json, where: str) -> str:
    old, new = from_json({"t": before}), from_json({"t": now})
    (found,) = compare_parts(new, old)
    allowed = 0.0
    if old.dtype.is_floating_point:
        allowed = max(ROUNDING, 2 * torch.finfo(old.dtype).eps)
    same = found.mismatch is Mismatch.NONE and found.error <= allowed
    if same and old.stride() == new.stride():
        return ""
    strides = f" with strides {old.stride()} and {new.stride()}" if same else ""
    return f"{where.lstrip('.')}: {brief(old)}, now {brief(new)}{strides}"


def _short(tree: Json) -> str:
    text = json.dumps(tree)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"

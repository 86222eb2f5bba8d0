"""Cases of `Scheduler`: random traffic against the published policy, and against its promises.

Takes: `Draw`. Gives: case makers. Does not cover: time.
"""

from collections.abc import Generator
from dataclasses import replace
from functools import partial

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Expect,
    New,
    Operation,
    PlaySteps,
    Raises,
    Ref,
    Sequence,
    Step,
    Value,
    case,
    sequence_case,
)

from .models import EOS, SchedulerModel, next_token
from .playing import ask, draw_operations, look, make

PLENTY = 200
"""Blocks that no traffic here needs."""
PATIENCE = 400
"""Steps within which all requests of a sequence have ended, whatever the policy."""


def _new(sequence: Sequence) -> Generator[Step | str, Value, tuple[Ref, SchedulerModel]]:
    n_blocks, size, most = (max(1, setting) for setting in sequence.settings)
    sizes = {"max_running": most, "eos_id": EOS}
    ref = yield from make("Scheduler", n_blocks, size, **sizes)
    return ref, SchedulerModel(n_blocks=n_blocks, size=size, max_running=most)


def _prompt(number: int, length: int) -> list[int]:
    return [10 + number + place for place in range(length % 6 + 1)]


def _add(ref: Ref, model: SchedulerModel, operation: Operation) -> PlaySteps:
    """Add a request that could run alone; others are for `refusals`."""
    number = len(model.known)
    length, many = operation.numbers
    prompt, new = _prompt(number, length), many + 1
    if model.blocks_for(len(prompt) + new - 1) <= model.n_blocks:
        yield from ask(ref, model.add, "add", number, prompt, new)


def _play(sequence: Sequence, *, ending: bool = False) -> PlaySteps:
    """Compare every step with the model's, and go on until all have ended."""
    ref, model = yield from _new(sequence)
    for operation in sequence.operations:
        if operation.name == "add":
            yield from _add(ref, model, operation)
        else:
            yield from _step(ref, model, ending=ending)
    while model.running or model.waiting:
        yield from _step(ref, model, ending=ending)
    yield from look(ref, "n_free", model.n_free)  # so that a pool too small for all asks something


def _step(ref: Ref, model: SchedulerModel, *, ending: bool) -> PlaySteps:
    yield from ask(ref, model.step, "step")
    pairs = [[one.number, next_token(one.tokens, ending=ending)] for one in model.running]
    if pairs:
        before = len(model.running)
        yield from ask(ref, model.commit, "commit", pairs)
        if len(model.running) < before:
            yield from look(ref, "n_free", model.n_free)


def _play_to_the_end(sequence: Sequence) -> PlaySteps:
    """Follow the submission's own plans: all requests end, each with the tokens it would have."""
    ref, model = yield from _new(sequence)
    for operation in sequence.operations:
        yield from _add(ref, model, operation)
    open_requests = set(model.known)
    for _ in range(PATIENCE):
        if not open_requests:
            break
        yield "step()"
        plan = yield Call(ref, "step")
        if not _is_plan(plan, open_requests):
            yield Expect(plan, model.step(), label="step()")
            return
        pairs = []
        for number in (*plan["admitted"], *plan["decoded"]):
            one = model.known[number]
            pairs.append([number, next_token(one.tokens)])
            one.tokens.append(pairs[-1][1])
            if len(one.tokens) == one.last:
                open_requests.remove(number)
        if pairs:
            yield f"commit({pairs})"
            yield Call(ref, "commit", pairs)
    yield Expect(len(open_requests), 0, label=f"requests that have not ended in {PATIENCE} steps")
    for number, one in model.known.items():
        yield from look(ref, "tokens", one.tokens, number)
    yield from look(ref, "n_free", model.n_blocks)


def _is_plan(plan: Value, open_requests: set[int]) -> bool:
    """Whether a reply can be followed: three lists, of requests that are there, each once."""
    names = ("admitted", "decoded", "preempted")
    if not isinstance(plan, dict) or set(plan) != set(names):
        return False
    if not all(isinstance(plan[name], list) for name in names):
        return False
    run = [*plan["admitted"], *plan["decoded"]]
    whole = all(type(number) is int for number in run)
    return whole and len(set(run)) == len(run) and set(run) <= open_requests


def _draw(draw: Draw, count: int, settings: tuple[int, int, int], **weights: int) -> Sequence:
    return replace(draw_operations(draw, weights, count, 2), settings=settings)


@sequence_case("Scheduler", "first_come", play=_play, hidden=7)
def first_come(draw: Draw) -> Sequence:
    """Requests come while others run; blocks abound, but only so many run at a time."""
    settings = (PLENTY, draw.integer(2, 4), draw.integer(1, 3))
    return _draw(draw, draw.integer(8, 14), settings, add=1, step=1)


@sequence_case("Scheduler", "preemption", play=_play, hidden=8)
def preemption(draw: Draw) -> Sequence:
    """Blocks run out: the newest goes first and comes back first, nobody overtakes.

    Or all need a block in the same step, and several have to go.
    """
    size = draw.integer(2, 3)
    if draw.index % 3 == 1:  # a block each, and all of them are full
        requests = [Operation(name="add", numbers=(size - 1, draw.integer(2, 4))) for _ in range(6)]
        return Sequence(settings=(4, size, 20), operations=tuple(requests))
    settings = (draw.integer(4, 7), size, 20)
    return _draw(draw, draw.integer(4, 7), settings, add=1)


@sequence_case("Scheduler", "resume", play=_play_to_the_end, hidden=8)
def resume(draw: Draw) -> Sequence:
    """Whoever is preempted ends nevertheless, with the tokens that it would have had alone."""
    settings = (draw.integer(4, 7), draw.integer(2, 3), 20)
    return _draw(draw, draw.integer(4, 7), settings, add=1)


@sequence_case("Scheduler", "ending", play=partial(_play, ending=True), hidden=5)
def ending(draw: Draw) -> Sequence:
    """A request that meets its end-of-sequence token ends there, and its blocks are free."""
    settings = (PLENTY, draw.integer(1, 3), 20)
    return _draw(draw, draw.integer(6, 10), settings, add=1)


@case("Scheduler", "refusals", hidden=2)
def refusals(draw: Draw) -> CaseSteps:
    """What could never run, comes twice, or does not belong to the last step is refused."""
    size, n_blocks = draw.integer(2, 4), draw.integer(2, 3)
    room = size * n_blocks
    scheduler = yield New("Scheduler", n_blocks, size, max_running=4, eos_id=EOS)
    yield Call(scheduler, "add", 5, [2, 3], room - 1)
    bad = [
        ("add of a prompt larger than the pool", ([4] * (room + 1), 1)),
        ("add of what would outgrow the pool", ([4] * 2, room)),
        ("add of an empty prompt", ([], 1)),
        ("add without new tokens", ([4], 0)),
    ]
    for what, arguments in draw.shuffled(bad):
        yield Raises(Call(scheduler, "add", 6, *arguments), "ValueError", what)
    again = Call(scheduler, "add", 5, [2], 1)
    yield Raises(again, "ValueError", "add of a number that is known")
    got = yield Call(scheduler, "step")
    plan = {"admitted": [5], "decoded": [], "preempted": []}
    yield Expect(got, plan, label="step after the refusals")
    step = Call(scheduler, "step")
    yield Raises(step, "RuntimeError", "step before the last one was committed")
    for what, pairs in (
        ("commit of nothing", []),
        ("commit of a request that does not run", [[5, 3], [6, 3]]),
        ("commit of a request twice", [[5, 3], [5, 3]]),
    ):
        yield Raises(Call(scheduler, "commit", pairs), "ValueError", what)
    got = yield Call(scheduler, "commit", [[5, 8]])
    yield Expect(got, [], label="commit after the refusals")
    yield Raises(Call(scheduler, "commit", [[5, 8]]), "ValueError", "commit of a step twice")
    yield Raises(Call(scheduler, "tokens", 6), "ValueError", "tokens of a request never added")
    got = yield Call(scheduler, "tokens", 5)
    yield Expect(got, [2, 3, 8], label="tokens after the refusals")

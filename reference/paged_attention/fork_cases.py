"""Cases of `fork`: random operations on a `ForkingCache` against a model.

Takes: `Draw`. Gives: case makers. Does not cover: memory. Token number n has keys n and values -n.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import partial

import torch

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Expect,
    New,
    Operation,
    OverwriteArguments,
    PlaySteps,
    Raises,
    Ref,
    Sequence,
    case,
    sequence_case,
)

from .models import ForkModel
from .playing import ask, draw_operations, look, make

HEADS, DIM = 1, 2


class Watch(Enum):
    """What is compared beside what the operations return; a check sees one kind of fault alone."""

    TOKENS = "tokens of all sequences at the end"
    BLOCKS = "free blocks after each operation"
    BLOCKS_AT_THE_END = "free blocks at the end"


def _rows(numbers: Iterable[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return keys and values [T, H, D] of tokens by number."""
    k = torch.tensor(list(numbers), dtype=torch.float32).reshape(-1, 1, 1).repeat(1, HEADS, DIM)
    return k, -k


@dataclass(slots=True)
class _Round:
    """One sequence of operations on its way."""

    ref: Ref
    model: ForkModel
    written: int = 0


def _play(sequence: Sequence, *, watch: Watch) -> PlaySteps:
    n_blocks, size = (max(1, setting) for setting in sequence.settings)
    ref = yield from make("ForkingCache", n_blocks, size, HEADS, DIM)
    game = _Round(ref=ref, model=ForkModel(n_blocks, size))
    yield from ask(ref, game.model.create, "create")
    for operation in sequence.operations:
        yield from _operate(game, operation)
        if watch is Watch.BLOCKS:
            yield from look(ref, "n_free", game.model.n_free)
    if watch is Watch.BLOCKS_AT_THE_END:
        yield from look(ref, "n_free", game.model.n_free)
    for number, tokens in game.model.sequences.items():
        if watch is Watch.TOKENS:
            yield from look(ref, "gather", _rows(tokens), number)


def _operate(game: _Round, operation: Operation) -> PlaySteps:
    which, many = operation.numbers
    known = list(game.model.sequences)[-3:]
    if not known:
        yield from ask(game.ref, game.model.create, "create")
    elif operation.name.startswith("append"):
        count = many if operation.name == "append any" else many % 5
        yield from _append(game, known[which % len(known)], count, operation.name)
    else:
        method, number = operation.name, known[which % len(known)]
        yield from ask(game.ref, getattr(game.model, method), method, number)


def _append(game: _Round, number: int, count: int, name: str) -> PlaySteps:
    tokens = list(range(game.written + 1, game.written + count + 1))
    text = f"append({number}, {count} tokens)"
    try:
        game.model.append(number, tokens)
    except RuntimeError:
        if name == "append any":
            yield text
            yield Raises(Call(game.ref, "append", number, *_rows(tokens)), "RuntimeError", text)
        return
    game.written += count
    yield text
    got = yield Call(game.ref, "append", number, *_rows(tokens))
    yield Expect(got, None, label=text)
    yield OverwriteArguments()


def _draw(draw: Draw, count: int, settings: tuple[int, int], **weights: int) -> Sequence:
    """Return operations behind a beginning that matters: a fork of a fork, all of them go on."""
    named = {name.replace("_", " "): weight for name, weight in weights.items()}
    append = next(name for name in named if name.startswith("append"))
    family = [
        Operation(name=append, numbers=(0, 1)),
        Operation(name="fork", numbers=(0, 0)),
        Operation(name="fork", numbers=(1, 0)),
        *(Operation(name=append, numbers=(draw.integer(0, 2), 1)) for _ in range(4)),
    ]
    others = draw_operations(draw, named, count, 2).operations
    return Sequence(settings=settings, operations=(*family, *others))


@sequence_case("fork", "branches", play=partial(_play, watch=Watch.TOKENS), hidden=8)
def branches(draw: Draw) -> Sequence:
    """Sequences fork, forks fork, all of them go on: each keeps its own tokens."""
    return _draw(draw, draw.integer(4, 10), (400, draw.integer(2, 4)), append=3, fork=2)


@sequence_case("fork", "blocks", play=partial(_play, watch=Watch.BLOCKS), hidden=9)
def blocks(draw: Draw) -> Sequence:
    """A fork takes no block, a write copies one at most, and what nobody holds becomes free."""
    settings = (400, draw.integer(2, 4))
    return _draw(draw, draw.integer(12, 18), settings, append=2, fork=2, release=2)


@sequence_case("fork", "exhaustion", play=partial(_play, watch=Watch.BLOCKS_AT_THE_END), hidden=10)
def exhaustion(draw: Draw) -> Sequence:
    """Without enough free blocks, that for a copy included, nothing is appended."""
    settings = (draw.integer(6, 9), draw.integer(2, 3))
    return _draw(draw, draw.integer(8, 12), settings, append_any=2, fork=1)


@case("fork", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Sequences that have ended or never were, and tokens that do not fit, raise ValueError."""
    cache = yield New("ForkingCache", 8, draw.integer(2, 4), HEADS, DIM)
    k, v = _rows(range(1, draw.integer(3, 5)))
    for expected in (0, 1):
        got = yield Call(cache, "create")
        yield Expect(got, expected, label="create")
        yield Call(cache, "append", expected, k, v)
    yield Call(cache, "release", 0)
    bad = [
        ("append to a sequence that has ended", Call(cache, "append", 0, k, v)),
        ("append to a sequence that never was", Call(cache, "append", 2, k, v)),
        ("fork of a sequence that has ended", Call(cache, "fork", 0)),
        ("gather of a sequence that has ended", Call(cache, "gather", 0)),
        ("gather of sequence -1", Call(cache, "gather", -1)),
        ("release of a sequence that has ended", Call(cache, "release", 0)),
        ("append of another dtype", Call(cache, "append", 1, k.half(), v.half())),
        ("append of values with a token too few", Call(cache, "append", 1, k, v[1:])),
        ("append of another head dimension", Call(cache, "append", 1, k[..., 1:], v[..., 1:])),
        ("append of no head dimension", Call(cache, "append", 1, k[..., 0], v[..., 0])),
    ]
    for what, step in draw.shuffled(bad):
        yield Raises(step, "ValueError", what)
    got = yield Call(cache, "gather", 1)
    yield Expect(got, (k, v), label="gather after the refusals", exact=True)

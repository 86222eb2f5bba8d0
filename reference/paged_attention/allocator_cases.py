"""Cases of `BlockAllocator`: random operations against a model, one vocabulary per check.

Takes: `Draw`. Gives: case makers. Does not cover: speed.
"""

from dataclasses import replace

from grader.author import Draw, PlaySteps, Sequence, sequence_case

from .models import AllocatorModel
from .playing import ask, draw_operations, look, make


def _play(sequence: Sequence) -> PlaySteps:
    """Play operations; each picks among what is held, and does nothing where nothing is."""
    n_blocks = max(1, sequence.settings[0])
    ref = yield from make("BlockAllocator", n_blocks)
    model = AllocatorModel(n_blocks)
    for operation in sequence.operations:
        for method, argument in _resolve(model, operation.name, *operation.numbers):
            yield from ask(ref, getattr(model, method), method, argument)
            yield from look(ref, "n_free", model.n_free)
    for block in range(n_blocks):
        yield from look(ref, "count", model.holders[block], block)


def _resolve(
    model: AllocatorModel, name: str, which: int, many: int
) -> list[tuple[str, int | list[int]]]:
    """Return the call that an operation means now; none if it means nothing."""
    held, free, total = model.held, model.n_free, len(model.holders)
    picked = held[which % len(held) :][: many % 3 + 1] if held else []
    idle = [block for block in range(total) if block not in held]
    meanings: dict[str, list[tuple[str, int | list[int]]]] = {
        "allocate": [("allocate", min(which % 4, free))],
        "allocate all": [("allocate", free)],
        "allocate too many": [("allocate", free + 1 + which % 3)],
        "share": [("share", picked[0])] if picked else [],
        "release one": [("release", picked[:1])] if picked else [],
        "release": [("release", picked[::-1] if many % 2 else picked)] if picked else [],
        "release holders": [("release", [b for b in picked for _ in range(model.holders[b])])],
        "release too often": [
            ("release", [*picked, *([picked[0]] * model.holders[picked[0]])]) for _ in picked[:1]
        ],
        "release free": [("release", [*picked, idle[which % len(idle)]]) for _ in idle[:1]],
        "release nowhere": [("release", [*picked, (total + which, -1)[many % 2]])],
        "share free": [("share", idle[which % len(idle)]) for _ in idle[:1]],
        "allocate negative": [("allocate", -1 - which)],
    }
    return meanings[name]


def _draw(draw: Draw, count: int, **weights: int) -> Sequence:
    named = {name.replace("_", " "): weight for name, weight in weights.items()}
    return replace(draw_operations(draw, named, count, 2), settings=(draw.integer(3, 6),))


@sequence_case("BlockAllocator", "reuse", play=_play)
def reuse(draw: Draw) -> Sequence:
    """Blocks are allocated, released and allocated again, in the order of the queue."""
    return _draw(draw, draw.integer(12, 20), allocate=1, release=1)


@sequence_case("BlockAllocator", "sharing", play=_play, hidden=10)
def sharing(draw: Draw) -> Sequence:
    """Blocks get several holders, and are free when the last one is gone."""
    first = _draw(draw, 1, allocate_all=1)
    others = _draw(draw, draw.integer(16, 24), share=2, release=1, release_holders=1)
    return replace(first, operations=(*first.operations, *others.operations))


@sequence_case("BlockAllocator", "exhaustion", play=_play, hidden=10)
def exhaustion(draw: Draw) -> Sequence:
    """More blocks than are free are refused with RuntimeError, and none is taken."""
    return _draw(draw, draw.integer(5, 8), allocate=2, allocate_too_many=1)


@sequence_case("BlockAllocator", "misuse", play=_play, hidden=10)
def misuse(draw: Draw) -> Sequence:
    """What is free or does not exist is neither shared nor released: ValueError, nothing changes.

    Some releases name good blocks before the bad one.
    """
    first = _draw(draw, 1, allocate=1)
    bad = {"release_too_often": 2, "release_free": 2, "release_nowhere": 2}
    others = _draw(draw, draw.integer(8, 12), **bad, share_free=1, allocate_negative=1)
    return replace(first, operations=(*first.operations, *others.operations))


@sequence_case("BlockAllocator", "second_life", play=_play, hidden=9)
def second_life(draw: Draw) -> Sequence:
    """One block goes from hand to hand: what it was before leaves no trace."""
    sequence = _draw(draw, draw.integer(26, 34), allocate_all=2, share=2, release_one=3)
    return replace(sequence, settings=(1,))

"""Cases of `BlockAllocator`: random operations against a model, one vocabulary per check.

Takes: `Draw`. Gives: case makers. Does not cover: speed.
"""

from dataclasses import dataclass, replace

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Excluded,
    Expect,
    Factors,
    New,
    PlaySteps,
    Raises,
    Ref,
    Row,
    Sequence,
    Value,
    case,
    sequence_case,
)

from .models import AllocatorModel
from .playing import ask, draw_operations, kind_of, look, make


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


@sequence_case("BlockAllocator", "sharing", play=_play, hidden=8)
def sharing(draw: Draw) -> Sequence:
    """Blocks get several holders, and are free when the last one is gone."""
    first = _draw(draw, 1, allocate_all=1)
    others = _draw(draw, draw.integer(16, 24), share=2, release=1, release_holders=1)
    return replace(first, operations=(*first.operations, *others.operations))


@sequence_case("BlockAllocator", "exhaustion", play=_play, hidden=8)
def exhaustion(draw: Draw) -> Sequence:
    """More blocks than are free are refused with RuntimeError, and none is taken."""
    return _draw(draw, draw.integer(5, 8), allocate=2, allocate_too_many=1)


@sequence_case("BlockAllocator", "misuse", play=_play, hidden=8)
def misuse(draw: Draw) -> Sequence:
    """What is free or does not exist is neither shared nor released: ValueError, nothing changes.

    Some releases name good blocks before the bad one.
    """
    first = _draw(draw, 1, allocate=1)
    bad = {"release_too_often": 2, "release_free": 2, "release_nowhere": 2}
    others = _draw(draw, draw.integer(8, 12), **bad, share_free=1, allocate_negative=1)
    return replace(first, operations=(*first.operations, *others.operations))


@sequence_case("BlockAllocator", "second_life", play=_play, hidden=7)
def second_life(draw: Draw) -> Sequence:
    """One block goes from hand to hand: what it was before leaves no trace."""
    sequence = _draw(draw, draw.integer(26, 34), allocate_all=2, share=2, release_one=3)
    return replace(sequence, settings=(1,))


RELEASED = ("all holders", "one holder of each", "the last block", "nothing")
REFUSED = {
    "an allocator of no block": None,
    "allocate of -1": ("allocate", -1),
    "allocate of one too many": ("allocate", "one too many"),
    "share of a free block": ("share", "free"),
    "share of block -1": ("share", -1),
    "count of block -1": ("count", -1),
    "count of block n_blocks": ("count", "n_blocks"),
    "release of a free block behind others": ("release", "free"),
    "release of block -1 behind others": ("release", -1),
    "release of block n_blocks behind others": ("release", "n_blocks"),
    "release of one too often behind others": ("release", "held"),
}
"""What each refusal calls, and with what; others are all holders of all blocks."""
KINDS = {
    "nothing": ("nothing",),
    "allocate": ("allocate of -1", "allocate of one too many", "an allocator of no block"),
    "share": ("share of a free block", "share of block -1"),
    "count": ("count of block -1", "count of block n_blocks"),
    "release": tuple(what for what in REFUSED if what.startswith("release")),
}
"""Refusals of each level; what is released afterwards says which one a row asks."""


def _refused(row: Row) -> str:
    return kind_of(KINDS[row["refused"]], row["released"], RELEASED)


ALLOCATOR = Factors(
    "BlockAllocator",
    {
        "blocks": (5, 1, 2),
        "in use": ("some", "none", "all"),
        "holders": ("one", "two", "two and one in turn"),
        "refused": tuple(KINDS),
        "released": RELEASED,
        "order of names": ("rising", "falling", "round by round"),
        "calls": ("one", "one per block"),
        "allocated then": ("all that are free", "one", "none"),
        "life": ("second", "first"),
        "beside": ("nothing", "another allocator"),
    },
    excluded=(
        Excluded(
            "of one block, all or none is in use",
            lambda row: row["blocks"] == 1 and row["in use"] == "some",
        ),
        Excluded(
            "round by round, in one call, is an order of several blocks",
            lambda row: (
                row["order of names"] == "round by round"
                and (row["blocks"] < 5 or row["in use"] == "none" or row["calls"] != "one")
            ),
        ),
        Excluded(
            "nobody can hold a block if none is in use",
            lambda row: row["in use"] == "none" and row["holders"] != "one",
        ),
        Excluded(
            "a free block is refused only if there is one",
            lambda row: row["in use"] == "all" and "free block" in _refused(row),
        ),
        Excluded(
            "a block is released too often only if it is in use",
            lambda row: row["in use"] == "none" and "too often" in _refused(row),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class _Pair:
    """An allocator in the sandbox and its model."""

    ref: Ref
    model: AllocatorModel

    def ask(self, method: str, *args: Value) -> CaseSteps:
        """Call both and compare what they return."""
        text = f"{method}({', '.join(map(repr, args))})"
        got = yield Call(self.ref, method, *args)
        yield Expect(got, getattr(self.model, method)(*args), label=text)

    def look(self, when: str) -> CaseSteps:
        """Compare how many blocks are free, and the counts of all."""
        got = yield Call(self.ref, "n_free")
        yield Expect(got, self.model.n_free, label=f"n_free {when}")
        for block, count in enumerate(self.model.holders):
            got = yield Call(self.ref, "count", block)
            yield Expect(got, count, label=f"count({block}) {when}")


def _new_pair(n_blocks: int) -> CaseSteps:
    ref = yield New("BlockAllocator", n_blocks)
    return _Pair(ref, AllocatorModel(n_blocks))


def _hold(pair: _Pair, row: Row) -> CaseSteps:
    """Bring an allocator to the state of a row."""
    n_blocks, holders = len(pair.model.holders), row["holders"]
    if row["life"] == "second":
        yield from pair.ask("allocate", n_blocks)
        yield from pair.ask("release", list(range(n_blocks))[::-1])
    used = {"none": 0, "some": max(1, n_blocks - 2), "all": n_blocks}[row["in use"]]
    yield from pair.ask("allocate", used)
    for place, block in enumerate(pair.model.held):
        if holders == "two" or (holders != "one" and place % 2 == 0):
            yield from pair.ask("share", block)
    if row["order of names"] == "round by round":  # so that the first is named behind the others
        yield from pair.ask("share", pair.model.held[0])


def _refuse(pair: _Pair, row: Row) -> CaseSteps:
    """Ask for what must be refused, and look whether anything has changed."""
    model, what = pair.model, _refused(row)
    if what == "an allocator of no block":
        for count in (0, -1):
            yield Raises(New("BlockAllocator", count), "ValueError", f"BlockAllocator({count})")
    if REFUSED.get(what) is None:
        return
    method, bad = REFUSED[what]
    free = [block for block, count in enumerate(model.holders) if not count]
    number = {"free": free[-1:], "held": model.held[:1], "n_blocks": [len(model.holders)]}
    named = number[bad][0] if bad in number else bad
    if method == "release":
        others = [block for block in model.held for _ in range(model.holders[block])]
        named = [*others, named]
    named = model.n_free + 1 if bad == "one too many" else named
    error = "RuntimeError" if bad == "one too many" else "ValueError"
    yield Raises(Call(pair.ref, method, named), error, f"{method}({named})")
    yield from pair.look(f"after the refused {method}({named})")


def _names(model: AllocatorModel, row: Row) -> list[int]:
    """Return the blocks that a row releases, in its order; one by one for each holder."""
    held = model.held[::-1] if row["order of names"] == "falling" else model.held
    times = {block: model.holders[block] for block in held}
    match row["released"]:
        case "nothing":
            return []
        case "the last block":
            return held[-1:]
        case "one holder of each":
            return held
    if row["order of names"] == "round by round":
        return [block for turn in range(3) for block in held if turn < times[block]]
    return [block for block in held for _ in range(times[block])]


@case("BlockAllocator", "combinations", public=3, hidden=6, factors=ALLOCATOR)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: how many are held and how often, a refusal, order of names, a rest.

    Blocks named round by round, [0, 1, 0], become free when their last holder is named.
    """
    pair = yield from _new_pair(row["blocks"])
    other = yield from _new_pair(draw.integer(2, 4))
    if row["beside"] == "another allocator":
        yield from other.ask("allocate", 2)
    yield from _hold(pair, row)
    yield from _refuse(pair, row)
    names = _names(pair.model, row)
    for part in [[name] for name in names] if row["calls"] == "one per block" else [names]:
        yield from pair.ask("release", part)
        got = yield Call(pair.ref, "n_free")
        yield Expect(got, pair.model.n_free, label=f"n_free after release({part})")
    count = {"all that are free": pair.model.n_free, "one": min(1, pair.model.n_free), "none": 0}
    yield from pair.ask("allocate", count[row["allocated then"]])
    yield from pair.look("at the end")
    yield from pair.ask("allocate", pair.model.n_free)
    if row["beside"] == "another allocator":
        yield from other.look("of the other allocator")

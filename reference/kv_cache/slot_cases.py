"""Cases of `SlotCache`.

Takes: `Draw`. Gives: case makers. Does not cover: scheduling of requests.
"""

from dataclasses import dataclass

import torch

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Expect,
    Factors,
    New,
    OverwriteArguments,
    Raises,
    Ref,
    Row,
    case,
)

from .inputs import DTYPES, LAYOUTS, Pair, joined, laid_out, plain_pair, strided_pair

DIM = 3
HEADS = 2

_BAD_SIZES = [
    ("a cache without slots", New("SlotCache", 0, 8, HEADS, DIM)),
    ("slots without room", New("SlotCache", 4, 0, HEADS, DIM)),
    ("a cache without heads", New("SlotCache", 4, 8, 0, DIM)),
    ("vectors without numbers", New("SlotCache", 4, 8, HEADS, 0)),
]

SLOTS = Factors(
    "SlotCache",
    {
        "dtype": DTYPES,
        "slots": (3, 1),
        "room": (9, 1, 70),
        "before": ("a part of each", "all empty", "all full", "used before", "a refusal"),
        "named": ("all", "the last", "from the last to the first"),
        "chunk": ("one token", "no tokens", "fills one", "one too many"),
        "then": (
            "one more",
            "given back, taken again",
            "slot -1",
            "a slot not in use",
            "a slot twice, a value too few",
        ),
        "caller": ("keeps its tensors", "overwrites them"),
        "k": LAYOUTS,
        "v": LAYOUTS,
    },
)
"""Room: of a slot. Before and then: what is done before and after a chunk."""


def _expect_slots(
    cache: Ref,
    stored: dict[int, list[Pair]],
    slots: list[int],
    label: str,
    dtype: torch.dtype | None = None,
) -> CaseSteps:
    """Compare what `gather(slots)` returns with the chunks stored."""
    dtype = dtype or next((k.dtype for slot in slots for k, _ in stored[slot]), torch.float32)
    nothing = torch.zeros(1, HEADS, 0, DIM, dtype=dtype)
    rows = [joined([*stored[slot], (nothing, nothing)]) for slot in slots]
    lengths = [k.shape[2] for k, _ in rows]
    want = []
    for part in (0, 1):
        padded = torch.zeros(len(slots), HEADS, max(lengths), DIM, dtype=dtype)
        for r, pair in enumerate(rows):
            padded[r, :, : lengths[r]] = pair[part][0]
        want.append(padded)
    got = yield Call(cache, "gather", slots)
    yield Expect(got, (*want, torch.tensor(lengths)), label=label, exact=True)


def _store(stored: dict[int, list[Pair]], slots: list[int], pair: Pair) -> None:
    for row, slot in enumerate(slots):
        stored[slot].append((pair[0][row : row + 1], pair[1][row : row + 1]))


@case("SlotCache", "interleaved", public=3, hidden=3)
def interleaved(draw: Draw) -> CaseSteps:
    """Prompts of different lengths, then steps over several slots, named in any order.

    Steps of no, one and two tokens; all dtypes.
    """
    n_slots, dtype = draw.integer(3, 5), DTYPES[draw.index % 3]
    cache = yield New("SlotCache", n_slots, 16, HEADS, DIM, dtype=dtype)
    stored: dict[int, list[Pair]] = {}
    for slot in range(n_slots):
        got = yield Call(cache, "acquire")
        yield Expect(got, slot, label=f"acquire with {slot} slots in use")
        stored[slot] = []
        prompt = strided_pair(draw, 1, HEADS, draw.integer(1, 6), DIM, dtype=dtype)
        yield Call(cache, "append", [slot], *prompt)
        _store(stored, [slot], prompt)
    for count in draw.shuffled((0, 1, 2)):
        slots = draw.shuffled(range(n_slots))[: draw.integer(2, n_slots)]
        pair = strided_pair(draw, len(slots), HEADS, count, DIM, dtype=dtype)
        yield Call(cache, "append", slots, *pair)
        yield OverwriteArguments()
        _store(stored, slots, pair)
        asked = sorted(slots, reverse=True)
        yield from _expect_slots(cache, stored, asked, f"keys, values, lengths of slots {asked}")


@case("SlotCache", "reuse", public=1, hidden=3)
def reuse(draw: Draw) -> CaseSteps:
    """A released slot comes back empty: nothing of the request before it is left."""
    cache = yield New("SlotCache", 3, 12, HEADS, DIM)
    stored: dict[int, list[Pair]] = {}
    for slot in range(3):
        yield Call(cache, "acquire")
        stored[slot] = [plain_pair(draw, 1, HEADS, draw.integer(6, 9), DIM)]
        yield Call(cache, "append", [slot], *stored[slot][0])
    left = (draw.index + 1) % 3
    freed = sorted({0, 1, 2} - {left}, reverse=draw.index % 2 == 1)
    for slot in freed:
        yield Call(cache, "release", slot)
    got = yield Call(cache, "active")
    yield Expect(got, [left], label="active after two releases")
    slot = min(freed)
    got = yield Call(cache, "acquire")
    yield Expect(got, slot, label="acquire takes the lowest free slot")
    stored[slot] = []
    yield from _expect_slots(cache, stored, [slot], "a slot that is used again, still empty")
    pair = plain_pair(draw, 1, HEADS, draw.integer(1, 3), DIM)
    yield Call(cache, "append", [slot], *pair)
    stored[slot] = [pair]
    both = sorted((left, slot))
    yield from _expect_slots(cache, stored, both, "a slot that is used again, beside a longer one")
    got = yield Call(cache, "acquire")
    yield Expect(got, max(freed), label="acquire takes the last free slot")
    got = yield Call(cache, "active")
    yield Expect(got, [0, 1, 2], label="active with all slots in use again")


@case("SlotCache", "exhaustion", hidden=2)
def exhaustion(draw: Draw) -> CaseSteps:
    """With all slots in use `acquire` raises RuntimeError, until one is released."""
    n_slots = draw.integer(1, 4)
    cache = yield New("SlotCache", n_slots, 4, HEADS, DIM)
    for _ in range(n_slots):
        yield Call(cache, "acquire")
    yield Raises(Call(cache, "acquire"), "RuntimeError", "acquire with all slots in use")
    got = yield Call(cache, "active")
    yield Expect(got, list(range(n_slots)), label="active after a refusal")
    slot = draw.integer(0, n_slots - 1)
    yield Call(cache, "release", slot)
    got = yield Call(cache, "acquire")
    yield Expect(got, slot, label="acquire after a release")


@case("SlotCache", "overflow", public=1, hidden=3)
def overflow(draw: Draw) -> CaseSteps:
    """If one slot would exceed `max_length`, ValueError, and no slot has changed."""
    max_length = draw.integer(4, 6)
    cache = yield New("SlotCache", 3, max_length, HEADS, DIM)
    stored: dict[int, list[Pair]] = {}
    full = draw.integer(1, 2)
    for slot in range(3):
        yield Call(cache, "acquire")
        count = max_length - 1 if slot == full else draw.integer(1, 2)
        stored[slot] = [plain_pair(draw, 1, HEADS, count, DIM)]
        yield Call(cache, "append", [slot], *stored[slot][0])
    pair = plain_pair(draw, 3, HEADS, 2, DIM)
    step = Call(cache, "append", [0, 1, 2], *pair)
    yield Raises(step, "ValueError", "append beyond max_length")
    yield from _expect_slots(cache, stored, [0, 1, 2], "all slots after the refusal")
    last = plain_pair(draw, 1, HEADS, 1, DIM)
    yield Call(cache, "append", [full], *last)
    stored[full].append(last)
    yield from _expect_slots(cache, stored, [full], "a slot filled to max_length")


@case("SlotCache", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Slots that are not in use or named twice, and chunks that do not fit, raise ValueError.

    Then no slot has changed. Sizes below 1 raise, too.
    """
    cache = yield New("SlotCache", 4, 8, HEADS, DIM)
    for _ in range(3):
        yield Call(cache, "acquire")
    yield Call(cache, "release", 1)
    k, v = plain_pair(draw, 2, HEADS, 3, DIM)
    bad = [
        ("release of a slot that was released", Call(cache, "release", 1)),
        ("release of a slot never used", Call(cache, "release", 3)),
        ("release of slot -1", Call(cache, "release", -1)),
        ("release of a slot beyond the last", Call(cache, "release", 4)),
        ("append to a slot that was released", Call(cache, "append", [0, 1], k, v)),
        ("append to slot -1", Call(cache, "append", [0, -1], k, v)),
        ("append to a slot twice", Call(cache, "append", [2, 2], k, v)),
        ("append of one row to two slots", Call(cache, "append", [0, 2], k[:1], v[:1])),
        ("append of another dtype", Call(cache, "append", [0, 2], k.half(), v.half())),
        ("append of keys of another dtype", Call(cache, "append", [0, 2], k.half(), v)),
        ("append of values of another dtype", Call(cache, "append", [0, 2], k, v.half())),
        ("append of values with fewer tokens", Call(cache, "append", [0, 2], k, v[:, :, 1:])),
        ("append of one token of values", Call(cache, "append", [0, 2], k, v[:, :, :1])),
        ("append without tokens", Call(cache, "append", [0, 2], k[:, :, 0], v[:, :, 0])),
        ("append of 5 dimensions", Call(cache, "append", [0, 2], k[..., None], v[..., None])),
        ("gather of slot -1", Call(cache, "gather", [0, -1])),
        ("gather of a slot that was released", Call(cache, "gather", [0, 1])),
        ("gather of nothing", Call(cache, "gather", [])),
    ]
    for what, step in draw.shuffled(bad):
        yield Raises(step, "ValueError", what)
    got = yield Call(cache, "active")
    yield Expect(got, [0, 2], label="active after the refusals")
    stored: dict[int, list[Pair]] = {0: [], 2: []}
    yield from _expect_slots(cache, stored, [0, 2], "both slots after the refusals")
    for what, refused in draw.shuffled(_BAD_SIZES):
        yield Raises(refused, "ValueError", what)


@dataclass(slots=True)
class _Slots:
    """A cache, and what its slots must hold."""

    ref: Ref
    draw: Draw
    row: Row
    stored: dict[int, list[Pair]]

    def length(self, slot: int) -> int:
        """Return the number of tokens in a slot."""
        return sum(k.shape[2] for k, _ in self.stored[slot])

    def chunk(self, rows: int, count: int) -> Pair:
        """Return keys and values as the row of levels wants them."""
        draw, row = self.draw, self.row
        k, v = (draw.normal_tensor(rows, HEADS, count, DIM).to(row["dtype"]) for _ in range(2))
        return laid_out(k, row["k"]), laid_out(v, row["v"])

    def append(self, slots: list[int], count: int) -> CaseSteps:
        """Append tokens to slots; refused if one of them has no room for it."""
        pair = self.chunk(len(slots), count)
        step = Call(self.ref, "append", slots, *pair)
        if any(self.length(slot) + count > self.row["room"] for slot in slots):
            yield Raises(step, "ValueError", f"{count} tokens for slots {slots}")
            return
        yield step
        if self.row["caller"] == "overwrites them":
            yield OverwriteArguments()
        _store(self.stored, slots, pair)

    def acquire(self) -> CaseSteps:
        """Take all slots into use."""
        for slot in range(self.row["slots"]):
            got = yield Call(self.ref, "acquire")
            yield Expect(got, slot, label="acquire")
            self.stored[slot] = []

    def release(self) -> CaseSteps:
        """Give all slots back, in any order."""
        for slot in self.draw.shuffled(sorted(self.stored)):
            yield Call(self.ref, "release", slot)
        self.stored.clear()

    def expect(self, slots: list[int], when: str) -> CaseSteps:
        """Compare what slots hold, and which are in use."""
        dtype = self.row["dtype"]
        yield from _expect_slots(self.ref, self.stored, slots, f"gather({slots}) {when}", dtype)
        got = yield Call(self.ref, "active")
        yield Expect(got, sorted(self.stored), label=f"active {when}")


def _occupy(cache: _Slots) -> CaseSteps:
    """Bring all slots into use and to the state in which the chunk finds them."""
    before, room, draw = cache.row["before"], cache.row["room"], cache.draw
    yield from cache.acquire()
    if before == "all empty":
        return
    for slot in sorted(cache.stored):
        full = before in ("all full", "used before")
        yield from cache.append([slot], room if full else draw.integer(0, min(room, 5)))
    if before == "used before":
        yield from cache.release()
        yield from cache.acquire()
        yield from cache.append([0], draw.integer(0, 1))
    elif before == "a refusal":
        yield from cache.append(sorted(cache.stored), room + 1)
        step = Call(cache.ref, "acquire")
        yield Raises(step, "RuntimeError", "acquire with all slots in use")


def _finish(cache: _Slots) -> CaseSteps:
    """Do what comes after the chunk."""
    ref, last = cache.ref, cache.row["slots"] - 1
    k, v = cache.chunk(1, 1)
    match cache.row["then"]:
        case "given back, taken again":
            yield from cache.release()
            yield from cache.acquire()
        case "slot -1":
            for step in (
                Call(ref, "release", -1),
                Call(ref, "append", [-1], k, v),
                Call(ref, "gather", [-1]),
            ):
                yield Raises(step, "ValueError", f"{step.method} with slot -1")
        case "a slot not in use":
            yield Call(ref, "release", last)
            del cache.stored[last]
            named = [*cache.stored, last]
            step = Call(ref, "append", named, *cache.chunk(len(named), 1))
            yield Raises(step, "ValueError", "append to a slot that was given back")
            yield Raises(Call(ref, "gather", named), "ValueError", "gather of such a slot")
            got = yield Call(ref, "acquire")
            yield Expect(got, last, label="acquire of the slot that was given back")
            cache.stored[last] = []
        case "a slot twice, a value too few":
            step = Call(ref, "append", [last, last], *cache.chunk(2, 1))
            yield Raises(step, "ValueError", "append to a slot twice")
            step = Call(ref, "append", [last], k, v[:, :, :0])
            yield Raises(step, "ValueError", "append of a key without a value")
    yield from cache.append([0], 1)


@case("SlotCache", "combinations", public=2, hidden=4, factors=SLOTS)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, strides, rooms, full and reused slots, refusals.

    Chunks that are empty, fill a slot, or are one token too long.
    """
    ref = yield New("SlotCache", row["slots"], row["room"], HEADS, DIM, dtype=row["dtype"])
    cache = _Slots(ref, draw, row, {})
    yield from _occupy(cache)
    slots = sorted(cache.stored, reverse=row["named"] == "from the last to the first")
    if row["named"] == "the last":
        slots = slots[-1:]
    left = row["room"] - max(cache.length(slot) for slot in slots)
    counts = {"one token": 1, "no tokens": 0, "fills one": left, "one too many": left + 1}
    yield from cache.append(slots, counts[row["chunk"]])
    yield from cache.expect(slots, "after the chunk")
    slots = sorted(cache.stored)
    left = row["room"] - max(cache.length(slot) for slot in slots)
    yield from cache.append(slots, left + 1)  # refused, and then no slot has changed
    yield from _finish(cache)
    yield from cache.expect(draw.shuffled(sorted(cache.stored)), "at the end")

"""The wide check of `fork`: a family of sequences, a refusal, an append, as a row wants them.

Takes: `Draw`, rows of factors. Gives: the case maker. Does not cover: memory.
"""

import math
from dataclasses import dataclass, field

import torch

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Excluded,
    Expect,
    Factors,
    New,
    OverwriteArguments,
    Raises,
    Ref,
    Row,
    case,
)

from .models import ForkModel
from .page_rows import laid_out
from .playing import kind_of

LAYOUTS = ("contiguous", "heads before tokens", "every other column")
DEFAULT = "left out"

FAMILIES = (
    "forked",
    "forked twice",
    "fork of a fork",
    "beginning released",
    "fork released",
)
REFUSED = {
    "nothing": ("nothing",),
    "tokens that do not fit": (
        "another number of heads",
        "values with a token less",
        "another dtype",
        "another head dimension",
    ),
    "a token too many": ("a token too many",),
    "a number": ("a sequence that never was", "a cache of no block", "sequence -1"),
}
"""Kinds of each level; the family says which one a row asks."""


def _refused(row: Row) -> str:
    return kind_of(REFUSED[row["refused"]], row["family"], FAMILIES)


FORKS = Factors(
    "fork",
    {
        "dtype": (DEFAULT, torch.float16, torch.bfloat16),
        "block": (3, 1, 16),
        "heads": (2, 1),
        "dim": (3, 1),
        "first": ("a block and one", "none", "a block", "three blocks less one"),
        "family": FAMILIES,
        "who appends": ("the newest", "the oldest"),
        "appended": ("one", "none", "up to the border", "two blocks"),
        "room": ("plenty", "exactly enough"),
        "refused": tuple(REFUSED),
        "numbers": ("usual", "NaN, inf and -0.0"),
        "k": LAYOUTS,
        "v": LAYOUTS,
    },
    excluded=(
        Excluded(
            "whoever is left alone writes into its open block in place, and needs no other",
            lambda row: (
                row["family"] == "fork released"
                and (
                    row["room"] == "plenty"
                    or row["block"] == 1
                    or row["first"] in ("none", "a block")
                    or row["appended"] == "none"
                )
            ),
        ),
        Excluded(
            "a token less needs a token, and room for it",
            lambda row: (
                _refused(row) == "values with a token less"
                and row["appended"] in ("none", "up to the border")
            ),
        ),
    ),
)


@dataclass(slots=True)
class _Family:
    """A cache in the sandbox, its model, and all tokens that were ever appended."""

    ref: Ref
    model: ForkModel
    row: Row
    k: list[torch.Tensor] = field(default_factory=list)
    v: list[torch.Tensor] = field(default_factory=list)

    def draw_tokens(self, draw: Draw, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and values [count, H, D] as the row wants them."""
        parts = []
        dtype = torch.float32 if self.row["dtype"] == DEFAULT else self.row["dtype"]
        for name in ("k", "v"):
            x = draw.normal_tensor(count, self.row["heads"], self.row["dim"])
            if self.row["numbers"] != "usual" and count:
                x[0, 0, 0], x[-1, -1, 0] = math.nan, -0.0
                x[-1, 0, -1] = -math.inf
            parts.append(laid_out(x.to(dtype), self.row[name]))
        return parts[0], parts[1]

    def append(self, draw: Draw, sequence: int, count: int) -> CaseSteps:
        """Append tokens and overwrite what was given."""
        k, v = self.draw_tokens(draw, count)
        self.model.append(sequence, list(range(len(self.k), len(self.k) + count)))
        self.k += k.clone().unbind()
        self.v += v.clone().unbind()
        yield Call(self.ref, "append", sequence, k, v)
        yield OverwriteArguments()

    def fork(self, sequence: int) -> CaseSteps:
        """Fork a sequence."""
        got = yield Call(self.ref, "fork", sequence)
        yield Expect(got, self.model.fork(sequence), label=f"fork({sequence})")

    def release(self, sequence: int) -> CaseSteps:
        """End a sequence."""
        yield Call(self.ref, "release", sequence)
        self.model.release(sequence)

    def look(self, text: str) -> CaseSteps:
        """Compare the number of free blocks."""
        got = yield Call(self.ref, "n_free")
        yield Expect(got, self.model.n_free, label=f"n_free after {text}")

    def gather(self, *sequences: int) -> CaseSteps:
        """Compare the tokens of sequences."""
        empty = self.draw_tokens(Draw("none", (), 0), 0)
        for sequence in sequences:
            tokens = self.model.sequences[sequence]
            got = yield Call(self.ref, "gather", sequence)
            want = tuple(
                torch.stack([rows[n] for n in tokens]) if tokens else nothing.contiguous()
                for rows, nothing in zip((self.k, self.v), empty, strict=True)
            )
            yield Expect(got, want, label=f"gather({sequence}): keys, values", exact=True)


def _begin(draw: Draw, family: _Family) -> CaseSteps:
    """Make the sequences of a row, and return the one that appends."""
    row, size = family.row, family.row["block"]
    first = {"none": 0, "a block": size, "a block and one": size + 1}
    got = yield Call(family.ref, "create")
    yield Expect(got, family.model.create(), label="create")
    yield from family.append(draw, 0, first.get(row["first"], 3 * size - 1))
    kind = row["family"]
    yield from family.fork(0)
    if kind in ("forked twice", "fork of a fork"):
        yield from family.fork(0 if kind == "forked twice" else 1)
    if kind.endswith("released"):
        yield from family.release(0 if kind == "beginning released" else 1)
    return (max if row["who appends"] == "the newest" else min)(family.model.sequences)


def _refuse(draw: Draw, family: _Family, who: int, count: int) -> CaseSteps:
    """Ask for what must be refused."""
    what, model = _refused(family.row), family.model
    table, stored = model.tables[who], len(model.sequences[who])
    shared = stored % model.size > 0 and model.blocks.holders[table[-1]] > 1
    if what == "a token too many":
        room = (model.n_free - shared + len(table)) * model.size - stored
        count = max(room, 0) + 1
    k, v = family.draw_tokens(draw, count)
    bad = {
        "another dtype": ((who, k, v.double()), (who, k.double(), v)),
        "values with a token less": ((who, k, v[1:]),),
        "another number of heads": ((who, k.repeat(1, 2, 1), v.repeat(1, 2, 1)),),
        "another head dimension": ((who, k.repeat(1, 1, 2), v.repeat(1, 1, 2)),),
        "a token too many": ((who, k, v),),
        "a sequence that never was": ((model.created, k, v),),
        "sequence -1": ((-1, k, v),),
    }.get(what, ())
    error = "RuntimeError" if what == "a token too many" else "ValueError"
    for arguments in bad:
        yield Raises(Call(family.ref, "append", *arguments), error, f"append: {what}")
        yield from family.look(f"the refused append: {what}")
    if what in ("a sequence that never was", "sequence -1"):
        for method in ("fork", "gather", "release"):
            yield Raises(Call(family.ref, method, bad[0][0]), error, f"{method}: {what}")


def _blocks_of(row: Row, count: int) -> int:
    """Return how many blocks a row needs at most: for each of three sequences its own."""
    first = {"none": 0, "a block": row["block"], "a block and one": row["block"] + 1}
    tokens = first.get(row["first"], 3 * row["block"] - 1) + count
    return 3 * (-(-tokens // row["block"]) + 2)


@case("fork", "combinations", public=3, hidden=6, factors=FORKS)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: who forked and who is gone, sizes around blocks, a refusal, dtypes.

    With exactly enough room, nothing is free after the append. Then everybody goes on, as far as
    there is room, and one ends.
    """
    size = row["block"]
    shape = size, row["heads"], row["dim"]
    given = {} if row["dtype"] == DEFAULT else {"dtype": row["dtype"]}
    if _refused(row) == "a cache of no block":
        for place in range(4):
            bad = [8, *shape]
            bad[place] = 0
            yield Raises(New("ForkingCache", *bad, **given), "ValueError", f"sizes {bad}")
    border = {"one": 1, "none": 0, "two blocks": 2 * size}
    total = _total(row, border)
    ref = yield New("ForkingCache", total, *shape, **given)
    family = _Family(ref=ref, model=ForkModel(total, size), row=row)
    who = yield from _begin(draw, family)
    count = border.get(row["appended"], -len(family.model.sequences[who]) % size)
    yield from _refuse(draw, family, who, count)
    yield from family.append(draw, who, count)
    yield from family.look(f"append({who}, {count} tokens)")
    for sequence in family.model.sequences:
        if family.model.fits(sequence, 1):
            yield from family.append(draw, sequence, 1)
    yield from family.look("one token more for each")
    yield from family.gather(who)
    yield from family.release(who)
    yield from family.look(f"release({who})")
    yield from family.gather(*family.model.sequences)


def _total(row: Row, border: dict[str, int]) -> int:
    """Return the blocks of the pool: plenty, or as many as are in use behind the append."""
    size = row["block"]
    plenty = _blocks_of(row, 2 * size)
    if row["room"] == "plenty":
        return plenty
    model = ForkModel(plenty, size)
    first = {"none": 0, "a block": size, "a block and one": size + 1}
    model.append(model.create(), [0] * first.get(row["first"], 3 * size - 1))
    kind = row["family"]
    for parent in {"forked twice": [0, 0], "fork of a fork": [0, 1]}.get(kind, [0]):
        model.fork(parent)
    if kind.endswith("released"):
        model.release(0 if kind == "beginning released" else 1)
    who = (max if row["who appends"] == "the newest" else min)(model.sequences)
    model.append(who, [0] * border.get(row["appended"], -len(model.sequences[who]) % size))
    return max(1, plenty - model.n_free)

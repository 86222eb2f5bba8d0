"""Cases of `PrefixCache`: random prompts against a model, one kind of trouble per check.

Takes: `Draw`. Gives: case makers. Does not cover: speed.

Unless a check is about it, the same tokens never stand behind different ones, no prompt that could
be found as a whole is a multiple of the block size, and hashes do not collide.
"""

from dataclasses import dataclass, field, replace
from functools import partial

from grader.author import (
    Call,
    CaseSteps,
    Draw,
    Excluded,
    Expect,
    Factors,
    New,
    Operation,
    PlaySteps,
    Raises,
    Ref,
    Row,
    Sequence,
    case,
    sequence_case,
)

from .models import PrefixModel
from .oracle import table_hash
from .playing import ask, draw_operations, kind_of, look

MODULUS = (1 << 61) - 1
"""Of a hash that does not collide."""


@dataclass(slots=True)
class _Round:
    """One sequence on its way."""

    ref: Ref
    model: PrefixModel
    exact: bool
    tables: list[list[int]] = field(default_factory=list)

    def prompt(self, name: str, family: int, length: int, branch: int) -> list[int]:
        """Return the tokens of a prompt: number and position, the same for a family's beginning.

        Behind a block of its own for each family, "alike" prompts repeat one token.
        """
        size = self.model.size
        count = length + 1
        if count % size == 0 and not self.exact:
            count += 1
        if name == "prompt short":  # one full block and a rest
            count = size + 1 + length % (size - 1)
        if name == "prompt of sevens":
            return [7] * (size * (length % 4) + 1)
        if name == "prompt alike":
            return [family % 3] * size + [7] * (size * (length % 4) + 1)
        cut = branch % 4 * size  # from here on the branch tells prompts of a family apart
        return [
            100 * (family % 2 + 1) + place + (1000 * (branch + 1) if place >= cut else 0)
            for place in range(count)
        ]


def _play(sequence: Sequence, *, modulus: int = MODULUS, exact: bool = False) -> PlaySteps:
    n_blocks, size = max(1, sequence.settings[0]), max(2, sequence.settings[1])
    hashing = yield New("harness:TableHash", modulus)
    yield f"PrefixCache({n_blocks}, {size}, TableHash({modulus}))"
    ref = yield New("PrefixCache", n_blocks, size, hashing)
    model = PrefixModel(n_blocks, size, partial(table_hash, modulus=modulus))
    game = _Round(ref=ref, model=model, exact=exact)
    for operation in sequence.operations:
        yield from _operate(game, operation)
    yield from look(ref, "n_free", model.n_free)


def _operate(game: _Round, operation: Operation) -> PlaySteps:
    model, tables, name = game.model, game.tables, operation.name
    which, length, branch = operation.numbers
    if name.startswith("prompt"):
        tokens = game.prompt(name, which, length, branch)
        if not model.fits(tokens):
            if name != "prompt any":
                return
        else:
            blocks, _ = _peek(model, tokens)
            tables.append(blocks)
        fits = model.fits(tokens)
        yield from ask(game.ref, model.allocate, "allocate", tokens)
        if not fits:
            yield from look(game.ref, "n_free", model.n_free)
    elif name == "release nothing there":
        bad = [*(tables[which % len(tables)] if tables else []), len(model.blocks.holders) + length]
        yield from ask(game.ref, model.release, "release", bad)
    elif name == "release twice" and tables:
        mine = tables[which % len(tables)]
        bad = [block for block in mine for _ in range(model.blocks.holders[block])]
        yield from ask(game.ref, model.release, "release", [*bad, mine[-1]])
    elif name == "release" and tables:
        yield from ask(game.ref, model.release, "release", tables.pop(which % len(tables)))


def _peek(model: PrefixModel, tokens: list[int]) -> tuple[list[int], int]:
    """Return what `allocate` will return, and leave the model as it is."""
    twin = PrefixModel(1, model.size, model.hash_fn)
    twin.entries = list(model.entries)
    twin.blocks.holders, twin.blocks.queue = list(model.blocks.holders), list(model.blocks.queue)
    return twin.allocate(tokens)


def _draw(draw: Draw, count: int, settings: tuple[int, int], **weights: int) -> Sequence:
    named = {name.replace("_", " "): weight for name, weight in weights.items()}
    return replace(draw_operations(draw, named, count, 3), settings=settings)


@sequence_case("PrefixCache", "shared_prefix", play=partial(_play, exact=True), hidden=8)
def shared_prefix(draw: Draw) -> Sequence:
    """Prompts share their beginning; of one that is known as a whole the last block is new."""
    return _draw(draw, draw.integer(8, 14), (60, draw.integer(2, 4)), prompt=1)


@sequence_case("PrefixCache", "parents", play=_play)
def parents(draw: Draw) -> Sequence:
    """The same tokens behind different ones are different blocks."""
    return _draw(draw, draw.integer(5, 9), (60, draw.integer(2, 4)), prompt_alike=1)


@sequence_case("PrefixCache", "beginnings", play=partial(_play, modulus=1), hidden=4)
def beginnings(draw: Draw) -> Sequence:
    """Blocks with the same hash and the same tokens stand behind different ones."""
    return _draw(draw, draw.integer(5, 9), (60, draw.integer(2, 4)), prompt_of_sevens=1)


@sequence_case("PrefixCache", "collisions", play=partial(_play, modulus=3))
def collisions(draw: Draw) -> Sequence:
    """Different blocks have the same hash: tokens decide, and the newer one replaces the older."""
    return _draw(draw, draw.integer(12, 18), (60, draw.integer(2, 4)), prompt_short=1)


@sequence_case("PrefixCache", "eviction", play=_play, hidden=8)
def eviction(draw: Draw) -> Sequence:
    """Blocks become free, are found again, or are given out for something else."""
    settings = (draw.integer(6, 9), draw.integer(2, 3))
    return _draw(draw, draw.integer(25, 35), settings, prompt=3, release=2)


@sequence_case("PrefixCache", "out_of_blocks", play=_play, hidden=14)
def out_of_blocks(draw: Draw) -> Sequence:
    """A prompt for which there are too few blocks is refused, and nothing has changed."""
    settings = (draw.integer(4, 9), draw.integer(2, 3))
    return _draw(draw, draw.integer(8, 12), settings, prompt_any=1)


@sequence_case("PrefixCache", "misuse", play=_play)
def misuse(draw: Draw) -> Sequence:
    """Blocks that are not held often enough, or do not exist, are not released."""
    weights = {"prompt": 2, "release_twice": 2, "release_nothing_there": 1}
    return _draw(draw, draw.integer(8, 14), (60, draw.integer(2, 3)), **weights)


STEPS = 11
"""Operations in a row."""
POOLS = {"tight": 7, "plenty": 30, "one block": 1}
FEW_HASHES = 5
"""So few that they collide; blocks at other depths get other ones if the first parent is not 0."""
LENGTHS = ("any", "whole blocks", "whole blocks and one token")
REFUSED = {
    "nothing": ("nothing",),
    "a block too many": ("a block too many",),
    "a release": ("a block released too often", "a free block", "no block"),
    "nothing to hold": ("an empty prompt", "a cache of no block"),
}
"""Kinds of each level; the length of prompts says which one a row asks."""

PREFIXES = Factors(
    "PrefixCache",
    {
        "block size": (2, 1, 3),
        "pool": tuple(POOLS),
        "hashes": ("all different", "few", "one"),
        "prompts": ("families", "one token repeated", "alike behind another beginning"),
        "length": LENGTHS,
        "known prompts": ("come again", "differ"),
        "released": ("the newest", "the oldest", "any"),
        "held": ("few prompts", "many prompts"),
        "refused": tuple(REFUSED),
    },
    excluded=(
        Excluded(
            "an end that tells a prompt from its whole blocks needs blocks of several tokens",
            lambda row: row["block size"] == 1 and row["length"] == "any",
        ),
        Excluded(
            "who gives out a block and enters nothing needs blocks of several tokens",
            lambda row: (
                row["block size"] == 1 and row["pool"] == "tight" and row["hashes"] == "one"
            ),
        ),
    ),
)


@dataclass(slots=True)
class _Traffic:
    """A cache in the sandbox, its model, and the prompts that hold blocks."""

    ref: Ref
    hashing: Ref
    model: PrefixModel
    tables: list[list[int]] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)
    most_calls: int = 0

    def allocate(self, tokens: list[int]) -> CaseSteps:
        """Ask for the blocks of a prompt, which the model has or refuses."""
        step, text = Call(self.ref, "allocate", tokens), f"allocate({tokens})"
        if self.model.fits(tokens):
            got = yield step
            want = self.model.allocate(tokens)
            yield Expect(got, want, label=text)
            self.tables.append(want[0])
            self.prompts.append(tokens)
        else:
            yield Raises(step, "RuntimeError", text)
        self.most_calls += len(tokens) // self.model.size

    def look(self, when: str) -> CaseSteps:
        """Compare how many blocks are free."""
        got = yield Call(self.ref, "n_free")
        yield Expect(got, self.model.n_free, label=f"n_free {when}")

    def look_at_the_end(self) -> CaseSteps:
        """Compare how many blocks are free, and how often `hash_fn` was called."""
        yield from self.look("at the end")
        calls = yield Call(self.hashing, "calls")
        beyond = max(0, calls - self.most_calls)
        yield Expect(beyond, 0, label="calls of hash_fn beyond one per full block")

    def release(self, which: int) -> CaseSteps:
        """Release the blocks of a prompt."""
        blocks = self.tables.pop(which)
        got = yield Call(self.ref, "release", blocks)
        yield Expect(got, self.model.release(blocks), label=f"release({blocks})")

    def refuse(self, draw: Draw, what: str) -> CaseSteps:
        """Ask for what must be refused; of blocks, behind good ones."""
        if what == "an empty prompt":
            yield Raises(Call(self.ref, "allocate", []), "ValueError", "allocate([])")
        elif what == "a block too many":
            yield from self._refuse_a_block_too_many(draw)
        else:
            blocks, held = self.model.blocks, self.tables[-1] if self.tables else []
            often = [block for block in held for _ in range(blocks.holders[block])]
            bad = {
                "a block released too often": (often or [0])[:1],
                "a free block": blocks.queue[-1:],
                "no block": [len(blocks.holders), -1],
            }[what]
            for block in bad:
                yield Raises(Call(self.ref, "release", [block, *often]), "ValueError", what)
        yield from self.look(f"after a refusal: {what}")

    def _refuse_a_block_too_many(self, draw: Draw) -> CaseSteps:
        """Make a known prompt longer until it does not fit; without its last token it does.

        Of the known ones, take one with the most free blocks that it hits.
        """
        tokens = list(max(self.prompts, key=self.model.idle_hits, default=[5]))
        while self.model.fits(tokens):
            tokens.append(2000 + len(tokens))
        yield from self.allocate(tokens)
        if len(tokens) > 1 and draw.integer(0, 1):
            yield from self.allocate(tokens[:-1])

    def give_out_a_replaced_block(self) -> CaseSteps:
        """Replace an entry, give its block out, and ask for the new entry again."""
        while self.tables:
            yield from self.release(-1)
        first, second = ([token] * self.model.size + [1] for token in (8000, 9000))
        yield from self.allocate(first)
        yield from self.allocate(second)
        yield from self.release(0)
        for number in range(self.model.n_free - 1):
            yield from self.allocate([3000 + number])  # of one token, so that nothing is entered
        yield from self.allocate(second)
        yield Raises(Call(self.ref, "release", [-1]), "ValueError", "block -1, while all are held")


def _new_prompt(draw: Draw, row: Row) -> list[int]:
    """Return the tokens of a prompt; of few kinds, so that it often begins like another."""
    size, kind = row["block size"], row["prompts"]
    rest = {"any": draw.integer(0, size - 1), "whole blocks": 0, "whole blocks and one token": 1}
    count = draw.integer(1, 4) * size + rest[row["length"]]
    family, branch = draw.integer(0, 2), draw.integer(0, 3)
    if kind == "one token repeated":
        return [7] * count
    if kind == "alike behind another beginning":
        return [family] * size + [7] * (count - size)
    cut = branch * size
    return [100 * family + place + (1000 * branch if place >= cut else 0) for place in range(count)]


@case("PrefixCache", "combinations", public=3, hidden=6, factors=PREFIXES)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: collisions and blocks given out again, refusals, whole prompts known.

    A prompt is released as a whole. `hash_fn` counts its calls.
    """
    modulus = {"all different": MODULUS, "few": FEW_HASHES, "one": 1}[row["hashes"]]
    size, total = row["block size"], POOLS[row["pool"]]
    hashing = yield New("harness:TableHash", modulus)
    refused = kind_of(REFUSED[row["refused"]], row["length"], LENGTHS)
    if refused == "a cache of no block":
        for sizes in ((0, size), (total, 0)):
            yield Raises(New("PrefixCache", *sizes, hashing), "ValueError", f"sizes {sizes}")
    ref = yield New("PrefixCache", total, size, hashing)
    model = PrefixModel(total, size, partial(table_hash, modulus=modulus))
    game = _Traffic(ref=ref, hashing=hashing, model=model)
    most = 2 if row["held"] == "few prompts" else 6
    released, known = row["released"], row["known prompts"]
    for step in range(STEPS):
        again = known == "come again" and game.prompts and draw.integer(0, 2) == 0
        tokens = draw.choice(game.prompts) if again else _new_prompt(draw, row)
        if step % 4 == 3 and refused not in ("nothing", "a cache of no block"):
            yield from game.refuse(draw, refused)
        while game.tables and (len(game.tables) > most or not model.fits(tokens)):
            which = {"the newest": -1, "the oldest": 0}
            last = len(game.tables) - 1
            yield from game.release(which.get(released, draw.integer(0, last)))
        yield from game.allocate(tokens)
        if step % 3 == 0:
            yield from game.look(f"after allocate({tokens})")
    if row["pool"] == "tight" and row["hashes"] != "all different" and size > 1:
        yield from game.give_out_a_replaced_block()
    yield from game.look_at_the_end()

"""Cases of `PrefixCache`: random prompts against a model, one kind of trouble per check.

Takes: `Draw`. Gives: case makers. Does not cover: speed.

Unless a check is about it, the same tokens never stand behind different ones, no prompt that could
be found as a whole is a multiple of the block size, and hashes do not collide.
"""

from dataclasses import dataclass, field, replace
from functools import partial

from grader.author import Draw, New, Operation, PlaySteps, Ref, Sequence, sequence_case

from .models import PrefixModel
from .oracle import table_hash
from .playing import ask, draw_operations, look

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


@sequence_case("PrefixCache", "shared_prefix", play=partial(_play, exact=True), hidden=12)
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

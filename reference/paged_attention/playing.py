"""What the players of operation sequences share: draw operations, ask, compare with a model.

Takes: `Draw`; an object in the sandbox and its model. Gives: sequences, steps, kinds of refusals.
Does not cover: what the operations mean (see the cases of each problem).
"""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf

from grader.author import (
    Call,
    Draw,
    Expect,
    New,
    Operation,
    PlaySteps,
    Raises,
    Ref,
    Sequence,
    Value,
)

LARGEST = 9
"""Numbers of operations lie in 0 … LARGEST; a player takes them modulo what there is."""


def draw_operations(draw: Draw, weights: Mapping[str, int], count: int, numbers: int) -> Sequence:
    """Return `count` operations, each with as many numbers as said, and no settings.

    Args:
        draw: the case's inputs.
        weights: how often each name comes, relative to the others.
        count: of operations.
        numbers: per operation.
    """
    names = [name for name, weight in weights.items() for _ in range(weight)]
    return Sequence(
        settings=(),
        operations=tuple(
            Operation(
                name=draw.choice(names),
                numbers=tuple(draw.integer(0, LARGEST) for _ in range(numbers)),
            )
            for _ in range(count)
        ),
    )


def kind_of(kinds: SequenceOf[str], level: object, levels: SequenceOf[object]) -> str:
    """Return which of several kinds a row takes: each level of another factor brings the next.

    One level of a factor then stands for several kinds. It meets every level of the other factor,
    so that each kind is asked under any seed.
    """
    return kinds[levels.index(level) % len(kinds)]


def say(method: str, *args: Value) -> str:
    """Return a call as a student would write it."""
    return f"{method}({', '.join(map(repr, args))})"


def make(name: str, *args: Value, **kwargs: Value) -> PlaySteps:
    """Make an object and say so; the result is its `Ref`."""
    named = [*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())]
    yield f"{name}({', '.join(named)})"
    return (yield New(name, *args, **kwargs))


def ask(ref: Ref, model: Callable[..., Value], method: str, *args: Value) -> PlaySteps:
    """Call a method and compare what it returns or raises with what the model does."""
    text = say(method, *args)
    yield text
    try:
        want = model(*args)
    except (ValueError, RuntimeError) as error:
        yield Raises(Call(ref, method, *args), type(error).__name__, text)
    else:
        got = yield Call(ref, method, *args)
        yield Expect(got, want, label=text)


def look(ref: Ref, name: str, want: Value, *args: Value) -> PlaySteps:
    """Read something without its being an operation, and compare."""
    got = yield Call(ref, name, *args)
    yield Expect(got, want, label=say(name, *args) if args else name)

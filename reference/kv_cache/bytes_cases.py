"""Cases of `kv_bytes`.

Takes: `Draw`. Gives: case makers. Does not cover: memory in truth, which a later check measures.

Large numbers stay below 2**62, so that a result in NumPy's int64 is a right one. A double holds 53
bits: odd factors, and numbers beside a multiple, show who computes in floats all the same.
"""

from typing import Any

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, New, Raises, Row, case

from .oracle import cache_bytes

HALF = (torch.float16, torch.bfloat16)
MANY = 10**6 + 7

BYTES = Factors(
    "kv_bytes",
    {
        "dtype": (torch.float16, torch.bfloat16, torch.float32, torch.int8),
        "heads": (2, 1, 5),
        "group": (1, 4, 7),
        "dim": (64, 1, 65),
        "window layers": ("none", "one", "all"),
        "window": (64, 1, 0, 300),
        "sinks": (0, 4),
        "length": ("1", "0", "one less than kept", "as many as kept", "one more", "many"),
        "sequences": (1, 0, 7, MANY),
    },
    excluded=(
        Excluded(
            "window layers need a window",
            lambda row: row["window"] == 0 and row["window layers"] != "none",
        ),
    ),
)
"""Kept: sinks and window. Budgets: what the sequences take, a byte less and a byte more."""


def _config(draw: Draw, *, group: int) -> dict[str, int]:
    kv_heads = draw.choice((1, 2, 8, 5))
    return {
        "n_layers": draw.integer(1, 80),
        "n_query_heads": kv_heads * group,
        "n_kv_heads": kv_heads,
        "head_dim": draw.choice((64, 80, 128)),
    }


def _expect_bytes(
    config: dict[str, Any], dtype: torch.dtype, batch_size: int, length: int
) -> CaseSteps:
    ref = yield New("harness:CacheConfig", **config, dtype=dtype)
    got = yield Call("kv_bytes", ref, batch_size=batch_size, length=length)
    want = cache_bytes(config, dtype.itemsize, batch_size, length)
    label = f"bytes of {batch_size} sequences of {length} tokens, {dtype}"
    yield Expect(got, want, label=label)


@case("kv_bytes", "full_layers", public=1, hidden=3)
def full_layers(draw: Draw) -> CaseSteps:
    """As many key/value heads as query heads, fewer, and one; 2 and 4 bytes; huge numbers."""
    for group in (1, 4, 8):
        config = _config(draw, group=group)
        dtype = draw.choice(HALF)
        yield from _expect_bytes(config, dtype, draw.integer(1, 9), draw.integer(1, 9999))
    config = _config(draw, group=2)
    yield from _expect_bytes(config, torch.float32, draw.integer(1, 9), draw.integer(1, 9999))
    odd = {
        "n_layers": 2 * draw.integer(1, 40) - 1,
        "n_query_heads": 10,
        "n_kv_heads": 5,
        "head_dim": draw.choice((65, 81, 129)),
    }
    length = 2**60 // cache_bytes(odd, 2, MANY, 1) - draw.integer(0, 999)
    yield from _expect_bytes(odd, torch.float16, MANY, length | 1)
    yield from _expect_bytes(config, torch.float16, 3, 0)


@case("kv_bytes", "window_layers", public=1, hidden=3)
def window_layers(draw: Draw) -> CaseSteps:
    """Some layers keep sinks and a window: lengths below, at and above what they keep."""
    config = _config(draw, group=4 if draw.index % 2 else 1)
    config["n_layers"] = draw.integer(4, 40)
    config["n_window_layers"] = draw.integer(1, config["n_layers"] - 1)
    config["window"], config["n_sinks"] = draw.integer(64, 512), draw.integer(1, 8)
    kept = config["window"] + config["n_sinks"]
    for length in (draw.integer(1, 60), kept - 1, kept, kept + 1, 10 * kept):
        yield from _expect_bytes(config, draw.choice(HALF), draw.integer(1, 9), length)


@case("kv_bytes", "int8", hidden=3)
def int8(draw: Draw) -> CaseSteps:
    """One byte per number, and a float32 scale per vector."""
    for group in (1, 8):
        config = _config(draw, group=group)
        yield from _expect_bytes(config, torch.int8, draw.integer(1, 9), draw.integer(1, 9999))


@case("kv_bytes", "largest_batch", public=1, hidden=3)
def largest_batch(draw: Draw) -> CaseSteps:
    """How many sequences fit: none, exactly so many, one byte too few, and very many.

    Without and with window layers, in half precision and in INT8.
    """
    for dtype in (torch.float16, torch.int8):
        config = _config(draw, group=4 if draw.index % 2 else 1)
        windowed = dtype == torch.int8
        config["n_window_layers"] = (config["n_layers"] + 1) // 2 if windowed else 0
        config["window"], config["n_sinks"] = draw.integer(64, 512), draw.integer(1, 8)
        kept = config["window"] + config["n_sinks"] if windowed else 0
        length, fit = kept + draw.integer(1, 4096), draw.integer(2, 50)
        ref = yield New("harness:CacheConfig", **config, dtype=dtype)
        one = cache_bytes(config, dtype.itemsize, 1, length)
        exact = (0, one, fit * one)
        for budget in (*exact, one - 1, fit * one - 1, fit * one + 1, 2**59 // one * one - 1):
            got = yield Call("largest_batch", ref, length=length, budget_bytes=budget)
            yield Expect(got, budget // one, label=f"sequences in {budget} bytes, {one} bytes each")


@case("kv_bytes", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """Configurations and counts that make no sense raise ValueError."""
    good = {**_config(draw, group=2), "n_window_layers": 1, "window": 16, "n_sinks": 2}
    bad = [
        ("no layers", {"n_layers": 0, "n_window_layers": 0}),
        ("no query heads", {"n_query_heads": 0}),
        ("no key/value heads", {"n_kv_heads": 0}),
        ("no head dimension", {"head_dim": 0}),
        ("query heads that do not divide", {"n_query_heads": 9, "n_kv_heads": 2}),
        ("more window layers than layers", {"n_window_layers": good["n_layers"] + 1}),
        ("a negative number of window layers", {"n_window_layers": -1}),
        ("window layers without a window", {"window": 0}),
        ("a negative window", {"window": -1, "n_window_layers": 0}),
        ("a negative number of sinks", {"n_sinks": -1}),
    ]
    for what, change in draw.shuffled(bad):
        ref = yield New("harness:CacheConfig", **{**good, **change})
        yield Raises(Call("kv_bytes", ref, batch_size=1, length=9), "ValueError", what)
        budget = Call("largest_batch", ref, length=9, budget_bytes=10**9)
        yield Raises(budget, "ValueError", f"largest_batch: {what}")
    ref = yield New("harness:CacheConfig", **good)
    calls = [
        ("a negative length", Call("kv_bytes", ref, batch_size=1, length=-1)),
        ("a negative batch", Call("kv_bytes", ref, batch_size=-1, length=1)),
        (
            "largest_batch: a negative length",
            Call("largest_batch", ref, length=-1, budget_bytes=1),
        ),
        ("a negative budget", Call("largest_batch", ref, length=1, budget_bytes=-1)),
        ("sequences of length 0", Call("largest_batch", ref, length=0, budget_bytes=1)),
    ]
    for what, step in draw.shuffled(calls):
        yield Raises(step, "ValueError", what)


@case("kv_bytes", "combinations", public=1, hidden=2, factors=BYTES)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, heads, layers with a window, lengths around what they keep."""
    layers = draw.integer(2, 40)
    config = {
        "n_layers": layers,
        "n_query_heads": row["heads"] * row["group"],
        "n_kv_heads": row["heads"],
        "head_dim": row["dim"],
        "n_window_layers": {"none": 0, "one": 1, "all": layers}[row["window layers"]],
        "window": row["window"],
        "n_sinks": row["sinks"],
    }
    dtype, kept, many = row["dtype"], row["window"] + row["sinks"], row["sequences"]
    lengths = {"0": 0, "one less than kept": kept - 1, "as many as kept": kept, "many": 9999}
    lengths |= {"1": 1, "one more": kept + 1}
    length = max(lengths[row["length"]], 0)
    yield from _expect_bytes(config, dtype, many, length)
    if length:
        ref = yield New("harness:CacheConfig", **config, dtype=dtype)
        one = cache_bytes(config, dtype.itemsize, 1, length)
        for budget in (many * one, max(many * one - 1, 0), many * one + 1):
            got = yield Call("largest_batch", ref, length=length, budget_bytes=budget)
            yield Expect(got, budget // one, label=f"sequences in {budget} bytes, {one} bytes each")

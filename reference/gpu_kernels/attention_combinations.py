"""Cases of `flash_attention` and its backward pass in which several things vary at once.

Takes: `Draw`, a row of factors. Gives: case makers. Does not cover: speed and memory; one thing at
a time (see `attention_cases`).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, Row, case

from .inputs import DTYPES, HALF, HEADS_LAYOUTS, SINGLE, first_part, heads_laid_out
from .oracle import flash_attention, flash_attention_backward

Tensor = torch.Tensor
Triple = tuple[Tensor, Tensor, Tensor]

MANY = 65
"""Keys or queries of which one head 16 wide is enough."""
OF_BOTH: Mapping[str, tuple[Any, ...]] = {
    "dtype": DTYPES,
    "causal": (False, True),
    "scale": ("left out", None, -0.2, 0.0),
    "B, H and G": ((1, 1, 1), (1, 2, 1), (2, 2, 2)),
    "width": (16, 1, 33),
    "q": HEADS_LAYOUTS,
    "k": HEADS_LAYOUTS,
    "v": HEADS_LAYOUTS,
}
ONE_HEAD = Excluded(
    "several tiles show what they show with one head 16 wide; more costs time",
    lambda row: (
        (row["keys"] >= MANY or row["queries"] >= MANY)
        and (row["B, H and G"] != (1, 1, 1) or row["width"] != 16)
    ),
)
NO_SCORES = Excluded(
    "a scale of 0 leaves nothing of scores, so strides of q and k do not show",
    lambda row: row["scale"] == 0.0 and (row["q"] != "contiguous" or row["k"] != "contiguous"),
)
ONE_HALF = Excluded(
    "a mean of one column may cancel: half precision leaves too few digits of it",
    lambda row: row["width"] == 1 and row["dtype"] != SINGLE,
)
FORWARD = Factors(
    "flash_attention",
    {
        "keys": (17, 1, 65, 300),
        "queries": (5, 1, 65),
        "scores": ("even", "rising", "falling", "step at the end"),
        **OF_BOTH,
    },
    excluded=(
        ONE_HEAD,
        ONE_HALF,
        NO_SCORES,
        Excluded(
            "300 keys show what they show with few queries in half precision; more costs time",
            lambda row: row["keys"] == 300 and (row["queries"] == 65 or row["dtype"] == SINGLE),
        ),
        Excluded(
            "a scale of 0 makes all scores 0",
            lambda row: row["scale"] == 0.0 and row["scores"] != "even",
        ),
        Excluded(
            "a score near 100 is rounded once per column: with many, no tolerance would be left",
            lambda row: row["scores"] == "step at the end" and row["width"] > 16,
        ),
    ),
)
BACKWARD = Factors(
    "flash_attention_backward",
    {
        "keys": (17, 3, 65),
        "queries": (5, 1, 65),
        **OF_BOTH,
        "do": HEADS_LAYOUTS,
        "output": HEADS_LAYOUTS,
        "log-sum-exp": ("contiguous", "every other entry"),
    },
    excluded=(
        ONE_HEAD,
        ONE_HALF,
        NO_SCORES,
        Excluded(
            "several tiles show what they show in half precision; float32 costs more time",
            lambda row: max(row["keys"], row["queries"]) >= MANY and row["dtype"] == SINGLE,
        ),
        Excluded(
            "of few keys, or of one number, gradients may cancel: what is left of them is rounding",
            lambda row: row["keys"] == 3 and row["dtype"] != SINGLE,
        ),
        Excluded(
            "a gradient of one number may cancel",
            lambda row: row["width"] == 1 and row["queries"] == 1,
        ),
    ),
)
RISE = 12.0
"""From the first to the last score of a row: each tile of keys has a larger maximum than those
before it, so that what they left must be scaled by less than a half."""
STEP = 95.0
"""By how much the last eighth of the scores lies above the rest: exp(89) overflows float32."""


def _offsets(keys: int, scores: str) -> Tensor:
    """Return what is added to each score of a row."""
    match scores:
        case "rising":
            return torch.linspace(0, RISE, keys)
        case "falling":
            return torch.linspace(RISE, 0, keys)
        case "step at the end":
            return torch.where(torch.arange(keys) >= keys - max(4, keys // 8), STEP, 0.0)
    return torch.zeros(keys)


def _qkv(draw: Draw, row: Row, scale: float, scores: str = "even") -> Triple:
    """Return q, k and v with shapes and layouts as the row wants them, and with such scores."""
    (rows, heads, groups), width = row["B, H and G"], row["width"]
    q = draw.normal_tensor(rows, heads, row["queries"], width)
    k, v = (draw.normal_tensor(rows, groups, row["keys"], width) for _ in range(2))
    if width == 1:
        v = v.abs() + 0.5  # a mean of one column must not be near 0
    if scores != "even":  # the first column of q is 2: that of k adds an offset to scores
        q[..., 0], k[..., 0] = 2.0, _offsets(row["keys"], scores) / (2 * scale or 1)
    q, k, v = (x.to(row["dtype"]) for x in (q, k, v))
    return heads_laid_out(q, row["q"]), heads_laid_out(k, row["k"]), heads_laid_out(v, row["v"])


def _scale(row: Row) -> tuple[float, dict[str, float | None]]:
    """Return the scale, and the keyword that says so."""
    given = row["scale"]
    usual = 1 / math.sqrt(row["width"])
    if given == "left out":
        return usual, {}
    return (usual if given is None else given), {"scale": given}


def _keywords(row: Row, given: Mapping[str, float | None]) -> dict[str, object]:
    return {**given, **({"causal": True} if row["causal"] else {})}


@case("flash_attention", "combinations", public=1, hidden=3, factors=FORWARD)
def forward_combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, sizes around tiles, heads, strides of each argument, the mask.

    Up to 300 keys and 65 queries; scores that rise or fall along the row, or whose last eighth
    lies 95 above the rest; a scale that is left out, None, negative or 0.
    """
    scale, given = _scale(row)
    qkv = _qkv(draw, row, scale, row["scores"])
    got = yield Call("flash_attention", *qkv, **_keywords(row, given))
    want = lambda: flash_attention(*qkv, scale, row["causal"])  # noqa: E731 - called after the reply
    yield Expect(got, want, label="output and log-sum-exp")


@case("flash_attention_backward", "combinations", public=1, hidden=3, factors=BACKWARD)
def backward_combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, sizes around tiles, heads, strides of each argument, the mask.

    Up to 65 keys and 65 queries; a scale that is left out, None, negative or 0.
    """
    scale, given = _scale(row)
    qkv = _qkv(draw, row, scale)
    causal = row["causal"]
    out, lse = flash_attention(*qkv, scale, causal)
    out = heads_laid_out(out, row["output"])
    if row["log-sum-exp"] == "every other entry":
        lse = lse.repeat_interleave(2, dim=-1)[..., ::2]
    do = draw.normal_tensor(*out.shape).to(row["dtype"])
    do = heads_laid_out(do, row["do"])
    got = yield Call("flash_attention_backward", do, qkv, (out, lse), **_keywords(row, given))
    want = lambda: flash_attention_backward(do, qkv, scale, causal)  # noqa: E731 - as above
    yield Expect(got, want, label="dq, dk and dv")


@case("flash_attention", "accumulation", public=1, hidden=1)
def accumulation(draw: Draw) -> CaseSteps:
    """Float16 queries of 0 over 256 keys: the output is a mean, added in float32, rounded once."""
    q = torch.zeros(1, 1, draw.integer(2, 5), 16, dtype=HALF)
    k = draw.normal_tensor(1, 1, 256, 16, dtype=HALF)
    v = (draw.integer_tensor(1, 1, 256, 16, low=1024, high=2047) / 1024).to(HALF)
    got = yield Call("flash_attention", q, k, v)
    want = v.double().mean(dim=2, keepdim=True).expand(q.shape)
    yield Expect(first_part(got), want, label="output", rounded_once=HALF)


@case("flash_attention_backward", "accumulation", public=1, hidden=1)
def backward_accumulation(draw: Draw) -> CaseSteps:
    """Float16 queries of 0 over 128 keys: a sum of as many products, added in float32.

    Probabilities are 1/128, and their gradients have few bits, so that rounding either changes
    nothing.
    """
    q = torch.zeros(1, 1, draw.integer(5, 9), 16, dtype=HALF)
    k = draw.uniform_tensor(1, 1, 128, 16, low=1, high=2).to(HALF)
    half = 2 * draw.integer_tensor(1, 1, 64, 16, low=0, high=1) - 1
    v = torch.cat([half, -half], dim=2).to(HALF)  # their mean is 0
    do = draw.integer_tensor(*q.shape, low=-2, high=2).to(HALF)
    forward = flash_attention(q, k, v, None, False)
    got = yield Call("flash_attention_backward", do, (q, k, v), forward)
    want = lambda: flash_attention_backward(do, (q, k, v), None, False)  # noqa: E731 - as above
    yield Expect(got, want, label="dq, dk and dv")

"""Pages as a row of factors wants them: what `paged_decode`, its split and prefill vary alike.

Takes: `Draw`, a `Row`. Gives: levels, exclusions, pools. Does not cover: expected values.
"""

import math
from dataclasses import dataclass

import torch

from grader.author import Draw, Excluded, Row

from .inputs import COARSE_SCORE, OUT_OF_RANGE, Pages

Tensor = torch.Tensor

DTYPES = (torch.float32, torch.float16)
LAYOUTS = ("contiguous", "heads before tokens", "every other column")
MANY_KEYS = 257
"""Several blocks of 16, 64 or 128, and one more; "keys" 64 is a block and no more."""
SOME = 20
"""Most tokens of a sequence beside those of which the row says how many they are."""

FAR_SCORES = ("far from 0", "far from 0, then near 0")
"""exp overflows: of a score itself, or of what it falls by from one tile to another."""
FAR_SCORE = 95.0
"""exp(95) overflows float32, softmax does not feel it; float16 takes `COARSE_SCORE`."""
RISE = 12.0
"""From the first to the last score of a row, in units of softmax: each tile of keys has a larger
maximum than those before it, so that what they left must be scaled by less than a half."""

LEVELS = {
    "dtype": DTYPES,
    "page": (16, 1, 7, 64),
    "group": (1, 3, 8),
    "heads": (1, 2),
    "dim": (16, 1, 33),
    "where no token lies": ("NaN and inf", "large numbers"),
    "end of the table": ("pages that do not exist", "negative", "pages of others", "none"),
    "scale": ("left out", None, -0.2, 0.0),
    "scores": ("even", "rising", *FAR_SCORES),
    "k": LAYOUTS,
    "v": LAYOUTS,
    "view of the table": ("contiguous", "every other entry", "transposed"),
    "view of lengths": ("contiguous", "every other entry"),
}
"""Factors that all three problems have; usual blocks have 16 to 128 keys."""

FAR_OF_MANY_COLUMNS = Excluded(
    "a score near 100 is rounded once per column: with many, no tolerance would be left",
    lambda row: row["scores"] in FAR_SCORES and row["dim"] > 16,
)


NO_FALL = Excluded(
    "a scale of 0 leaves no score to fall from",
    lambda row: row["scores"] == FAR_SCORES[1] and row["scale"] == 0.0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What queries and keys have in common, so that their scores are as a row wants them.

    Attributes:
        columns: numbers in the first columns of every query; one or two of them.
        steps: of a key's number in such a column, that its score be larger by one.
        kind: level of the factor "scores".
        far: added where they are far from 0.
        least: added to all scores, so that their log-sum-exp is not nearly 0.
    """

    columns: tuple[float, ...]
    steps: tuple[float, ...]
    kind: str
    far: float
    least: float

    def lift(self, k_SHD: Tensor) -> Tensor:
        """Return keys whose scores are higher by what the kind says of their places."""
        count = k_SHD.shape[0]
        offsets = {
            "even": torch.zeros(count),
            "rising": torch.linspace(0, RISE, count),
            "far from 0": torch.full((count,), self.far),
            "far from 0, then near 0": self.far * (torch.arange(count) <= count // 2),
        }[self.kind]
        lifted = k_SHD.clone()
        for column, step in enumerate(self.steps):
            mine = torch.arange(count) % len(self.steps) == column
            lifted[..., column] = torch.where(mine, (offsets + self.least) * step, 0.0)[:, None]
        return lifted

    def mark(self, q: Tensor) -> Tensor:
        """Return queries [.., D] with the numbers of the first columns."""
        marked = q.clone()
        for column, number in enumerate(self.columns):
            marked[..., column] = number
        return marked


def scores_of(draw: Draw, row: Row, *, least: float = 0.0) -> Scores | None:
    """Return what makes the scores of a row; None if they are drawn and no more.

    Far from 0, keys get their scores from two columns in turn: who rounds a query once it is
    scaled moves them apart.
    """
    if row["scores"] == "even" and not least:
        return None
    size = 2 if row["scores"] in FAR_SCORES and row["dim"] > 1 else 1
    columns = tuple(draw.integer(192, 320) / 128 for _ in range(size))
    factor = factor_of(row) or 1.0
    # A negative scale turns rising into falling; `least` must lift nevertheless, and a fall stay.
    turned = least or row["scores"] == FAR_SCORES[1]
    sign = math.copysign(1.0, factor) if turned else 1.0
    return Scores(
        columns=columns,
        steps=tuple(sign / (number * abs(factor)) for number in columns),
        kind=row["scores"],
        far=FAR_SCORE if row["dtype"] == torch.float32 else COARSE_SCORE,
        least=least,
    )


def factor_of(row: Row) -> float:
    """Return the factor of scores that a row's scale means."""
    given = row["scale"]
    usual: float = 1 / math.sqrt(row["dim"])
    return usual if given in ("left out", None) else float(given)


def keywords_of(row: Row) -> dict[str, float | None]:
    """Return the keyword `scale` as a row gives it."""
    return {} if row["scale"] == "left out" else {"scale": row["scale"]}


def laid_out(x: Tensor, layout: str) -> Tensor:
    """Return [.., tokens, heads, D] with the same entries, in another order in memory."""
    match layout:
        case "heads before tokens":
            return x.transpose(-3, -2).contiguous().transpose(-3, -2)
        case "every other column":
            return x.repeat_interleave(2, dim=-1)[..., ::2]
    return x


def viewed(x: Tensor, view: str) -> Tensor:
    """Return a table, or numbers of one dimension, with other strides."""
    match view:
        case "every other entry":
            return x.repeat_interleave(2, dim=-1)[..., ::2]
        case "transposed":
            return x.t().contiguous().t()
    return x


def pages_of(
    draw: Draw, row: Row, lengths: list[int], scores: Scores | None, *, values: float = 0.0
) -> Pages:
    """Return a pool whose pages lie mixed, one of them in use by nobody, as a row wants it.

    Args:
        draw: the case's inputs.
        row: levels of `LEVELS`.
        lengths: of the sequences.
        scores: of the keys.
        values: their mean; of one column it is not 0, or attention to many tokens nearly is.
    """
    values = values or float(row["dim"] == 1)
    size, shape = row["page"], (row["page"], row["heads"], row["dim"])
    used = [-(-length // size) for length in lengths]
    order = draw.shuffled(range(sum(used) + 1))
    tail = {
        "pages that do not exist": OUT_OF_RANGE,
        "negative": -1,
        "pages of others": order[0],
        "none": 0,
    }[row["end of the table"]]
    width = max(used, default=0) + (row["end of the table"] != "none")
    table = torch.full((len(lengths), max(width, 1)), tail, dtype=torch.int64)
    k, v = (_unused(row, (len(order), *shape)) for _ in range(2))
    for b, (length, count) in enumerate(zip(lengths, used, strict=True)):
        table[b, :count] = torch.tensor(order[:count], dtype=torch.int64)
        order = order[count:]
        places = torch.arange(length)
        at = table[b, places // size], places % size
        mine = draw.normal_tensor(length, *shape[1:])
        k[at] = (mine if scores is None else scores.lift(mine)).to(k.dtype)
        v[at] = (draw.normal_tensor(length, *shape[1:]) + values).to(v.dtype)
    return Pages(
        k=laid_out(k, row["k"]),
        v=laid_out(v, row["v"]),
        table=viewed(table, row["view of the table"]),
        lengths=viewed(torch.tensor(lengths, dtype=torch.int64), row["view of lengths"]),
    )


def _unused(row: Row, shape: tuple[int, ...]) -> Tensor:
    """Return pages in which no token lies yet."""
    pages = torch.full(shape, 1e4, dtype=row["dtype"])
    if row["where no token lies"] == "NaN and inf":
        pages[:], pages[:, ::3], pages[:, 1::3] = math.nan, math.inf, -math.inf
    return pages

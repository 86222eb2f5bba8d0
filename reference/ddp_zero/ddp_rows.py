"""The wide case of `DDP`: what was used where, in which passes, after what, in which layout.

Takes: `Draw`, rows of factors. Gives: a case maker. Does not cover: worlds, which a row does not
choose (an instance plays its rows in one).
"""

from typing import Any

import torch

from grader.author import Call, CaseSteps, Draw, Each, Excluded, Factors, New, Ref, Row, case

from .inputs import (
    ADAMW,
    LAYOUTS,
    backward,
    expect_gradients,
    float_batches,
    laid_out,
    new_sheet,
    world_of_rows,
)
from .oracle import OneProcess

COLUMNS = 5
SIZES = ((3, 5), (7, 2), (2, 2), (4, 3), (31, 7))
COUNT = len(SIZES)

DDP_ROWS = Factors(
    "DDP",
    {
        "through": ("buckets of 100 bytes", "average_gradients", "one bucket", "buckets of 1 byte"),
        "dtype": (torch.float32, torch.float64, torch.bfloat16, "32 and 64 bits"),
        "layout": LAYOUTS,
        "passes": ("one", "two, the first not synchronised", "two that synchronise"),
        "used": ("everything", "less on one rank", "one nowhere", "one in the first pass alone"),
        "before": ("nothing", "a step", "a pass that was cleared", "cleared to zeros"),
        "frozen": (False, True),
        "submodule": (False, True),
        "two names": (False, True),
    },
    excluded=(
        Excluded(
            "one pass is the first and the last",
            lambda row: row["passes"] == "one" and row["used"] == "one in the first pass alone",
        ),
        Excluded(
            "average_gradients keeps nothing between calls",
            lambda row: (
                row["through"] == "average_gradients"
                and row["before"] in ("a step", "a pass that was cleared")
            ),
        ),
        Excluded(
            "bfloat16 is rounded once more per pass and step; the tolerance holds for one pass",
            lambda row: (
                row["dtype"] == torch.bfloat16
                and (row["passes"] != "one" or row["before"] == "a step")
            ),
        ),
    ),
)


def _model(draw: Draw, row: Row) -> CaseSteps:
    """Start the sheet that a row describes; return its ref and the judge's own."""
    both = [torch.float32, torch.float64] * COUNT
    dtypes = both[:COUNT] if row["dtype"] == "32 and 64 bits" else [row["dtype"]] * COUNT
    values = [
        laid_out(draw.normal_tensor(*size, scale=0.5).to(dtype), row["layout"])
        for size, dtype in zip(draw.shuffled(SIZES), dtypes, strict=True)
    ]
    keywords: dict[str, Any] = {"frozen": [1]} if row["frozen"] else {}
    if row["two names"]:
        values.append(draw.normal_tensor(2))
        keywords["tied"] = [(0, COUNT)]
    if not row["submodule"]:
        return (yield from new_sheet(values, **keywords))
    inner = {"values": values, **keywords}
    return (yield from new_sheet([], inner=inner))


def _used(row: Row, world: int) -> tuple[list[Any], list[Any]]:
    """Return the options of each rank in the first pass and in the last one."""
    numbers = list(range(COUNT + row["two names"]))
    everything, without = [{"used": numbers}] * world, {"used": [n for n in numbers if n != 2]}
    match row["used"]:
        case "less on one rank":
            some = [without, *everything[1:]]
            return some, some
        case "one nowhere":
            return [without] * world, [without] * world
        case "one in the first pass alone":
            return everything, [without] * world
    return everything, everything


@case("DDP", "combinations", public=2, hidden=4, factors=DDP_ROWS)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: dtypes, layouts, passes, what was used where, what was before."""
    world = yield from world_of_rows(draw, (3, 2, 2, 1))
    model, own = yield from _model(draw, row)
    bytes_of: dict[Any, dict[str, int]] = {
        "buckets of 100 bytes": {"bucket_bytes": 100},
        "one bucket": {},  # the default
        "buckets of 1 byte": {"bucket_bytes": 1},
    }
    flat = row["through"] not in bytes_of
    engine: Ref | None = None
    if not flat:
        engine = yield Each(New("DDP", model, **bytes_of[row["through"]]))
    loop = yield Each(New("harness:Loop", model, engine=engine, adamw=ADAMW))
    single = OneProcess(own, adamw=ADAMW)
    first, last = _used(row, world)

    def one_pass(options: list[Any], *, sync: bool = True) -> CaseSteps:
        batches = float_batches(draw, world, COLUMNS)
        # Without an engine nothing synchronises before `average_gradients`.
        keywords = {} if sync or flat else {"sync": False}
        yield from backward(loop, single, batches, options, **keywords)
        if flat and sync:
            yield Each(Call("average_gradients", model))

    numbers = list(range(COUNT + row["two names"]))
    if row["before"] == "a step":
        yield from one_pass([{"used": numbers[1:]}] * world)
        yield Each(Call(loop, "update"))
        single.update()
    elif row["before"] != "nothing":
        zeros = row["before"] == "cleared to zeros"
        yield from one_pass([{"used": numbers}] * world, sync=zeros)
        yield Each(Call(loop, "forget", to_zeros=zeros))
        single.optimizer.zero_grad(set_to_none=not zeros)
    if row["passes"] != "one":
        yield from one_pass(first, sync=row["passes"] == "two that synchronise")
    yield from one_pass(last)
    yield from expect_gradients(loop, single, world, "after the last pass")

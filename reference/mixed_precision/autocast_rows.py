"""The wide check of `autocast_forward`: operations of one and two tensors, in all dtypes.

Takes: `Draw`. Gives: a case maker. Does not cover: convolutions, unknown names (see
`autocast_cases`).
"""

import torch

from grader.author import Call, CaseSteps, Draw, Excluded, Expect, Factors, New, Row, case

from .inputs import LAYOUTS, laid_out
from .oracle import HALVES, under_policy
from .tiny_gpt import OPERATIONS

Tensor = torch.Tensor

BINARY = ("add", "mul", "div", "maximum")
PAIRS = ("linear", "matmul", "mse_loss", "layer_norm")
ALONE = ("softmax", "sum", "mean", "relu", "transpose", "reshape")
FLOATS = (torch.float32, *HALVES, torch.float64)
NUMBERS = ("a Python number", "whole numbers")

OPERATION = Factors(
    "autocast_forward",
    {
        "operation": ("linear", "matmul", *BINARY, "mse_loss", "layer_norm", *ALONE),
        "first": FLOATS,
        "second": (*FLOATS, "none", *NUMBERS),
        "low": HALVES,
        "second given": ("by place", "by name"),
        "columns": (5, 1, 65, 300),
        "rows": (3, 1, 0),
        "second has": ("as many dimensions", "no dimension"),
        "view of first": LAYOUTS,
        "view of second": LAYOUTS,
        "call": ("the first one", "the second one, with other numbers"),
    },
    excluded=(
        Excluded(
            "an operation of one tensor has no second one",
            lambda row: (row["operation"] in ALONE) != (row["second"] == "none"),
        ),
        Excluded(
            "numbers that are no floats stand only in sums, products and the like",
            lambda row: row["second"] in NUMBERS and row["operation"] not in BINARY[:3],
        ),
        Excluded(
            "torch itself refuses these operations of float64 and another dtype",
            lambda row: (
                row["operation"] in ("linear", "matmul", "layer_norm", "mse_loss")
                and torch.float64 in (row["first"], row["second"])
                and row["first"] != row["second"]
            ),
        ),
        Excluded(
            "a tensor without dimensions only where shapes are spread to each other",
            lambda row: (
                row["second has"] == "no dimension"
                and (row["operation"] not in BINARY or row["second"] not in FLOATS)
            ),
        ),
        Excluded(
            "the gradient of a norm of one number is 0: all that is left of it is rounding",
            lambda row: row["columns"] == 1 and row["operation"] == "layer_norm",
        ),
        Excluded(
            "a mean of nothing is NaN",
            lambda row: row["rows"] == 0 and row["operation"] in ("mean", "mse_loss"),
        ),
        Excluded(
            "what is not there has no view, and no name",
            lambda row: (
                row["second"] in ("none", "a Python number")
                and (row["view of second"] != "contiguous" or row["second given"] != "by place")
            ),
        ),
    ),
)
_NAMES = {"linear": "weight", "layer_norm": "weight", "mse_loss": "target"}
_KEYWORDS = {
    "softmax": {"dim": -1},
    "transpose": {"dim0": 0, "dim1": 1},
    "reshape": {"shape": [-1]},
}


def _inputs(draw: Draw, row: Row) -> dict[str, object]:
    """Return the inputs by place or name, as `under_policy` takes them."""
    op, columns, rows = row["operation"], row["columns"], row["rows"]
    by_name = row["second given"] == "by name"
    x = laid_out(draw.normal_tensor(rows, columns, dtype=row["first"]), row["view of first"])
    inputs: dict[str, object] = {"0": x}
    if op == "layer_norm":
        inputs["normalized_shape"] = [columns]
    second = _second(draw, row)
    if row["second"] == "none":
        return inputs
    name = _NAMES.get(op, "other") if by_name else "1"
    if name == "1" and op == "layer_norm":
        inputs = {"0": x, "1": [columns]}
        name = "2"
    inputs[name] = second
    return inputs


def _second(draw: Draw, row: Row) -> object:
    """Return the second argument, if there is one, away from 0: it may be a divisor."""
    op, columns, rows = row["operation"], row["columns"], row["rows"]
    scalar, view = row["second has"] == "no dimension", row["view of second"]
    if row["second"] in ("none", "a Python number"):
        return draw.choice((0.5, 1.7, 3))
    shapes = {"linear": (4, columns), "matmul": (columns, 4), "layer_norm": (columns,)}
    shape = () if scalar else shapes.get(op, (rows, columns))
    if row["second"] == "whole numbers":
        return laid_out(draw.integer_tensor(*shape, low=1, high=9), view)
    y = draw.uniform_tensor(*shape, low=0.5, high=2.0, dtype=row["second"])
    return laid_out(y, view)


def _want(row: Row, inputs: dict[str, object], keywords: dict[str, object]) -> Tensor:
    """Return what the policy gives; next to float64 it is what the operation itself gives."""
    if torch.float64 not in (row["first"], row["second"]):
        return under_policy(row["operation"], inputs, row["low"], **keywords)
    by_place = [x for name, x in inputs.items() if name[0].isdigit()]
    by_name = {name: x for name, x in inputs.items() if not name[0].isdigit()}
    return OPERATIONS[row["operation"]](*by_place, **by_name, **keywords)


def _is_one_rounding(row: Row) -> bool:
    """Return whether the result is that of one rounding, whoever computes it."""
    product = row["operation"] in ("linear", "matmul") and row["columns"] == 1
    return (row["operation"] in BINARY or product) and row["second"] != "a Python number"


def _leaf(x: object) -> object:
    is_float = isinstance(x, Tensor) and x.is_floating_point()
    return x.detach().requires_grad_() if is_float else x


@case("autocast_forward", "combinations", public=4, hidden=6, factors=OPERATION)
def combinations(draw: Draw, row: Row) -> CaseSteps:
    """Two things at once: operations, dtypes of each tensor, strides, tensors without dimensions.

    The model is called once, with its inputs as they are; gradients arrive in their dtypes. Where a
    result is that of a single rounding it is compared bit for bit.
    """
    op = row["operation"]
    keywords = dict(_KEYWORDS.get(op, {}))
    count = 1 if row["call"] == "the first one" else 2
    drawn = [_inputs(draw, row) for _ in range(count)]
    names = ["" if name[0].isdigit() else name for name in drawn[0]]
    model = yield New("harness:Operation", op, names, **keywords)
    for inputs in drawn:
        got = yield Call("autocast_forward", model, *inputs.values(), low=row["low"])
    leaves = {name: _leaf(x) for name, x in inputs.items()}
    want = _want(row, leaves, keywords)
    yield Expect(got, want.detach(), label="result", exact=_is_one_rounding(row))
    arrived = yield Call(model, "arrived")
    kinds = [str(x.dtype) for x in inputs.values() if isinstance(x, Tensor)]
    yield Expect(arrived, kinds, label="dtypes in which the model got its inputs")
    calls = yield Call(model, "calls")
    yield Expect(calls, count, label="how often the model was called")
    if op == "transpose":
        view = yield Call(model, "output_is_view")
        yield Expect(view, True, label="whether the result has the memory of the input: no copy")
    floats = [x for x in leaves.values() if isinstance(x, Tensor) and x.requires_grad]
    upstream = draw.normal_tensor(*want.shape).to(torch.bfloat16).float()
    found = torch.autograd.grad(want, floats, upstream.to(want.dtype))
    got = yield Call(model, "gradient_dtypes", upstream)
    yield Expect(got, [str(g.dtype) for g in found], label="dtypes of gradients")
    got = yield Call(model, "rough_gradients", upstream)
    rough = [g.to(torch.bfloat16) for g in found]
    yield Expect(got, rough, label="gradients, as bfloat16")

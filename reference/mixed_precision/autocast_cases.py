"""Cases of `cast_policy` and `autocast_forward`.

Takes: `Draw`. Gives: case makers. Does not cover: memory of activations.

An `Operation` of the harness is a model of one operation: its reply shows dtype and value.
"""

from collections.abc import Sequence

import torch

from grader.author import Call, CaseSteps, Draw, Expect, New, Raises, case

from .oracle import HALVES, POLICY, policy_of, under_policy
from .tiny_gpt import OPERATIONS, Linear

Tensor = torch.Tensor
Inputs = dict[str, object]


def _strided(draw: Draw, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return normal numbers, every other one of a wider tensor."""
    *head, last = shape
    if last == 1:
        return draw.normal_tensor(*shape, dtype=dtype)
    return draw.normal_tensor(*head, 2 * last, dtype=dtype)[..., ::2]


def _new_operation(op: str, inputs: Inputs, **keywords: object) -> New:
    names = ["" if name[0].isdigit() else name for name in inputs]
    return New("harness:Operation", op, names, **keywords)


def _low_inputs(draw: Draw, op: str) -> Inputs:
    """Return float32 inputs of a low operation; one of them by name."""
    rows, width, out = draw.integer(1, 3), draw.choice((1, 5, 16, 33)), draw.integer(1, 7)
    match op:
        case "linear":
            x, weight = _strided(draw, rows, width), _strided(draw, out, width)
            return {"0": x, "weight": weight, "bias": draw.normal_tensor(out)}
        case "matmul":
            other = _strided(draw, rows, out, width).transpose(1, 2)
            return {"0": _strided(draw, rows, 3, width), "1": other}
        case "conv1d":
            return {"0": _strided(draw, rows, 2, 9), "weight": _strided(draw, out, 2, 3)}
    return {"0": _strided(draw, rows, 2, 5, 6), "1": _strided(draw, out, 2, 3, 2)}


@case("autocast_forward", "policy", hidden=1)
def policy(draw: Draw) -> CaseSteps:
    """Every operation has its precision; names that nobody knows run in float32."""
    unknown = [f"operation_{draw.integer(0, 999)}", "tanh", "Linear", ""]
    for op in draw.shuffled([*POLICY, *OPERATIONS, *unknown]):
        got = yield Call("cast_policy", op)
        yield Expect(got, policy_of(op), label=f"precision of {op!r}")


@case("autocast_forward", "low_operations", public=2, hidden=4)
def low_operations(draw: Draw) -> CaseSteps:
    """Products and convolutions run on inputs rounded to the low dtype, keywords included.

    Inputs are float32, or low already, or of the other half dtype.
    """
    low = HALVES[draw.index % 2]
    for op in draw.shuffled(("linear", "matmul", "conv1d", "conv2d")):
        inputs = _low_inputs(draw, op)
        first = inputs["0"]
        assert isinstance(first, Tensor)
        inputs["0"] = first.to(draw.choice((torch.float32, *HALVES)))
        model = yield _new_operation(op, inputs)
        got = yield Call("autocast_forward", model, *inputs.values(), low=low)
        want = under_policy(op, inputs, low)
        yield Expect(got, want, label=f"{op} in {low}")


def _wide_inputs(draw: Draw) -> list[tuple[str, Inputs, dict[str, object]]]:
    """Return operations for float32 with half inputs, whose result half precision would spoil."""
    dtype = HALVES[(draw.index + 1) // 2 % 2]  # as `low` at first, then the other one
    rows, width = draw.integer(2, 4), draw.choice((7, 40, 129))
    x = _strided(draw, rows, width, dtype=dtype)
    peaked = (x.float() * 8).to(dtype)
    weight = draw.uniform_tensor(width, low=0.5, high=1.5, dtype=dtype)
    targets = draw.integer_tensor(rows, low=0, high=width - 1)
    y = draw.normal_tensor(rows, width)  # the other input of a loss, float32
    return [
        ("softmax", {"0": peaked}, {"dim": -1}),
        ("log_softmax", {"0": peaked}, {"dim": 0}),
        ("layer_norm", {"0": x, "normalized_shape": [width], "weight": weight}, {}),
        ("cross_entropy", {"0": peaked, "1": targets}, {}),
        ("mse_loss", {"0": x, "1": y}, {}),
        ("sum", {"0": x.abs()}, {"dim": 1}),
        ("mean", {"0": x.abs()}, {}),
        ("cumsum", {"0": x.abs()}, {"dim": 1}),
        ("logsumexp", {"0": peaked}, {"dim": 1}),
        ("erf", {"0": x}, {}),
    ]


@case("autocast_forward", "float32_operations", public=2, hidden=3)
def float32_operations(draw: Draw) -> CaseSteps:
    """Norms, softmax, losses, sums and everything unknown run and answer in float32."""
    low = HALVES[draw.index % 2]
    for op, inputs, keywords in draw.shuffled(_wide_inputs(draw)):
        model = yield _new_operation(op, inputs, **keywords)
        got = yield Call("autocast_forward", model, *inputs.values(), low=low)
        want = under_policy(op, inputs, low, **keywords)
        yield Expect(got, want, label=f"{op} in float32")


@case("autocast_forward", "widest", public=1, hidden=3)
def widest(draw: Draw) -> CaseSteps:
    """Operations of two numbers take the wider dtype, and float32 where the halves meet."""
    shape = (draw.integer(1, 3), draw.integer(1, 9))
    kinds = (torch.float32, *HALVES)
    pairs = [(a, b) for a in kinds for b in kinds]
    ops = ("add", "sub", "mul", "div", "maximum")
    for number, (a, b) in enumerate(draw.shuffled(pairs)):
        op = ops[(number + draw.index) % len(ops)]
        other = draw.uniform_tensor(*shape, low=0.5, high=2.0, dtype=b)
        inputs: Inputs = {"0": _strided(draw, *shape, dtype=a), "1": other}
        model = yield _new_operation(op, inputs)
        got = yield Call("autocast_forward", model, *inputs.values(), low=draw.choice(HALVES))
        want = under_policy(op, inputs, torch.bfloat16)
        yield Expect(got, want, label=f"{op} of {a} and {b}")
    x = _strided(draw, *shape, dtype=draw.choice(HALVES))
    for op in ("gelu", "relu"):
        model = yield _new_operation(op, {"0": x})
        got = yield Call("autocast_forward", model, x, low=draw.choice(HALVES))
        want = under_policy(op, {"0": x}, torch.bfloat16)
        yield Expect(got, want, label=f"{op} of one tensor of {x.dtype}")


@case("autocast_forward", "left_alone", public=2, hidden=2)
def left_alone(draw: Draw) -> CaseSteps:
    """Next to float64 nothing is cast; whole numbers and Python's numbers never count."""
    low, rows, width = HALVES[draw.index % 2], draw.integer(1, 3), draw.integer(2, 6)
    double = draw.normal_tensor(rows, width, dtype=torch.float64)
    weight = draw.normal_tensor(3, width, dtype=torch.float64)
    half = draw.normal_tensor(rows, width, dtype=low)
    whole = draw.integer_tensor(rows, width, low=-9, high=9)
    table = draw.normal_tensor(width, 3, dtype=low)
    places = draw.integer_tensor(4, low=0, high=width - 1)
    asked: list[tuple[str, Inputs]] = [
        ("linear", {"0": double, "1": weight}),
        ("add", {"0": half, "1": double}),
        ("mul", {"0": half, "1": 0.5}),
        ("mul", {"0": half, "1": whole}),
        ("sum", {"0": whole}),
        ("embedding", {"0": places, "1": table}),
        ("cumsum", {"0": double, "dim": 1}),
    ]
    for op, inputs in draw.shuffled(asked):
        model = yield _new_operation(op, inputs)
        got = yield Call("autocast_forward", model, *inputs.values(), low=low)
        want = OPERATIONS[op](*_by_place(inputs), **_by_name(inputs))
        yield Expect(got, want, label=f"{op} of {_kinds(inputs.values())}")


def _by_place(inputs: Inputs) -> list[object]:
    return [x for name, x in inputs.items() if name[0].isdigit()]


def _by_name(inputs: Inputs) -> dict[str, object]:
    return {name: x for name, x in inputs.items() if not name[0].isdigit()}


def _kinds(inputs: Sequence[object]) -> str:
    kinds = [str(x.dtype) if isinstance(x, Tensor) else repr(x) for x in inputs]
    return " and ".join(kind.removeprefix("torch.") for kind in kinds)


@case("autocast_forward", "gradients", public=1, hidden=3)
def gradients(draw: Draw) -> CaseSteps:
    """Casts are part of the graph: a gradient arrives in the dtype of the tensor it is for."""
    low, width = torch.bfloat16, draw.choice((4, 9, 17))
    x, weight = draw.normal_tensor(3, width), draw.normal_tensor(5, width)
    half = draw.normal_tensor(3, width, dtype=low)
    asked: list[tuple[str, Inputs, dict[str, object], tuple[int, ...]]] = [
        ("linear", {"0": x, "weight": weight}, {}, (3, 5)),
        ("softmax", {"0": half}, {"dim": -1}, (3, width)),
        ("mul", {"0": half, "1": x}, {}, (3, width)),
    ]
    for op, inputs, keywords, shape in draw.shuffled(asked):
        upstream = draw.normal_tensor(*shape, dtype=low).float()
        model = yield _new_operation(op, inputs, **keywords)
        yield Call("autocast_forward", model, *inputs.values(), low=low)
        got = yield Call(model, "gradients", upstream)
        leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
        result = under_policy(op, leaves, low, **keywords)
        want = list(torch.autograd.grad(result, list(leaves.values()), upstream.to(result.dtype)))
        yield Expect(got, want, label=f"gradients of {op}", per_row=False)


@case("autocast_forward", "parameters_change", hidden=2)
def parameters_change(draw: Draw) -> CaseSteps:
    """An optimizer moves a weight between two calls: the second one sees it."""
    seed, width_in, width_out = draw.integer(0, 99), draw.integer(3, 9), draw.integer(2, 6)
    model = yield New("harness:Linear", seed, "layer", width_in, width_out)
    layer = Linear(seed, "layer", width_in, width_out)
    x = draw.normal_tensor(2, width_in)
    for round_number in range(3):
        got = yield Call("autocast_forward", model, x)
        inputs: Inputs = {"0": x, "1": layer.weight.detach(), "2": layer.bias.detach()}
        want = under_policy("linear", inputs, torch.bfloat16)
        yield Expect(got, want, label=f"output after {round_number} changes of the weight")
        layer.weight.data = draw.normal_tensor(width_out, width_in)
        yield Call("harness:change", model, "weight", layer.weight.data)


@case("autocast_forward", "bad_input", hidden=1)
def bad_input(draw: Draw) -> CaseSteps:
    """A low dtype that is none raises ValueError."""
    x = draw.normal_tensor(2, draw.integer(1, 4))
    model = yield New("harness:Operation", "relu")
    for low in draw.shuffled((torch.float32, torch.float64, torch.int8)):
        step = Call("autocast_forward", model, x, low=low)
        yield Raises(step, "ValueError", f"low={low}")
    calls = yield Call(model, "calls")
    yield Expect(calls, 0, label="how often the model was called")

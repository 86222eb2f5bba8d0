"""A kernel problem, one with a denied operator, one with a denied module, one without any."""

import math

import torch

from grader.author import Call, CaseSteps, Draw, Expect, Raises, WorkloadSteps, case, workload

LOG_2_PI = math.log(2 * math.pi)


@case("product", "values", public=1, hidden=1)
def product(draw: Draw) -> CaseSteps:
    """Multiply two small matrices."""
    a, b = draw.normal_tensor(5, 7), draw.normal_tensor(7, 3)
    got = yield Call("product", a, b)
    yield Expect(got, lambda: (a.double() @ b.double()).float(), label="product")


@case("product", "refusal", public=0, hidden=1)
def refusal(draw: Draw) -> CaseSteps:
    """Hand over matrices whose inner sizes differ."""
    a, b = draw.normal_tensor(5, 7), draw.normal_tensor(6, 3)
    yield Raises(Call("product", a, b), "ValueError", label="inner sizes 7 and 6")


@workload("product", "speed", sizes=(6,))
def speed(draw: Draw, size: int) -> WorkloadSteps:
    """Multiply several times."""
    for _ in range(size):
        a, b = draw.normal_tensor(5, 7), draw.normal_tensor(7, 3)
        got = yield Call("product", a, b)
        yield Expect(got, lambda: (a.double() @ b.double()).float(), label="product")  # noqa: B023 - called at once


@case("softmax", "values", public=1, hidden=0)
def softmax(draw: Draw) -> CaseSteps:
    """Take the softmax of each row."""
    x = draw.normal_tensor(4, 6)
    got = yield Call("softmax", x)
    yield Expect(got, lambda: torch.softmax(x.double(), dim=1).float(), label="softmax")


@case("total", "values", public=0, hidden=1)
def total(draw: Draw) -> CaseSteps:
    """Add up all entries."""
    x = draw.normal_tensor(4, 6)
    got = yield Call("total", x)
    yield Expect(got, lambda: x.double().sum().float(), label="sum")


@case("density", "values", public=1, hidden=0)
def density(draw: Draw) -> CaseSteps:
    """Take the logarithm of the standard normal density of each entry."""
    x = draw.normal_tensor(4, 6)
    got = yield Call("density", x)
    yield Expect(got, lambda: (-0.5 * (x.double() ** 2 + LOG_2_PI)).float(), label="density")

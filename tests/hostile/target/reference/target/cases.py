"""Cases that hostile submissions aim at: one function, one stateful class."""

from grader.author import Call, CaseSteps, Draw, Expect, New, case
from tests.hostile.target.reference.target.oracle import scaled


@case("scale", "values", public=1, hidden=2)
def values(draw: Draw) -> CaseSteps:
    """Multiply every entry, several times with new content."""
    for _ in range(3):
        x = draw.normal_tensor(draw.integer(3, 9), 16)
        factor = draw.uniform() + 1.0
        got = yield Call("scale", x, factor)
        yield Expect(got, lambda: scaled(x, factor), label="scaled matrix")  # noqa: B023 - called at once


@case("Counter", "state", public=0, hidden=1)
def state(draw: Draw) -> CaseSteps:
    """Add numbers up over many calls."""
    counter = yield New("Counter")
    total = 0
    for _ in range(4):
        number = draw.integer(1, 1000)
        total += number
        got = yield Call(counter, "add", number)
        yield Expect(got, total, label="running sum")

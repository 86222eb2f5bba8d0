"""An instance that plays rows of factors says in which row it failed."""

from types import SimpleNamespace

import pytest

from grader.assignment.declare import case
from grader.assignment.factors import Factors
from grader.author import Call, Expect
from grader.correctness.instances import Instance
from grader.evidence.faults import FaultKind
from grader.student.local_worker import LocalWorker

PLAN = SimpleNamespace(seed="s", assignment="demo")
WIDTHS = Factors("double", {"width": (1, 64, 65), "sign": ("plus", "minus")})


def double(draw, row):
    """Twice a width."""
    got = yield Call("double", row["width"] * (1 if row["sign"] == "plus" else -1))
    yield Expect(got, 2 * row["width"] * (1 if row["sign"] == "plus" else -1), label="twice")


def run(function):
    maker = case("double", "values", hidden=1, factors=WIDTHS)(double)
    instance = Instance(plan=PLAN, maker=maker, index=0, public=False)  # type: ignore[arg-type]
    return instance.run(LocalWorker({"double": function}, {}))


def test_an_instance_plays_all_its_rows():
    measured = run(lambda width: 2 * width)
    assert not measured.faults
    assert len({one.label for one in measured.observations}) == 6


def test_an_exception_is_told_with_its_row():
    measured = run(lambda width: 2 * width if width != -65 else [][0])
    (fault,) = measured.faults
    assert fault.kind is FaultKind.EXCEPTION
    assert fault.message.endswith("(width 65, sign minus)")


def test_missing_work_is_told_the_same_for_every_row():
    def missing(width):
        raise NotImplementedError

    (fault,) = run(missing).faults
    assert fault.kind is FaultKind.MISSING
    assert "width" not in fault.message


@pytest.mark.parametrize("wrong", [64, 65])
def test_a_wrong_value_is_told_with_its_row(wrong):
    measured = run(lambda width: 0 if width == wrong else 2 * width)
    (label,) = [one.label for one in measured.observations if one.comparison.error]
    assert label == f"width {wrong}: twice"

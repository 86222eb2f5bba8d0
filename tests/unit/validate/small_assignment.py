"""Small courses for the tests of `validate`.

Takes: a folder. Gives: a course of one problem, and one of ranks, read by
`load_assignment_with_reference`. Does not
cover: sandboxes.
"""

from pathlib import Path

from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference
from tests.hostile.conftest import RANK_TARGET

ASSIGNMENT = """\
schema_version = 1
slug = "tiny"
title = "Tiny"

[[problem]]
name = "double"
title = "Doubling"
exports = ["double"]

[[problem.check]]
name = "values"
title = "Doubles"
points = 3
tolerance = { float32 = %s }

[[problem.check]]
name = "refuses"
title = "Refuses scalars"
points = 1
"""

CASES = '''
from grader.author import Call, Expect, Raises, case

@case("double", "values", public=1, hidden=2)
def values(draw):
    """Twice the input."""
    for _ in range(2):
        x = draw.normal_tensor(5)
        got = yield Call("double", x)
        yield Expect(got, lambda: 2 * x, label="double(x)")

@case("double", "refuses", public=1, hidden=0)
def refuses(draw):
    """A scalar is refused."""
    yield Raises(Call("double", draw.normal_tensor()), "ValueError", label="a scalar")
'''

STARTER = '''
def double(x):
    """Return twice x."""
    raise NotImplementedError
'''

SOLUTION = """
def double(x):
    if x.dim() == 0:
        raise ValueError("a scalar")
    return 2 * x
"""


def make_course(
    root: Path,
    *,
    tolerance: str = "1e-6",
    cases: str = CASES,
    wrong: dict[str, str] | None = None,
    more: str = "",
) -> LoadedAssignment:
    """Write and read a course; `wrong` has known-wrong ones by name, `more` ends the problem."""
    folder, reference = root / "tiny", root / "reference"
    (reference / "wrong").mkdir(parents=True)
    (reference / "right").mkdir()
    folder.mkdir()
    (folder / "assignment.toml").write_text(ASSIGNMENT % tolerance + more)
    (folder / "starter.py").write_text(STARTER)
    (reference / "cases.py").write_text(cases)
    (reference / "solution.py").write_text(SOLUTION)
    (reference / "right" / "sum.py").write_text(SOLUTION.replace("2 * x", "x + x"))
    for name, text in (wrong or {}).items():
        (reference / "wrong" / f"{name}.py").write_text(text)
    return load_assignment_with_reference(folder, reference, device="cpu", seed="s")


def rank_course() -> LoadedAssignment:
    """Read the course of ranks that the hostile tests have."""
    return load_assignment_with_reference(
        RANK_TARGET / "assignments" / "rank_target",
        RANK_TARGET / "reference" / "rank_target",
        device="cpu",
        seed="s",
    )

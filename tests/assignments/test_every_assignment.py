"""Every assignment folder is found here and proved: what `grader validate` does, behind a wall."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from grader.author.folders import find_assignment, find_reference, list_assignments
from grader.batch import BatchOptions, make_builder, open_walls
from grader.errors import UsageError
from grader.plan.course import Course, new_seed, open_course
from grader.sandbox.backends import choose
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.validate.matrix import Validation
from grader.validate.prove import Proof, prove
from grader.validate.specimen import Kind

ROOT = Path(__file__).resolve().parents[2]
SLUGS = [found.name for found in list_assignments(ROOT / "assignments")]


def open_here(slug: str) -> Course:
    return open_course(
        find_assignment(slug, ROOT / "assignments"),
        find_reference(slug, ROOT / "reference"),
        device="cpu",
        seed=new_seed(),
    )


def best_wall() -> str:
    """Bubblewrap first: it starts fastest; unconfined where there is nothing, for trusted code."""
    try:
        wall = choose("auto", DEFAULT_IMAGE)
    except UsageError:
        return "none"
    return "bwrap" if wall == "docker" and _has_bwrap() else wall


def _has_bwrap() -> bool:
    from grader.sandbox.backends import missing_bwrap

    return not missing_bwrap()


@pytest.fixture(scope="module", params=SLUGS)
def proof(request: pytest.FixtureRequest) -> Proof:
    course = open_here(request.param)
    options = BatchOptions(
        sandbox=best_wall(),
        isolation=Isolation.WARM,
        jobs=2,
        image=DEFAULT_IMAGE,
        force=False,
    )
    with open_walls(course, options) as walls, closing(make_builder(course, options)) as builder:
        return prove(
            course,
            walls,
            jobs=2,
            on_specimen=lambda _: None,
            machine=options.machine,
            builder=builder,
        )


def test_there_are_assignments() -> None:
    assert {"kv_cache", "paged_attention"} <= set(SLUGS)


@pytest.mark.timeout(900)
def test_it_is_sound(proof: Proof) -> None:
    assert proof.validation.complaints == ()


def test_scores_of_known_submissions(proof: Proof) -> None:
    by_kind = _by_kind(proof.validation)
    assert {result.percent for result in by_kind[Kind.STARTER]} == {0.0}
    assert [result.percent for result in by_kind[Kind.SOLUTION]] == [100.0]
    # In CUDA C++ nothing right can be seen without a device.
    assert {r.percent for r in by_kind[Kind.RIGHT] if r.max_score} == {100.0}
    # What only a device can judge is passed where there is none, and nothing else.
    judged = {result.check for result in proof.validation.checks}
    for result, header in zip(by_kind[Kind.WRONG], _headers(proof.validation), strict=True):
        assert (result.percent < 100.0) == (header in judged), result.name


def test_every_check_is_the_only_catcher_of_something(proof: Proof) -> None:
    assert [result.check for result in proof.validation.checks if not result.alone] == []


def test_there_is_enough_to_prove_it_with(proof: Proof) -> None:
    by_kind = _by_kind(proof.validation)
    if proof.validation.assignment == "gpu_kernels":
        assert len(by_kind[Kind.WRONG]) >= 60
        assert len(by_kind[Kind.RIGHT]) >= 3
    if proof.validation.assignment in ("kv_cache", "paged_attention"):
        assert len(by_kind[Kind.WRONG]) >= 14
        assert len(by_kind[Kind.RIGHT]) >= 3


def _headers(validation: Validation) -> list[str]:
    """Return the check that catches each wrong submission, in the order of the results."""
    folder = ROOT / "reference" / validation.assignment / "wrong"
    names = [result.name for result in validation.specimens if result.kind is Kind.WRONG]
    files = [folder / (name if name.endswith(".cu") else f"{name}.py") for name in names]
    return [path.read_text("utf-8").split('caught_by = "')[1].split('"')[0] for path in files]


def _by_kind(validation: Validation) -> dict[Kind, list]:  # type: ignore[type-arg]
    return {kind: [r for r in validation.specimens if r.kind is kind] for kind in Kind}


@pytest.mark.parametrize("slug", SLUGS)
def test_allowed_imports_cover_the_solution(slug: str) -> None:
    course = open_here(slug)
    program = (
        "import ast, sys; tree = ast.parse(open(sys.argv[1]).read());"
        "print(*{(n.module if isinstance(n, ast.ImportFrom) else n.names[0].name).split('.')[0]"
        " for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))})"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(course.reference / "solution.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(ran.stdout.split()) <= {*course.assignment.allowed_imports, "__future__", "harness"}

"""What honest students hand in is graded as what it is: `check`, `pack` and grading agree."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference
from grader.assignment.reading import read_submission
from grader.commands.app import build_app
from grader.correctness.run import measure
from grader.intake import Rejected
from grader.intake.roster import collect
from grader.judge.judge import judge_checks
from grader.judge.judgement import Verdict
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.sandbox.pool import SandboxPool
from grader.worker.machine import TimedMachine
from tests.flows.honest_files import HONEST, ROOT, SLUG, Honest

pytestmark = [pytest.mark.slow, pytest.mark.bwrap]
ALONE = [name for name, honest in HONEST.items() if not honest.is_class and name != "compiled"]
"""Compiling takes a minute, so `compiled` is graded once; `traced` is checked and packed too."""


@pytest.fixture(scope="module")
def loaded() -> LoadedAssignment:
    folders = ROOT / "assignments" / SLUG, ROOT / "reference" / SLUG
    return load_assignment_with_reference(*folders, device="cpu", seed="honest-files")


@pytest.fixture(scope="module")
def sandboxes(loaded: LoadedAssignment) -> Iterator[SandboxPool]:
    pool = SandboxPool(
        "bwrap",
        loaded.plan.limits,
        isolation=Isolation.WARM,
        jobs=1,
        device="cpu",
        image=DEFAULT_IMAGE,
    )
    with closing(pool):
        yield pool


def run(*arguments: object) -> Result:
    command = str(arguments[0])
    return CliRunner().invoke(build_app(command), [*map(str, arguments)], env={"COLUMNS": "200"})


def failed_when_graded(
    path: Path, loaded: LoadedAssignment, sandboxes: SandboxPool
) -> dict[str, frozenset[str]]:
    """Return for each student the problems of which a check fails."""
    found: dict[str, frozenset[str]] = {}
    for source in collect([path], SLUG):
        submission = read_submission(source, loaded.assignment, loaded.folder)
        assert not isinstance(submission, Rejected), submission.text
        measured = measure(submission, loaded, sandboxes=sandboxes, machine=TimedMachine())
        checks = judge_checks(loaded.plan, measured)
        failed = {one.problem for one in checks if one.verdict is not Verdict.PASS}
        found[source.name] = frozenset(failed)
    return found


@pytest.mark.parametrize("name", [name for name in HONEST if name != "traced"])
def test_is_graded(
    name: str, tmp_path: Path, loaded: LoadedAssignment, sandboxes: SandboxPool
) -> None:
    honest: Honest = HONEST[name]
    found = failed_when_graded(honest.make(tmp_path), loaded, sandboxes)
    assert len(found) == len(honest.fails), list(found)
    for (student, failed), (expected, fails) in zip(
        sorted(found.items()), sorted(honest.fails.items()), strict=True
    ):
        if honest.is_class:
            assert student.startswith(expected)
        assert failed == fails


@pytest.mark.parametrize("name", ALONE)
def test_is_checked_and_packed_as_it_is_graded(
    name: str, tmp_path: Path, loaded: LoadedAssignment, sandboxes: SandboxPool
) -> None:
    honest = HONEST[name]
    (fails,) = honest.fails.values()
    work = tmp_path / "work"
    work.mkdir()
    path = honest.make(work)
    checked = run("check", path, "--assignment", SLUG, "--json")
    result = json.loads(checked.stdout)
    failed = {one["problem"] for one in result["checks"] if one["cause"] != "none"}
    assert failed == fails, checked.stdout
    assert checked.exit_code == bool(fails)
    if path.suffix == ".zip":  # what is packed already is handed in as it is
        handed_in = path
    else:
        packed = run("pack", path, "--assignment", SLUG, "--out", tmp_path)
        assert packed.exit_code == (not honest.packs), packed.output
        for word in honest.says:
            assert word in packed.output
        if not honest.packs:
            anyway = run("pack", path, "--assignment", SLUG, "--out", tmp_path, "--anyway")
            assert anyway.exit_code == 0
        handed_in = tmp_path / f"{SLUG}-submission.zip"
    (graded,) = failed_when_graded(handed_in, loaded, sandboxes).values()
    assert graded == fails

"""A course author's first minutes: a new assignment is sound without an edit elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def grader(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "grader", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.bwrap
def test_a_new_assignment_is_sound(tmp_path: Path) -> None:
    folders = ("--assignments", str(tmp_path / "a"), "--reference", str(tmp_path / "r"))
    made = grader("new-assignment", "demo_assignment", *folders, cwd=tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    result = tmp_path / "result.json"
    options = ("--sandbox", "bwrap", "--json", str(result))
    ran = grader("validate", "demo_assignment", *folders, *options, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (validation,) = json.loads(result.read_text())
    assert validation["validation"]["complaints"] == []
    kinds = {known["kind"] for known in validation["validation"]["known_submissions"]}
    assert kinds == {"starter", "solution", "right", "wrong"}
    assert all(check["alone"] for check in validation["validation"]["checks"])


@pytest.mark.bwrap
def test_a_check_that_no_wrong_submission_fails_alone_is_a_complaint(tmp_path: Path) -> None:
    folders = ("--assignments", str(tmp_path / "a"), "--reference", str(tmp_path / "r"))
    assert grader("new-assignment", "demo_assignment", *folders, cwd=tmp_path).returncode == 0
    wrong = tmp_path / "r" / "demo_assignment" / "wrong"
    header = 'caught_by = "log_sum_exp.refuses_empty_rows"'
    removed = [path for path in wrong.glob("*.py") if header in path.read_text()]
    assert removed
    for path in removed:
        path.unlink()
    ran = grader("validate", "demo_assignment", *folders, "--sandbox", "bwrap", cwd=tmp_path)
    assert ran.returncode == 1
    printed = " ".join(ran.stdout.split())
    assert "log_sum_exp.refuses_empty_rows: no wrong submission fails this and nothing" in printed

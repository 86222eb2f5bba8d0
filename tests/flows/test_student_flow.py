"""What a student types, beside the journeys: `list`, JSON, one problem, mistakes in the call."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SLUG = "demo_assignment"


def grader(*arguments, cwd, code=0):
    """Run the command as a user would; return what it printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GRADER_")}
    ran = subprocess.run(
        [sys.executable, "-m", "grader", *arguments],
        cwd=cwd,
        env={**environment, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    root = tmp_path_factory.mktemp("course")
    grader("new-assignment", SLUG, cwd=root)
    return root


@pytest.fixture
def solution(loaded):
    return (loaded / "reference" / SLUG / "solution.py").read_text()


def start(loaded, name, *options):
    grader("init", SLUG, name, *options, cwd=loaded)
    return loaded / name


def test_list_shows_problems_and_points(loaded):
    (table,) = [t for t in json.loads(grader("list", "--json", cwd=loaded)) if t["slug"] == SLUG]
    assert table["points"] == 100
    assert [problem["name"] for problem in table["problems"]] == ["log_sum_exp", "RunningLogSumExp"]
    assert "log_sum_exp" in grader("list", cwd=loaded)


def test_one_problem_as_json(loaded, solution):
    folder = start(loaded, "json", "--module")
    broken = solution.replace(".sum(dim=1)", ".mean(dim=1)")
    (folder / f"{SLUG}.py").write_text(broken)
    text = grader("check", "json", "--problem", "RunningLogSumExp", "--json", cwd=loaded, code=1)
    result = json.loads(text)
    assert {check["problem"] for check in result["checks"]} == {"RunningLogSumExp"}
    assert result["passed"] is False
    finding = result["checks"][0]["findings"][0]
    assert all(finding[part] for part in ("expected", "got", "hint"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("init", "nothing_like_it"), "grader list"),
        (("init", SLUG, "--module", "--notebook"), "cannot be combined"),
        (("check", "nowhere.py"), "not found"),
        (("new-assignment", SLUG), "exists"),
        (("release", SLUG, "--reference", "nowhere"), "not a folder"),
    ],
)
def test_a_usage_error_says_what_to_do_and_ends_with_2(loaded, arguments, says):
    printed = grader(*arguments, cwd=loaded, code=2)
    assert says in printed
    assert "Traceback" not in printed


def test_an_unreadable_file_ends_with_1_and_a_hint(loaded):
    folder = start(loaded, "rubbish", "--module")
    (folder / f"{SLUG}.py").write_bytes(b"\x00\xff\x00")
    printed = grader("check", "rubbish", cwd=loaded, code=1)
    assert "Traceback" not in printed
    assert f"{SLUG}.py" in printed


@pytest.mark.slow
def test_a_finished_kv_cache_passes_its_public_cases(tmp_path):
    checkout = Path(__file__).resolve().parent.parent.parent
    solution = checkout / "reference" / "kv_cache" / "solution.py"
    (tmp_path / "kv_cache.py").write_bytes(solution.read_bytes())
    printed = grader("check", "--assignments", str(checkout / "assignments"), cwd=tmp_path)
    assert "public tests passed" in printed

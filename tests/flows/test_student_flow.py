"""What a student types: list, init, check, pack."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
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


def test_from_the_starter_to_the_zip(loaded, solution):
    folder = start(loaded, "whole")
    untouched = grader("check", "whole", cwd=loaded, code=1)
    assert "not implemented yet" in untouched
    assert "5 of 5 public tests failed" in untouched

    (folder / f"{SLUG}.py").write_text(solution)
    done = grader("check", cwd=folder, code=2)  # from inside, `./assignments` is out of sight
    assert "--assignments" in done
    done = grader("check", "whole", cwd=loaded)
    assert "public tests passed" in done
    assert "hidden cases decide the grade" in done
    assert "all passed" not in done.lower()

    packed = grader("pack", "whole", "--out", "whole/new", cwd=loaded)
    assert "sha256" in packed
    written = folder / "new" / f"{SLUG}-submission.zip"
    with zipfile.ZipFile(written) as archive:
        assert archive.namelist() == [f"{SLUG}.py"]
        assert archive.read(f"{SLUG}.py").decode() == solution
    assert "public tests passed" in grader("check", str(written), cwd=loaded)


def test_pack_names_what_would_cost_points_and_writes_nothing(loaded, solution):
    folder = start(loaded, "careless", "--module")
    path, written = folder / f"{SLUG}.py", folder / f"{SLUG}-submission.zip"
    assert "is the starter" in grader("pack", "careless", "--out", "careless", cwd=loaded, code=1)
    careless = solution.replace("def log_sum_exp", "def logSumExp")
    plots = "class RunningLogSumExp(RunningLogSumExp):\n    plots = matplotlib\n"
    path.write_text(f"import matplotlib\n{careless}\n\n{plots}")
    printed = grader("pack", "careless", "--out", "careless", cwd=loaded, code=1)
    assert f"{SLUG}.py, line 1: No module named 'matplotlib' where work is graded" in printed
    assert "did you mean logSumExp" in printed
    assert not written.exists()
    grader("pack", "careless", "--out", "careless", "--anyway", cwd=loaded)
    assert written.exists()


def test_what_raises_at_the_top_costs_nothing_else(loaded, solution):
    folder = start(loaded, "stray", "--module")
    text = (
        f"import matplotlib\nfrom grader.student import check\n{solution}\n1 / 0\ncheck('x', 1)\n"
    )
    (folder / f"{SLUG}.py").write_text(text)
    printed = " ".join(grader("check", "stray", cwd=loaded).split())
    assert "public tests passed" in printed
    assert "where work is graded" in printed
    assert "where work is graded" in printed
    assert "ZeroDivisionError" in printed


def test_a_notebook_with_scratch_cells_passes(loaded, solution):
    folder = start(loaded, "notebook", "--notebook")
    assert not (folder / f"{SLUG}.py").exists()
    path = folder / f"{SLUG}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    answers = [cell for cell in notebook.cells if "export" in cell.metadata.get("tags", [])]
    for cell in answers:
        cell.source = ""
    answers[0].source = f"%matplotlib inline\n{solution}"
    notebook.cells.append(nbformat.v4.new_code_cell("1 / 0", metadata={"tags": ["scratch"]}))
    nbformat.write(notebook, path)
    assert "public tests passed" in grader("check", str(path), cwd=loaded)


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


def test_a_failing_case_is_shown_by_the_command_that_its_message_ends_with(loaded, solution):
    folder = start(loaded, "shown", "--module")
    broken = solution.replace(".sum(dim=1)", ".mean(dim=1)")
    (folder / f"{SLUG}.py").write_text(broken)
    printed = grader("check", "shown", cwd=loaded, code=1)
    (line, *_) = [line for line in printed.splitlines() if "to see it: " in line]
    assert 'grader check shown --show "RunningLogSumExp.' in line
    name = line.split('"')[1]

    shown = grader("check", "shown", "--show", name, cwd=loaded, code=1)
    assert f"from {SLUG} import RunningLogSumExp" in shown
    assert "expected" in shown
    assert "log_sum_exp(" not in shown  # no other problem
    (folder / f"{SLUG}.py").write_text(solution)
    assert "This case passes" in grader("check", "shown", "--show", name, cwd=loaded)

    wrong = grader("check", "shown", "--show", name.replace("]", "7]"), cwd=loaded, code=2)
    assert f"the nearest: {name}" in wrong
    assert "log_sum_exp.values[0]" in wrong


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


def test_init_names_what_it_would_overwrite(loaded):
    folder = start(loaded, "twice", "--module")
    (folder / f"{SLUG}.py").write_text("mine")
    assert f"{SLUG}.py" in grader("init", SLUG, "twice", cwd=loaded, code=2)
    assert (folder / f"{SLUG}.py").read_text() == "mine"
    grader("init", SLUG, "twice", "--force", cwd=loaded)
    assert (folder / f"{SLUG}.py").read_text() != "mine"


@pytest.mark.slow
def test_a_finished_kv_cache_passes_its_public_cases(tmp_path):
    checkout = Path(__file__).resolve().parent.parent.parent
    solution = checkout / "reference" / "kv_cache" / "solution.py"
    (tmp_path / "kv_cache.py").write_bytes(solution.read_bytes())
    printed = grader("check", "--assignments", str(checkout / "assignments"), cwd=tmp_path)
    assert "public tests passed" in printed

"""An author of a course: from the scaffold to a bundle that a student installs.

On the way every mistake is made once; each is named once, with file and line, and mended.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.desk import SLUG, Desk, edit

pytestmark = pytest.mark.bwrap
VALIDATE = f"grader validate {SLUG} --sandbox bwrap"
CHUNKS = '@case("RunningLogSumExp", "chunks"'
TOML, CASES, ORACLE = "assignment.toml", "cases.py", "oracle.py"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """The author's desk with the scaffold, in a folder that holds nothing else."""
    folder = tmp_path_factory.mktemp("author")
    desk = Desk(folder=folder, home=folder / "home")
    printed = desk.types("grader new-assignment my-homework", code=2)
    assert "use 2 to 64 lower-case letters, digits and _" in printed
    printed = desk.types(f"grader new-assignment {SLUG}")
    assert f"Next: grader validate {SLUG}" in printed
    return desk


@pytest.fixture
def copy(desk: Desk, tmp_path: Path) -> Desk:
    """A copy of the scaffold to make a mistake in."""
    for name in ("assignments", "reference"):
        shutil.copytree(desk.folder / name, tmp_path / name)
    return Desk(folder=tmp_path, home=desk.home)


def given(desk: Desk, name: str) -> Path:
    return desk.folder / "assignments" / SLUG / name


def kept(desk: Desk, name: str) -> Path:
    return desk.folder / "reference" / SLUG / name


def line_of(path: Path, text: str) -> int:
    (number,) = [n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line]
    return number


def test_a_typing_error_in_the_table_is_named_at_once(copy: Desk) -> None:
    path = given(copy, TOML)
    edit(path, "points = 30", "poinst = 30")
    where = f"assignments/{SLUG}/{TOML}, line {line_of(path, 'poinst')}"
    for command in (VALIDATE, f"grader release {SLUG}"):
        printed = copy.types(command, code=1)
        assert f'{where}: problem "log_sum_exp", check "values": unknown key' in printed
        assert "'poinst'; did you mean 'points'?" in printed
        assert printed.count("poinst") == 1
    assert not (copy.folder / "dist").exists()


def test_a_case_with_random_inputs_is_neither_sound_nor_released(copy: Desk) -> None:
    path = kept(copy, CASES)
    edit(path, "import torch\n\nfrom", "import random\n\nimport torch\n\nfrom")
    edit(path, "+ 3.0 * number", "+ 3.0 * number + random.random()")
    printed = copy.types(VALIDATE, code=1)
    where = f"{CASES}, line {line_of(path, CHUNKS)}"
    assert printed.count("COMPLAINT") == 1
    assert f"COMPLAINT RunningLogSumExp.chunks, public case 0 ({where}): played twice" in printed
    assert "Take everything random from `draw`" in printed
    assert f"{SLUG}: 1 complaint (repeat this run with --seed" in printed
    printed = copy.types(f"grader release {SLUG}", code=1)
    assert "RunningLogSumExp.chunks: public case 0 differs when it is played again" in printed
    assert not (copy.folder / "dist").exists()


def raising_oracle(desk: Desk) -> str:
    edit(kept(desk, ORACLE), "torch.logsumexp(", "torch.logsumexpp(")
    return f"{ORACLE}, line {line_of(kept(desk, ORACLE), 'logsumexpp')}"


def raising_module(desk: Desk) -> str:
    path = kept(desk, CASES)
    path.write_text(f"{path.read_text()}\nno_such_name\n")
    return f"{CASES}, line {line_of(path, 'no_such_name')}"


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (raising_oracle, "module 'torch' has no attribute 'logsumexpp'"),
        (raising_module, "name 'no_such_name' is not defined"),
    ],
)
def test_what_raises_is_named_with_file_and_line_and_nothing_else(
    copy: Desk, mistake: Callable[[Desk], str], says: str
) -> None:
    where = mistake(copy)
    for command in (VALIDATE, f"grader release {SLUG}"):
        printed = copy.types(command, code=1)
        assert printed.count(says) == 1
        assert where in printed
        assert "known submissions" not in printed
    assert not (copy.folder / "dist").exists()


def test_what_is_stale_or_missing_is_named_then_mended_and_installed(
    copy: Desk, tmp_path: Path
) -> None:
    edit(kept(copy, CASES), "One entry towers", "A single entry towers")
    edit(given(copy, "starter.py"), "Fill in the answer cells.", "Fill in all answer cells.")
    header = 'caught_by = "log_sum_exp.refuses_empty_rows"'
    (wrong,) = [p for p in kept(copy, "wrong").glob("*.py") if header in p.read_text()]
    caught = wrong.read_text()
    wrong.unlink()
    printed = copy.types(VALIDATE, code=1)
    assert printed.count("COMPLAINT") == 4
    assert f"broken_by: wrong/ has no '{wrong.stem}'" in printed
    assert "log_sum_exp.refuses_empty_rows: no wrong submission fails this and nothing" in printed
    for name in ("public/log_sum_exp.json", "starter.ipynb"):
        assert f"COMPLAINT assignments/{SLUG}/{name}: not" in printed
    assert printed.count(f"`grader release {SLUG}` makes it again") == 2

    wrong.write_text(caught)
    printed = copy.types(f"grader release {SLUG}")
    assert f"made again: assignments/{SLUG}/public/log_sum_exp.json" in printed
    assert f"wrote dist/{SLUG}-1.0.zip" in printed
    assert "reference" not in printed
    printed = copy.types(f"{VALIDATE} --json result.json")
    assert f"{SLUG}: sound" in printed
    (validation,) = json.loads((copy.folder / "result.json").read_text())
    kinds = {known["kind"] for known in validation["validation"]["known_submissions"]}
    assert kinds == {"starter", "solution", "right", "wrong"}
    assert all(check["alone"] for check in validation["validation"]["checks"])

    student = Desk(folder=tmp_path / "student", home=tmp_path / "student" / "home")
    student.folder.mkdir()
    printed = student.types(f"grader init ../dist/{SLUG}-1.0.zip")
    assert f"installed {SLUG} 1.0" in printed
    shutil.copy(kept(copy, "solution.py"), student.folder / SLUG / f"{SLUG}.py")
    assert "checks worth 100 of 100 points" in student.types(f"grader check {SLUG}")
    starter = (student.folder / SLUG / f"{SLUG}.ipynb").read_text(encoding="utf-8")
    assert "Fill in all answer cells." in starter

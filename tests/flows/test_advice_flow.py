"""The advice on kernels, from a class as a user grades it to the pages that students get."""

import json
from pathlib import Path

import pytest

from tests.flows.leftovers import Watch
from tests.flows.target_class import finish, grading, read_grades, start, write_class
from tests.hostile.honest import HONEST
from tests.hostile.test_30_kernel_advice import COUNTER, KERNELS, line_of

pytestmark = [pytest.mark.bwrap, pytest.mark.slow]

# The interpreter times no configurations on a machine without a device: one is left.
RUNNABLE = KERNELS.replace('triton.Config({"BLOCK": 64}, num_warps=2),', "")
TITLE = "Advice about your kernels: not graded"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of a class of three."""
    folder = tmp_path_factory.mktemp("advice")
    right = RUNNABLE + COUNTER
    wrong = right.replace("mask=inside) * factor", "mask=inside) + factor")
    submissions = write_class(folder / "in", kernels=right, wrong=wrong, plain=HONEST)
    watched = folder / "watched"
    watched.mkdir()
    process = start(
        Watch(watched), *grading(folder / "out", submissions, "--sandbox", "bwrap", "--jobs", 2)
    )
    finish(process)
    return folder / "out"


def test_the_grades_are_those_of_a_run_without_advice(out: Path) -> None:
    assert read_grades(out) == {
        "kernels": ("graded", "10", "6", "4"),
        "plain": ("graded", "10", "6", "4"),
        "wrong": ("graded", "4", "0", "4"),
    }


@pytest.mark.parametrize("page", ["report.html", "report.md"])
def test_students_read_what_the_compiler_says(out: Path, page: str) -> None:
    text = (out / "students" / "kernels" / page).read_text(encoding="utf-8")
    assert TITLE in text
    assert f"line {line_of('dict')}" in text
    for words in ("unsupported AST node type: Dict", "does not compile", "not graded"):
        assert words in text
    assert TITLE not in (out / "students" / "plain" / page).read_text(encoding="utf-8")


def test_the_record_keeps_every_kernel(out: Path) -> None:
    record = json.loads((out / "staff" / "kernels" / "record.json").read_text(encoding="utf-8"))
    outcomes = {(k["kernel"], k["target"]): k["outcome"] for k in record["advice"]["kernels"]}
    assert outcomes["plain_kernel", "sm_90"] == "compiles"
    assert outcomes["list_kernel", "sm_80"] == "fails"
    assert outcomes["spare_kernel", ""] == "not_reached"
    assert record["advice"]["notice"] == record["advice"]["detail"] == ""
    plain = json.loads((out / "staff" / "plain" / "record.json").read_text(encoding="utf-8"))
    assert plain["advice"]["kernels"] == []

"""A class that mixes Python and CUDA C++, graded by the command in real sandboxes, on a CPU."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RIGHT = ROOT / "reference" / "gpu_kernels" / "right" / "one_thread_each.cu"
STARTER = ROOT / "assignments" / "gpu_kernels" / "starter.cu"

pytestmark = pytest.mark.nvcc


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("bwrap", marks=pytest.mark.bwrap),
        pytest.param("docker", marks=pytest.mark.docker),
    ],
)
def graded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grade four submissions; return the output folder."""
    folder = tmp_path_factory.mktemp(f"cuda-{request.param}")
    work = folder / "class"
    (work / "cyd").mkdir(parents=True)
    (work / "ada.cu").write_text(RIGHT.read_text(encoding="utf-8"), encoding="utf-8")
    broken = STARTER.read_text(encoding="utf-8") + "\nint half() { return 1 }\n"
    (work / "bob.cu").write_text(broken, encoding="utf-8")
    (work / "cyd" / "gpu_kernels.cu").write_text('#include "more.cuh"\n', encoding="utf-8")
    (work / "cyd" / "more.cuh").write_text(STARTER.read_text(encoding="utf-8"), encoding="utf-8")
    (work / "eve.py").write_text("raise RuntimeError('no')\n", encoding="utf-8")
    command = [sys.executable, "-m", "grader", "grade", "gpu_kernels", str(work)]
    command += ["--out", str(folder / "out"), "--sandbox", request.param]
    subprocess.run(command, check=True, cwd=ROOT, timeout=280, capture_output=True)
    return folder / "out"


def row(out: Path, name: str) -> dict[str, str]:
    with (out / "grades.csv").open(encoding="utf-8", newline="") as file:
        (found,) = [line for line in csv.DictReader(file) if line["submission"] == name]
    return found


def causes(out: Path, name: str) -> set[str]:
    record = json.loads((out / "staff" / name / "record.json").read_text(encoding="utf-8"))
    return {c["cause"] for c in record["judgement"]["checks"] if c["cases"]}


def report(out: Path, name: str) -> str:
    return (out / "students" / name / "report.md").read_text(encoding="utf-8")


def test_what_compiles_waits_for_a_device(graded: Path) -> None:
    assert causes(graded, "ada") == {"no_device"}
    found = row(graded, "ada")
    assert (found["status"], found["score"], found["ungraded_points"]) == (
        "provisional",
        "0",
        found["max_score"],
    )


def test_registers_of_every_kernel_are_advice(graded: Path) -> None:
    text = report(graded, "ada")
    for kernel in ("softmax_row", "product_element", "attend_query", "key_slope"):
        assert kernel.replace("_", "\\_") in text or kernel in text
    assert "sm_90a" in text or "sm\\_90a" in text


def test_what_does_not_compile_fails_at_its_line(graded: Path) -> None:
    assert causes(graded, "bob") == {"crash"}
    last = len(STARTER.read_text(encoding="utf-8").splitlines()) + 2
    assert f"(bob.cu, line {last})" in report(graded, "bob")


def test_an_untouched_starter_is_missing(graded: Path) -> None:
    assert causes(graded, "cyd") == {"missing"}
    assert "the launcher is not defined: matrix\\_add" in report(graded, "cyd")


def test_python_is_graded_beside_it(graded: Path) -> None:
    assert causes(graded, "eve") == {"missing"}
    assert "RuntimeError: no" in report(graded, "eve")

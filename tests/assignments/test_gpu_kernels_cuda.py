"""`gpu_kernels` in CUDA C++: starter and header are current, and the right submission is right.

No kernel runs here on a device. The right submission is also plain C++: built by the host's
compiler it is called by the worker's own adapter, on the processor, with the cases of the judge.
This needs CUDA's headers for half precision, so it goes where nvcc goes.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from grader.assignment.folders import find_assignment, find_reference
from grader.assignment.table import Problem, load_assignment
from grader.author import Draw, load_cases
from grader.correctness.drive import drive
from grader.cuda_cpp.builder import build_request
from grader.cuda_cpp.header import header_name, write_header, write_starter
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.judgement import Cause
from grader.runner.cuda import launchers, nvcc
from grader.student.local_worker import LocalWorker
from grader.student.verdict import judge_case

ASSIGNMENT = find_assignment("gpu_kernels", None)
REFERENCE = find_reference("gpu_kernels", None)
TABLE = load_assignment(ASSIGNMENT)
CASES = load_cases(REFERENCE)
RIGHT = REFERENCE / "right" / "one_thread_each.cu"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def compile_for_host(source: Path, folder: Path) -> Path:
    """Build a submission as plain C++, under the header that the grader would include."""
    header = folder / header_name(TABLE.slug)
    header.write_text(write_header(TABLE.slug, TABLE.launchers), encoding="utf-8")
    library = folder / "host.so"
    include = Path(nvcc.find_nvcc()).resolve().parents[1] / "include"
    command = ["g++", "-x", "c++", "-std=c++17", "-O2", "-shared", "-fPIC", "-Wno-unknown-pragmas"]
    command += [f"-I{folder}", "-isystem", str(include), "-include", str(header)]
    subprocess.run([*command, "-o", str(library), str(source)], check=True, timeout=120)
    return library


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return bind(compile_for_host(RIGHT, tmp_path_factory.mktemp("host")))


def bind(library: Path) -> dict[str, Any]:
    """Name the launchers of a library, as the worker does."""
    namespace: dict[str, Any] = {}
    forms = json.dumps([asdict(launcher) for launcher in TABLE.launchers])
    launchers.bind(str(library), forms, namespace)
    return namespace


def failures(namespace: dict[str, Any], problem: Problem) -> dict[tuple[str, int], Cause]:
    """Return the hidden instances of a problem that fail, each with its cause."""
    failed: dict[tuple[str, int], Cause] = {}
    for check in problem.checks:
        maker = CASES[problem.name, check.name]
        for index in range(maker.hidden):
            draw = Draw("secret", (TABLE.slug, problem.name, check.name), index)
            worker = LocalWorker(namespace, {})
            seen = drive(maker(draw), worker, check=check.name, index=index, public=False)
            verdict = judge_case(seen, check.tolerance)
            if verdict.cause is not Cause.NONE:
                failed[check.name, index] = verdict.cause
    return failed


def test_the_starter_is_made_from_the_one_in_python() -> None:
    made = write_starter(TABLE, ASSIGNMENT)
    assert (ASSIGNMENT / "starter.cu").read_text(encoding="utf-8") == made, "run `grader release`"


def test_every_export_has_a_launcher() -> None:
    exports = [name for problem in TABLE.problems for name in problem.exports]
    assert [one.name for one in TABLE.launchers] == exports


@pytest.mark.nvcc
@pytest.mark.parametrize("problem", TABLE.problems, ids=lambda problem: problem.name)
def test_the_right_submission_is_right(right: dict[str, Any], problem: Problem) -> None:
    assert failures(right, problem) == {}


@pytest.mark.nvcc
def test_the_example_of_the_handout_compiles(tmp_path: Path) -> None:
    text = (ASSIGNMENT / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```cpp\n(.*?)```", text, re.DOTALL)
    work = Submission(
        name="ada",
        sha256="",
        origin=Origin.CUDA,
        entry="work",
        files=(SourceFile(name="work.cu", text=example),),
    )
    reply = nvcc.compile_library(build_request(work, TABLE, ("sm_90a",)), str(tmp_path))
    assert reply["status"] == 0, reply["output"]
    assert "shift" in reply["output"]


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("at(x, m, n) + at(y, m, n)", "at(x, m, n) - at(y, m, n)", "matrix_add"),
        ("sums[d] * fade + weight", "sums[d] + weight", "flash_attention"),
    ],
)
def test_a_wrong_one_is_wrong_where_the_right_one_is_tried(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    text = RIGHT.read_text(encoding="utf-8")
    assert old in text
    source = tmp_path / "wrong.cu"
    source.write_text(text.replace(old, new), encoding="utf-8")
    namespace = bind(compile_for_host(source, tmp_path))
    (planned,) = [one for one in TABLE.problems if one.name == problem]
    assert Cause.WRONG_VALUE in set(failures(namespace, planned).values())

"""The code that shows a public case runs, and finds the reference solution right."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from grader.assignment.declare import load_solution
from grader.assignment.folders import find_reference, list_assignments
from grader.assignment.public_cases import PUBLIC_FOLDER, code_of_case, list_cases
from grader.assignment.table import load_assignment

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {folder.name: folder for folder in list_assignments(ROOT / "assignments")}
# They train a model for hundreds of steps, or on ranks that wait for one another.
SLOW = {("mixed_precision", "train"), ("ddp_zero", "FSDP")}
PROBLEMS = [
    pytest.param(slug, path.stem, marks=[pytest.mark.slow] * ((slug, path.stem) in SLOW))
    for slug, folder in FOLDERS.items()
    for path in sorted((folder / PUBLIC_FOLDER).glob("[!_]*.json"))
]


@pytest.fixture(scope="module")
def solutions():
    """Solutions by slug, each imported once."""
    return {}


@pytest.fixture(autouse=True)
def one_thread():
    """The tensors are small: threads would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of interpreted kernels
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize(("slug", "problem"), PROBLEMS)
def test_pasted_code_repeats_every_public_case(slug, problem, solutions, monkeypatch):
    monkeypatch.chdir(ROOT)
    folder = FOLDERS[slug]
    if slug not in solutions:
        solutions[slug] = load_solution(find_reference(slug, ROOT / "reference"))
    monkeypatch.setitem(sys.modules, slug, solutions[slug])
    monkeypatch.delitem(sys.modules, "harness", raising=False)
    names = list_cases(folder, (problem,))
    assert len(names) >= len([p for p in load_assignment(folder).problems if p.name == problem])
    for name in names:
        code = code_of_case(folder, name, module=slug)
        pasted: dict[str, Any] = {}
        exec(compile(code, str(name), "exec"), pasted)
        wrong = [text for right, text in pasted["c"].outcomes if not right]
        assert not wrong, code
        compared = sum(line.strip().startswith("c.compare(") for line in code.splitlines())
        assert len(pasted["c"].outcomes) >= compared
        assert compared == len(pasted["c"].expected)
        assert repr(pasted["c"]) == code_of_case(folder, name)


@pytest.mark.slow
def test_it_does_so_on_a_processor_with_other_instructions():
    """Sums are rounded otherwise there, which is no student's mistake."""
    mine = {  # GRADER_REQUIRE is about the whole run, not about this part of it
        key: value
        for key, value in os.environ.items()
        if not key.startswith("PYTEST_") and key != "GRADER_REQUIRE"
    }
    asked = [__file__, "-k", "pasted", "-m", "not slow", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *asked],
        env=mine | {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]

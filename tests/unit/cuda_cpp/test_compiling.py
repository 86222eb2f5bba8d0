"""Work in CUDA C++ on a student's machine: kit, zip, and what the compiler says."""

import zipfile

import pytest

from grader.assignment.folders import find_assignment
from grader.assignment.table import load_assignment
from grader.cuda_cpp import compiling
from grader.errors import IntakeError, UsageError
from grader.intake import Origin
from grader.student.kit import kit_files, write_kit
from grader.student.packing import load_work, missing_exports, pack
from grader.student.work import Work, find_work, named_in

SLUG = "gpu_kernels"
ASSIGNMENT = find_assignment(SLUG)
TABLE = load_assignment(ASSIGNMENT)
DEFINED = "\ngrader::Status matrix_add(\n  int) { return {}; }\n"


@pytest.fixture
def folder(tmp_path):
    write_kit(kit_files(ASSIGNMENT, suffixes=(".cu",)), tmp_path / "work", force=False)
    return tmp_path / "work"


def test_the_kit_has_starter_header_and_handout(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {"gpu_kernels.cu", "gpu_kernels.h", "README.md", ".grader.toml"}
    assert named_in(folder / "gpu_kernels.cu") == SLUG
    assert find_work(folder, None).path == folder / "gpu_kernels.cu"


def test_an_untouched_starter_defines_nothing(folder):
    work = find_work(folder, None)
    submission = load_work(work, TABLE)
    assert submission.origin is Origin.CUDA
    assert missing_exports(submission, TABLE) == tuple(one.name for one in TABLE.launchers)


def test_the_zip_holds_headers_but_not_the_graders(folder):
    path = folder / "gpu_kernels.cu"
    path.write_text(path.read_text(encoding="utf-8") + DEFINED, encoding="utf-8")
    (folder / "tile.cuh").write_text("#pragma once\n", encoding="utf-8")
    work = find_work(folder, None)
    submission = load_work(work, TABLE)
    assert [file.name for file in submission.files] == ["gpu_kernels.cu", "tile.cuh"]
    package = pack(work, submission, TABLE, folder)
    missing = missing_exports(submission, TABLE)
    assert "matrix_add" not in missing
    assert "softmax" in missing
    with zipfile.ZipFile(package.path) as archive:
        assert archive.namelist() == ["gpu_kernels.cu", "tile.cuh"]


def test_an_assignment_in_python_alone_does_not_take_it(tmp_path):
    path = tmp_path / "kv_cache.cu"
    path.write_text("int x;\n", encoding="utf-8")
    table = load_assignment(find_assignment("kv_cache"))
    with pytest.raises(IntakeError, match=r"found kv_cache\.cu"):
        load_work(Work(path=path, slug="kv_cache"), table)


def test_without_a_compiler_nothing_is_said_of_the_work(folder, monkeypatch):
    monkeypatch.setattr("grader.runner.cuda.nvcc.find_nvcc", lambda: "")
    submission = load_work(find_work(folder, None), TABLE)
    with pytest.raises(UsageError, match="nvcc is not installed here"):
        compiling.compile_work(submission, TABLE)


@pytest.mark.nvcc
@pytest.mark.slow
def test_a_first_launcher_is_found(folder):
    path = folder / "gpu_kernels.cu"
    text = path.read_text(encoding="utf-8").replace("#if 0\n", "", 1).replace("#endif\n", "", 1)
    path.write_text(text, encoding="utf-8")
    compiled = compiling.compile_work(load_work(find_work(folder, None), TABLE), TABLE)
    assert compiled.compiles, compiled.compiler_output
    assert compiled.defined == ("matrix_add",)
    path.write_text(text.replace("NOT_IMPLEMENTED;", "NOT_IMPLEMENTED", 1), encoding="utf-8")
    broken = compiling.compile_work(load_work(find_work(folder, None), TABLE), TABLE)
    assert (broken.compiles, broken.error) == (False, 'expected a ";"')
    assert broken.where.startswith("gpu_kernels.cu, line ")

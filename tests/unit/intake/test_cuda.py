"""Work in CUDA C++: which file is graded, and what it may include."""

from pathlib import Path

import pytest

from grader.intake import (
    Attachment,
    Origin,
    Rejected,
    Submission,
    SubmissionSource,
    collect,
    load_submission,
)
from tests.unit.intake.work import GOOD, write, zipped

SLUG = "gpu_kernels"
CU = '#include "gpu_kernels.h"\n'


def take(path: Path, *, cuda: bool = True) -> Submission | Rejected:
    return load_submission(
        SubmissionSource(name="a", parts=(Attachment(path=path),)), slug=SLUG, cuda=cuda
    )


def accept(path: Path) -> Submission:
    submission = take(path)
    assert isinstance(submission, Submission), submission
    return submission


def test_one_file_is_taken_in(tmp_path: Path) -> None:
    submission = accept(write(tmp_path / "gpu_kernels.cu", CU.replace("\n", "\r\n")))
    assert (submission.origin, submission.entry) == (Origin.CUDA, "gpu_kernels")
    assert [(file.name, file.text) for file in submission.files] == [("gpu_kernels.cu", CU)]
    assert (submission.notices, submission.binaries) == ((), ())


@pytest.mark.parametrize("name", ["My work (2).cu", "-x.cu", "é.cu", "..cu"])
def test_a_name_that_is_not_plain_is_replaced(tmp_path: Path, name: str) -> None:
    submission = accept(write(tmp_path / name, CU))
    assert (submission.entry, submission.files[0].name) == ("submission", "submission.cu")
    assert "submission.cu" in submission.notices[0]


def test_headers_at_the_top_may_be_included(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "gpu_kernels.cu": CU,
        "tile.cuh": "// a",
        "deep/other.h": "// b",
        "notes.txt": "c",
        "-o.h": "// d",
        "binary.h": b"\0",
    }
    submission = accept(write(tmp_path / "alice.zip", zipped(files)))
    assert [file.name for file in submission.files] == ["gpu_kernels.cu", "tile.cuh"]
    notices = " ".join(submission.notices)
    assert all(name in notices for name in ("-o.h", "binary.h", "deep/other.h", "notes.txt"))


@pytest.mark.parametrize("other", ["gpu_kernels.py", "gpu_kernels.ipynb"])
def test_one_language_is_graded(tmp_path: Path, other: str) -> None:
    submission = take(write(tmp_path / "a.zip", zipped({"gpu_kernels.cu": CU, other: GOOD})))
    assert isinstance(submission, Rejected)
    assert "one file to grade" in submission.message


def test_beside_a_module_that_is_graded_it_is_not_used(tmp_path: Path) -> None:
    submission = accept(write(tmp_path / "a.zip", zipped({"gpu_kernels.py": GOOD, "try.cu": CU})))
    assert submission.origin is Origin.MODULE
    assert "not used: try.cu" in submission.notices[0]


@pytest.mark.parametrize(
    ("content", "found"),
    [(b" \n", "empty file"), (b"\x7fELF\x00", "binary"), (b"//" + b"x" * (1 << 20), "1.0 MiB")],
)
def test_what_is_no_source_is_rejected(tmp_path: Path, content: bytes, found: str) -> None:
    submission = take(write(tmp_path / "gpu_kernels.cu", content))
    assert isinstance(submission, Rejected)
    assert found in submission.message


def test_too_many_files_are_rejected(tmp_path: Path) -> None:
    files = {f"part{n}.h": "//" for n in range(20)}
    submission = take(write(tmp_path / "a.zip", zipped({"gpu_kernels.cu": CU, **files})))
    assert isinstance(submission, Rejected)
    assert "at most 20 C++ files, found 21" in submission.message


def test_an_assignment_in_python_alone_takes_none(tmp_path: Path) -> None:
    submission = take(write(tmp_path / "gpu_kernels.cu", CU), cuda=False)
    assert isinstance(submission, Rejected)
    assert "gpu_kernels.py or gpu_kernels.ipynb, found gpu_kernels.cu" in submission.message


def test_a_class_may_mix_languages(tmp_path: Path) -> None:
    for name, text in {"ada.cu": CU, "bob.py": GOOD, "cyd/gpu_kernels.cu": CU}.items():
        write(tmp_path / "class" / name, text)
    found = collect([tmp_path / "class"], SLUG)
    assert [one.name for one in found] == ["ada", "bob", "cyd"]
    submission = [load_submission(one, slug=SLUG, cuda=True) for one in found]
    assert [getattr(one, "origin", None) for one in submission] == [
        Origin.CUDA,
        Origin.MODULE,
        Origin.CUDA,
    ]

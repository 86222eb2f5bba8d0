"""Work in CUDA C++: which file is graded, and what travels with it."""

from pathlib import Path

import pytest

from grader.intake import Handed, Origin, Part, Rejected, Submission, collect, take_in
from tests.unit.intake.work import GOOD, write, zipped

SLUG = "gpu_kernels"
CU = '#include "gpu_kernels.h"\n'


def take(path: Path, *, cuda: bool = True) -> Submission | Rejected:
    return take_in(Handed(name="a", parts=(Part(path=path),)), slug=SLUG, cuda=cuda)


def accept(path: Path) -> Submission:
    taken = take(path)
    assert isinstance(taken, Submission), taken
    return taken


def test_one_file_is_taken_in(tmp_path: Path) -> None:
    taken = accept(write(tmp_path / "gpu_kernels.cu", CU.replace("\n", "\r\n")))
    assert (taken.origin, taken.entry) == (Origin.CUDA, "gpu_kernels")
    assert [(file.name, file.text) for file in taken.files] == [("gpu_kernels.cu", CU)]
    assert (taken.notices, taken.binaries) == ((), ())


@pytest.mark.parametrize("name", ["My work (2).cu", "-x.cu", "é.cu", "..cu"])
def test_a_name_that_is_not_plain_is_replaced(tmp_path: Path, name: str) -> None:
    taken = accept(write(tmp_path / name, CU))
    assert (taken.entry, taken.files[0].name) == ("submission", "submission.cu")
    assert "submission.cu" in taken.notices[0]


def test_headers_at_the_top_travel(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "gpu_kernels.cu": CU,
        "tile.cuh": "// a",
        "deep/other.h": "// b",
        "notes.txt": "c",
        "-o.h": "// d",
        "binary.h": b"\0",
    }
    taken = accept(write(tmp_path / "alice.zip", zipped(files)))
    assert [file.name for file in taken.files] == ["gpu_kernels.cu", "tile.cuh"]
    said = " ".join(taken.notices)
    assert all(name in said for name in ("-o.h", "binary.h", "deep/other.h", "notes.txt"))


@pytest.mark.parametrize("other", ["gpu_kernels.py", "gpu_kernels.ipynb"])
def test_one_language_is_graded(tmp_path: Path, other: str) -> None:
    taken = take(write(tmp_path / "a.zip", zipped({"gpu_kernels.cu": CU, other: GOOD})))
    assert isinstance(taken, Rejected)
    assert "one file to grade" in taken.message


def test_beside_a_module_that_is_graded_it_is_not_used(tmp_path: Path) -> None:
    taken = accept(write(tmp_path / "a.zip", zipped({"gpu_kernels.py": GOOD, "try.cu": CU})))
    assert taken.origin is Origin.MODULE
    assert "not used: try.cu" in taken.notices[0]


@pytest.mark.parametrize(
    ("content", "found"),
    [(b" \n", "empty file"), (b"\x7fELF\x00", "binary"), (b"//" + b"x" * (1 << 20), "1.0 MiB")],
)
def test_what_is_no_source_is_rejected(tmp_path: Path, content: bytes, found: str) -> None:
    taken = take(write(tmp_path / "gpu_kernels.cu", content))
    assert isinstance(taken, Rejected)
    assert found in taken.message


def test_too_many_files_are_rejected(tmp_path: Path) -> None:
    files = {f"part{n}.h": "//" for n in range(20)}
    taken = take(write(tmp_path / "a.zip", zipped({"gpu_kernels.cu": CU, **files})))
    assert isinstance(taken, Rejected)
    assert "at most 20 C++ files, found 21" in taken.message


def test_an_assignment_in_python_alone_takes_none(tmp_path: Path) -> None:
    taken = take(write(tmp_path / "gpu_kernels.cu", CU), cuda=False)
    assert isinstance(taken, Rejected)
    assert "gpu_kernels.py or gpu_kernels.ipynb; found none" in taken.message


def test_a_class_may_mix_languages(tmp_path: Path) -> None:
    for name, text in {"ada.cu": CU, "bob.py": GOOD, "cyd/gpu_kernels.cu": CU}.items():
        write(tmp_path / "class" / name, text)
    found = collect([tmp_path / "class"], SLUG)
    assert [one.name for one in found] == ["ada", "bob", "cyd"]
    taken = [take_in(one, slug=SLUG, cuda=True) for one in found]
    assert [getattr(one, "origin", None) for one in taken] == [
        Origin.CUDA,
        Origin.MODULE,
        Origin.CUDA,
    ]

import hashlib
import os
from pathlib import Path

import pytest

from grader.errors import SandboxError
from grader.intake import Damage, Origin, Requirements, SourceFile, Submission, contents
from grader.intake import notebook as notebook_reader
from tests.unit.intake.work import GOOD, accept, code, notebook, reject, take, write, zipped


def test_module_stays_as_it_is(tmp_path: Path) -> None:
    submission = accept(write(tmp_path / "kv_cache.py", GOOD))
    assert submission.name == "a"
    assert submission.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert submission.origin is Origin.MODULE
    assert submission.entry == "kv_cache"
    assert [(f.name, f.text, f.cell_lines) for f in submission.files] == [("kv_cache.py", GOOD, ())]
    assert submission.notices == ()
    assert submission.notebook_json == ""


def test_module_loses_only_what_does_not_compile(tmp_path: Path) -> None:
    broken = "import math\ndef f(:\n" + "(" * 100_000 + "\ndef g(): ...\n"
    submission = accept(write(tmp_path / "kv_cache.py", broken))
    assert submission.files[0].text == "import math\n\n\ndef g(): ...\n"
    (damage,) = submission.broken
    assert (damage.kind, damage.names, damage.place) == (
        Damage.SYNTAX,
        ("f",),
        "kv_cache.py, line 2",
    )
    assert submission.notices == (damage.text,)


def test_module_that_the_reader_cannot_read_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in (
        "import os; os.kill(os.getpid(), 11)",
        "print('{}')",
        "print('{\"files\": []}')",
    ):
        monkeypatch.setattr(notebook_reader, "READER_ENTRY", program)
        submission = accept(write(tmp_path / "kv_cache.py", "import tqdm\nx = (\n"))
        assert submission.files[0].text == "import tqdm\nx = (\n"
        assert not submission.broken


def test_imports_are_dropped_or_named_by_what_the_assignment_asks_for(tmp_path: Path) -> None:
    source = "import einops\nimport tqdm, tools\ndef f(): return tqdm\ndef g(): return einops\n"
    write(tmp_path / "w" / "tools.py", "import seaborn\nX = 1\n")
    path = write(tmp_path / "w" / "kv_cache.py", source).parent
    submission = accept(path, Requirements(exports=("g",), allowed=("einops",)))
    assert [file.text for file in submission.files] == [
        source.replace("tqdm, tools", "tools"),
        "\nX = 1\n",
    ]
    assert not submission.broken
    (damage,) = accept(path, Requirements(exports=("f",), allowed=("einops",))).broken
    assert (damage.kind, damage.names) == (Damage.IMPORT, ("tqdm",))
    (damage,) = accept(path, Requirements(exports=("g",), allowed=("tqdm",))).broken
    assert (damage.kind, damage.names) == (Damage.IMPORT, ("einops",))


def test_notebook_with_files_that_it_writes(tmp_path: Path) -> None:
    cells = [
        code("%%writefile helpers.py\nx = 1"),
        code("%%writefile json.py\nx = 1"),
        code("import helpers\nimport tools\ndef f(): return helpers.x + tools.y"),
    ]
    write(tmp_path / "w" / "tools.py", "import pandas\ny = 1\n")
    write(tmp_path / "w" / "helpers.py", "x = 'an old run wrote this'\n")
    write(tmp_path / "w" / "kv_cache.ipynb", notebook(cells))
    submission = accept(tmp_path / "w")
    assert [(file.name, file.text) for file in submission.files] == [
        ("kv_cache.py", "import helpers\nimport tools\ndef f(): return helpers.x + tools.y\n"),
        ("helpers.py", "\nx = 1\n"),
        ("tools.py", "\ny = 1\n"),
    ]
    assert submission.files[1].place_of(2) == "code cell 1, line 2"
    assert not submission.broken
    assert "left out: json.py" in "\n".join(submission.notices)


def test_notebook_in_cuda_is_its_cuda_source(tmp_path: Path) -> None:
    kernel = code("%%writefile kernel.cu\n__global__ void k() {}\n")
    path = write(tmp_path / "x.ipynb", notebook([kernel, code("!nvcc kernel.cu")]))
    submission = take(path, cuda=True)
    assert isinstance(submission, Submission)
    assert submission.origin is Origin.CUDA
    assert submission.files == (SourceFile(name="kernel.cu", text="\n__global__ void k() {}\n"),)
    assert len(submission.sha256) == 64
    cells = [code("%%cu\nint main() {}")]
    submission = take(write(tmp_path / "y.ipynb", notebook(cells)), cuda=True)
    assert isinstance(submission, Submission)
    assert submission.files[0].name == "kv_cache.cu"
    assert "CUDA C++, which is not graded here" in reject(path).message


def test_line_ends_and_byte_order_mark_fall_away(tmp_path: Path) -> None:
    submission = accept(write(tmp_path / "kv_cache.py", b"\xef\xbb\xbfa = 1\r\nb = 2\rc = 3\n"))
    assert submission.files[0].text == "a = 1\nb = 2\nc = 3\n"
    wide = "x = 'é'\r\n"
    for encoding in ("utf-16", "utf-16-be"):
        content = wide.encode(encoding)
        marked = content if encoding == "utf-16" else b"\xfe\xff" + content
        assert accept(write(tmp_path / "kv_cache.py", marked)).files[0].text == "x = 'é'\n"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty file"),
        (b" \n\t\n", "empty file"),
        (b"\xff\xfe\x00\xd8", "byte 0x00 on line 1"),
        ("x = 1\ny = 'é'".encode("latin-1"), "0xe9 on line 2"),
        (b"\x7fELF\x00\x00", "binary"),
        (b"x = 1  # \x00", "binary"),
        (b"# -*- coding: utf-7 -*-\nx = 1\n", "encoding 'utf-7'"),
        (b"#!/usr/bin/python\n# vim: set fileencoding=unicode_escape :\n", "line 2"),
        ("# coding: latin-1\nx = 'é'\n".encode(), "encoding 'latin-1'"),
        (b"x = 1\n" * 200_000, "1.1 MiB"),
    ],
)
def test_unreadable_source_is_rejected(tmp_path: Path, content: bytes, found: str) -> None:
    rejected = reject(write(tmp_path / "kv_cache.py", content))
    assert found in rejected.message
    assert rejected.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "line", ["# coding: utf-8", "# -*- coding: UTF_8 -*-", "# coding=latin-1", "x = 1\n# coding: a"]
)
def test_harmless_encoding_lines_pass(tmp_path: Path, line: str) -> None:
    assert accept(write(tmp_path / "kv_cache.py", f"{line}\nx = 1\n")).notices == ()


@pytest.mark.parametrize(
    ("names", "entry", "beside"),
    [
        (["kv_cache.py", "submission.py", "more.py"], "kv_cache", ["more", "submission"]),
        (["submission.py", "more.py"], "submission", ["more"]),
        (["mywork.py"], "mywork", []),
        (["kv-cache.py", "more.py"], "submission", ["more"]),
        (["mywork.py", "torch.py", "conftest.py", "typing.py"], "mywork", []),
    ],
)
def test_entry_is_chosen_by_name(
    tmp_path: Path, names: list[str], entry: str, beside: list[str]
) -> None:
    folder = tmp_path / "alice"
    for name in names:
        write(folder / name, GOOD)
    archive = write(tmp_path / "alice.zip", zipped(dict.fromkeys(names, GOOD)))
    for path in (folder, archive):
        submission = accept(path)
        assert submission.entry == entry
        assert [file.name for file in submission.files] == [f"{n}.py" for n in [entry, *beside]]


def test_notebook_wins_as_entry_and_modules_may_be_imported(tmp_path: Path) -> None:
    write(tmp_path / "kv_cache.ipynb", notebook([code("import more")]))
    write(tmp_path / "draft.ipynb", b"rubbish")
    write(tmp_path / "more.py", GOOD)
    submission = accept(tmp_path)
    assert submission.origin is Origin.NOTEBOOK
    assert [file.name for file in submission.files] == ["kv_cache.py", "more.py"]
    assert any("draft.ipynb" in notice for notice in submission.notices)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["kv_cache.py", "kv_cache.ipynb"], "kv_cache.ipynb, kv_cache.py"),
        (["one.py", "two.py"], "one.py, two.py"),
        (["torch.py", "numpy.py"], "found numpy.py, torch.py"),
        (["readme.md"], "found readme.md"),
        (["deep/kv_cache.py", "other/kv_cache.ipynb"], "deep/kv_cache.py, other/kv_cache.ipynb"),
        (["hw/a/b/c/x.py"], "found hw/a/b/c/x.py; hw/a/b/c/x.py lies too deep in folders"),
        (["x.7z", "essay.pdf"], "found essay.pdf, x.7z; only .zip archives can be opened"),
    ],
)
def test_undecidable_folder_is_rejected_with_its_list(
    tmp_path: Path, names: list[str], found: str
) -> None:
    for name in names:
        write(tmp_path / name, GOOD)
    rejected = reject(tmp_path)
    assert found in rejected.message
    assert "kv_cache" in rejected.hint or "keep" in rejected.hint
    assert len(rejected.sha256) == 64


def test_shadowing_files_are_dropped_with_a_notice(tmp_path: Path) -> None:
    write(tmp_path / "kv_cache.py", GOOD)
    shadowing = "torch triton numpy json sitecustomize usercustomize conftest harness grader runner"
    for name in shadowing.split():
        write(tmp_path / f"{name}.py", GOOD)
    for name in ("evil.pth", "my-helper.py", "class.py", "triton/__init__.py", "weights.pt"):
        write(tmp_path / name, GOOD)
    submission = accept(tmp_path)
    assert [file.name for file in submission.files] == ["kv_cache.py"]
    told = " ".join(submission.notices)
    for name in ("torch.py", "json.py", "evil.pth", "my-helper.py", "class.py", "triton/__init__"):
        assert name in told


@pytest.mark.parametrize("stem", ["torch", "json", "my work", "2fast", "class", "größe", "runner"])
def test_entry_that_cannot_be_imported_gets_a_name(tmp_path: Path, stem: str) -> None:
    submission = accept(write(tmp_path / f"{stem}.py", GOOD))
    assert submission.entry == "submission"
    assert "submission.py" in submission.notices[0]


def test_broken_module_beside_is_left_out_with_a_notice(tmp_path: Path) -> None:
    write(tmp_path / "kv_cache.py", GOOD)
    write(tmp_path / "old.py", b"\xe9")
    submission = accept(tmp_path)
    assert len(submission.files) == 1
    assert "old.py" in submission.notices[0]


def test_caps_on_modules_and_files(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / "m" / f"m{number}.py", GOOD)
    write(tmp_path / "m" / "kv_cache.py", GOOD)
    assert "at most 20 modules, found 21" in reject(tmp_path / "m").message
    (tmp_path / "m" / "m0.py").unlink()
    assert len(accept(tmp_path / "m").files) == 20
    for number in range(201):
        write(tmp_path / "f" / f"{number}.py", "")
    assert "at most 200 source files" in reject(tmp_path / "f").message
    write(tmp_path / "d" / "/".join("abcdefghijkl") / "kv_cache.py", GOOD)
    assert "found a/b/c/d/e/f/g/h/" in reject(tmp_path / "d").message


def test_data_and_links_beside_the_work_are_named_and_not_opened(tmp_path: Path) -> None:
    write(tmp_path / "hw" / "kv_cache.py", GOOD)
    write(tmp_path / "hw" / "/".join("abcdefghijkl") / "x.txt", "")
    for number in range(300):
        write(tmp_path / "hw" / "data" / f"{number}.txt", "")
    (tmp_path / "hw" / "latest").symlink_to(tmp_path / "nowhere")
    with (tmp_path / "hw" / "model.pt").open("wb") as file:
        file.truncate(100 << 20)
    submission = accept(tmp_path / "hw")
    assert [file.name for file in submission.files] == ["kv_cache.py"]
    assert "a/b/c/d/e/f/g/h/" in submission.notices[0]


def test_far_too_many_files_are_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_SEEN", 20)
    write(tmp_path / "hw" / "kv_cache.py", GOOD)
    for number in range(20):
        write(tmp_path / "hw" / "data" / f"{number}.txt", "")
    assert "and 20 files in all" in reject(tmp_path / "hw").message


def test_folder_and_zip_of_the_same_work_have_the_same_hash(tmp_path: Path) -> None:
    files = {"kv_cache.py": GOOD, "sub/data.txt": "x"}
    for name, content in files.items():
        write(tmp_path / "w" / name, content)
    folder = accept(tmp_path / "w")
    plain = accept(write(tmp_path / "a.zip", zipped(files)))
    wrapped = accept(write(tmp_path / "b.zip", zipped({f"hw/{n}": c for n, c in files.items()})))
    other = accept(write(tmp_path / "c.zip", zipped({**files, "kv_cache.py": GOOD + "#"})))
    assert folder.sha256 == plain.sha256 == wrapped.sha256 != other.sha256


def test_links_pipes_and_devices_are_rejected_unopened(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside.py", GOOD)
    (tmp_path / "link.py").symlink_to(outside)
    assert "symbolic link" in reject(tmp_path / "link.py").message
    os.mkfifo(tmp_path / "pipe.py")
    assert "pipe" in reject(tmp_path / "pipe.py").message
    (tmp_path / "dangling.zip").symlink_to(tmp_path / "nowhere")
    assert "symbolic link" in reject(tmp_path / "dangling.zip").message
    for kind in ("file", "folder", "pipe"):
        folder = tmp_path / kind
        write(folder / "kv_cache.py", GOOD)
        if kind == "pipe":
            os.mkfifo(folder / "extra.py")
        else:
            (folder / "extra.py").symlink_to(outside if kind == "file" else "/etc")
        assert "extra.py" in reject(folder).message


def test_disk_faults_are_ours(tmp_path: Path) -> None:
    with pytest.raises(SandboxError):
        take(tmp_path / "gone.py")


def test_the_message_names_what_was_found_and_reads_as_sentences(tmp_path: Path) -> None:
    rejected = reject(write(tmp_path / "essay.pdf", "x"))
    assert rejected.text == (
        "expected a file such as kv_cache.py or kv_cache.ipynb, found essay.pdf. "
        "Name the file with your work kv_cache.py or kv_cache.ipynb, "
        "and hand in that file, or a folder or zip with that file at its top."
    )

"""Which file is graded, wherever it lies and whatever was added to its name."""

import json
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.intake import (
    Attachment,
    Origin,
    Rejected,
    Submission,
    SubmissionSource,
    contents,
    load_submission,
    starter_fingerprints,
)
from grader.intake.entry import fingerprint, real_name
from tests.unit.intake.work import GOOD, SLUG, accept, code, notebook, reject, write, zipped

STARTER = "# grader: kv_cache 0.1.0\ndef append(x):\n    raise NotImplementedError\n"
STARTER_NOTEBOOK = notebook([code("raise NotImplementedError", "export")])
EDITED_NOTEBOOK = notebook([code("def append(x):\n    return x", "export")])


def digest(content: bytes | str) -> str:
    return sha256(content.encode() if isinstance(content, str) else content).hexdigest()


MARK = (
    f'slug = "kv_cache"\n[files]\n"kv_cache.py" = "{digest(STARTER)}"\n'
    f'"kv_cache.ipynb" = "{digest(STARTER_NOTEBOOK)}"\n'
)


def load(path: Path, **options: Any) -> Submission | Rejected:
    source = SubmissionSource(name="a", parts=(Attachment(path=path),))
    return load_submission(source, slug=SLUG, **options)


@pytest.mark.parametrize(
    ("files", "graded"),
    [
        ({"kv_cache-submission.zip": zipped({"kv_cache.py": GOOD})}, "kv_cache-submission.zip/"),
        ({"essay.pdf": "x", "hw.ZIP": zipped({"a/my work.py": GOOD})}, "hw.ZIP/a/my work.py"),
        ({"a.zip": zipped({"b.zip": zipped({"kv_cache.py": GOOD})})}, "a.zip/b.zip/kv_cache.py"),
        ({"kv_cache.py": GOOD, "old.zip": zipped({"kv_cache.py": "x = 1"})}, "kv_cache.py"),
        ({"src/kv_cache.py": GOOD, "README.md": ""}, "src/kv_cache.py"),
        ({"hw1/src/kv_cache.py": GOOD, "hw1/setup.py": "x = 1"}, "hw1/src/kv_cache.py"),
        ({"hw1/src/alice.py": GOOD, "hw1/essay.pdf": "x"}, "hw1/src/alice.py"),
        ({"deep/kv_cache.py": GOOD, "deeper/x.py": "x = 1"}, "deep/kv_cache.py"),
        ({"a/kv_cache.py": GOOD, "b/kv_cache.py": GOOD}, "a/kv_cache.py"),
        ({"a/b/c/d/kv_cache.py": GOOD, "x.md": ""}, "a/b/c/d/kv_cache.py"),
        ({"kv_cache.py.txt": GOOD}, "kv_cache.py.txt"),
        ({"kv_cache (1).py": GOOD, "rotary.py": "x = 1"}, "kv_cache (1).py"),
        ({"kv_cache.py": "x", "kv_cache (9).py": "x", "kv_cache (10).py": GOOD}, "cache (10).py"),
        ({"kv_cache.py": GOOD, "kv_cache - Copy (2).py": "x = 1"}, "kv_cache.py"),
        ({"a.zip": zipped({"my.py": "x"}), "a (1).zip": zipped({"my.py": GOOD})}, "a (1).zip/my"),
        ({"Copy of kv_cache.py": GOOD}, "Copy of kv_cache.py"),
        ({"one.py": f"# grader: kv_cache 0.1.0\n{GOOD}", "two.py": "x = 1"}, "one.py"),
        ({"node_modules/kv_cache.py": "x", "venv/kv_cache.py": "x", "my.py": GOOD}, "my.py"),
        ({"my.py": GOOD, "pyvenv.cfg": "", "lib/kv_cache.py": "x", "bin/python": "x"}, "my.py"),
        ({".ipynb_checkpoints/kv_cache.py": "x", ".DS_Store": "x", "my.py": GOOD}, "my.py"),
    ],
)
def test_the_work_is_found_in_folder_and_zip(
    tmp_path: Path, files: dict[str, bytes | str], graded: str
) -> None:
    for name, content in files.items():
        write(tmp_path / "folder" / name, content)
    archive = write(tmp_path / "a.zip", zipped(files))
    inside = write(tmp_path / "outer" / "hw 1.zip", zipped(files)).parent
    for path in (tmp_path / "folder", archive, inside):
        submission = accept(path)
        assert GOOD in submission.files[0].text
        assert graded in submission.graded_file


def test_the_newer_of_two_copies_is_graded_and_named(tmp_path: Path) -> None:
    files = {"kv_cache.py": "x = 1", "kv_cache (1).py": GOOD}
    assert accept(write(tmp_path / "a.zip", zipped(files))).notices == (
        "graded: kv_cache (1).py, read as kv_cache.py",
        "not used: kv_cache.py; kv_cache (1).py is newer by the number in its name",
    )
    both: dict[str, bytes | str] = {"kv_cache.ipynb": EDITED_NOTEBOOK, "kv_cache (1).py": GOOD}
    assert (
        "found kv_cache (1).py, kv_cache.ipynb"
        in reject(write(tmp_path / "b.zip", zipped(both))).message
    )


def test_work_in_a_zip_beats_the_untouched_starter_beside_it(tmp_path: Path) -> None:
    packed = zipped({"kv_cache.py": GOOD})
    files: dict[str, bytes | str] = {
        "kv_cache.py": STARTER,
        "kv_cache-submission.zip": packed,
        ".grader.toml": MARK,
    }
    assert accept(write(tmp_path / "a.zip", zipped(files))).files[0].text == GOOD
    older: dict[str, bytes | str] = {**files, "kv_cache.py": STARTER + "# edited"}
    assert accept(write(tmp_path / "b.zip", zipped(older))).graded_file == "kv_cache.py"


def test_the_work_of_another_assignment_is_rejected_not_a_zero(tmp_path: Path) -> None:
    text = f"# grader: paged_attention 1.0\n{GOOD}"
    assert reject(write(tmp_path / "paged_attention.py", text)).message == (
        "expected a file such as kv_cache.py or kv_cache.ipynb, found paged_attention.py; "
        "paged_attention.py says that it is for paged_attention"
    )
    metadata = {"grader": {"assignment": "paged_attention"}}
    cells = notebook([code("x = 1")], metadata=metadata)
    assert "is for paged_attention" in reject(write(tmp_path / "my.ipynb", cells)).message
    assert "submission.py says" in reject(write(tmp_path / "submission.py", text)).message
    beside = {"hw/one.py": text, "hw/two.py": GOOD}
    assert accept(write(tmp_path / "a.zip", zipped(beside))).graded_file == "hw/two.py"


def test_thousands_of_left_out_files_do_not_count(tmp_path: Path) -> None:
    junk = {f"hw/.git/objects/{n:060}": "x" for n in range(3000)}
    junk |= {f"hw/env/{f}": "x" for f in ("pyvenv.cfg", *(f"lib/{n}.py" for n in range(300)))}
    archive = write(tmp_path / "a.zip", zipped({**junk, "hw/kv_cache.py": GOOD}))
    assert accept(archive).graded_file == "hw/kv_cache.py"
    for name, content in list(junk.items())[-400:]:
        write(tmp_path / "f" / name, content)
    (tmp_path / "f" / "hw" / "env" / "bin").mkdir()
    (tmp_path / "f" / "hw" / "env" / "bin" / "python").symlink_to("/usr/bin/python3")
    write(tmp_path / "f" / "hw" / "kv_cache.py", GOOD)
    assert accept(tmp_path / "f").graded_file == "hw/kv_cache.py"


@pytest.mark.parametrize("mark", [MARK, MARK.replace("\n", "\r\n"), ""])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("module", "cells", "graded"),
    [
        (GOOD, STARTER_NOTEBOOK, "kv_cache.py"),
        (STARTER, EDITED_NOTEBOOK, "kv_cache.ipynb"),
        (STARTER, STARTER_NOTEBOOK, "kv_cache.py"),
    ],
)
def test_of_both_starters_the_edited_one_is_graded(
    tmp_path: Path, module: str, cells: bytes, graded: str, line_end: str, mark: str
) -> None:
    files: dict[str, bytes | str] = {
        "hw/kv_cache.py": module.replace("\n", line_end),
        "hw/kv_cache.ipynb": cells,
        "hw/harness.py": GOOD,
    }
    if mark:
        files["hw/.grader.toml"] = mark
    assignment = tmp_path / "assignment"
    write(assignment / "starter.py", STARTER.partition("\n")[2])
    write(assignment / "starter.ipynb", STARTER_NOTEBOOK)
    starters = () if mark else starter_fingerprints(assignment)
    for name, content in files.items():
        write(tmp_path / "folder" / name, content)
    for path in (tmp_path / "folder", write(tmp_path / "a.zip", zipped(files))):
        submission = load(path, starters=starters)
        assert isinstance(submission, Submission), submission
        assert submission.graded_file == f"hw/{graded}"
        assert len(submission.files) == 1
        untouched = module == STARTER and cells == STARTER_NOTEBOOK
        assert ("nothing in it was edited" in submission.notices[-1]) == untouched


def test_a_renamed_work_beats_the_untouched_starter(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "kv_cache.ipynb": STARTER_NOTEBOOK,
        ".grader.toml": MARK,
        "harness/a.py": "x = 1",
    }
    renamed = accept(write(tmp_path / "a.zip", zipped({**files, "mine.py": GOOD})))
    assert renamed.graded_file == "mine.py"
    two = {**files, "one.py": GOOD, "two.py": "x = 1"}
    assert accept(write(tmp_path / "b.zip", zipped(two))).origin is Origin.NOTEBOOK
    assert accept(write(tmp_path / "c.zip", zipped(files))).origin is Origin.NOTEBOOK


def test_both_edited_is_rejected_with_both_names(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        "kv_cache.py": GOOD,
        "kv_cache.ipynb": EDITED_NOTEBOOK,
        ".grader.toml": MARK,
    }
    rejected = reject(write(tmp_path / "a.zip", zipped(files)))
    assert rejected.text == (
        "expected one file to grade, found kv_cache.ipynb, kv_cache.py. "
        "Keep the file that holds your work, and rename or remove the others."
    )


@pytest.mark.parametrize(
    "mark", [b"\xff", b"[files", b"files = 1", b"[files]\nx = 1", b"a = " + b"[" * 30_000]
)
def test_a_damaged_mark_tells_nothing(tmp_path: Path, mark: bytes) -> None:
    files: dict[str, bytes | str] = {"kv_cache.py": GOOD, ".grader.toml": mark}
    assert accept(write(tmp_path / "a.zip", zipped(files))).files[0].text == GOOD


def test_a_notebook_with_a_second_ending_is_a_notebook(tmp_path: Path) -> None:
    submission = accept(write(tmp_path / "alice.ipynb.json", EDITED_NOTEBOOK))
    assert (submission.origin, submission.entry) == (Origin.NOTEBOOK, "alice")


def test_outputs_line_ends_and_version_do_not_edit_a_starter() -> None:
    run = json.loads(STARTER_NOTEBOOK)
    run["cells"][0] |= {"outputs": [{"text": "x"}], "execution_count": 3}
    run["metadata"]["grader"] = {"assignment": "kv_cache"}
    same = fingerprint("a.ipynb", json.dumps(run, indent=1).encode())
    assert same == fingerprint("b.ipynb", STARTER_NOTEBOOK)
    assert same != fingerprint("b.ipynb", EDITED_NOTEBOOK)
    newer = STARTER.replace("0.1.0", "2.0").replace("\n", "\r\n").encode() + b"\r\n\r\n"
    assert fingerprint("a.py", newer) == fingerprint("b.py", STARTER.encode())
    assert fingerprint("a.py", newer + b"x") != fingerprint("b.py", STARTER.encode())


@given(st.sampled_from(["a.py", "a.ipynb"]), st.binary(max_size=100))
def test_any_content_has_a_fingerprint(name: str, content: bytes) -> None:
    assert fingerprint(name, content) == fingerprint(name, content)


@pytest.mark.parametrize(
    ("name", "real"),
    [
        ("kv_cache.py.txt", "kv_cache.py"),
        ("alice.ipynb.json", "alice.ipynb"),
        ("kv_cache (1).py", "kv_cache.py"),
        ("kv_cache(12).ipynb", "kv_cache.ipynb"),
        ("kv_cache - Copy.py", "kv_cache.py"),
        ("kv_cache-Copy1.ipynb", "kv_cache.ipynb"),
        ("kv_cache copy 2.py", "kv_cache.py"),
        ("Copy of kv_cache.ipynb", "kv_cache.ipynb"),
        ("kv_cache-submission (3).zip", "kv_cache-submission.zip"),
        ("copy.py", "copy.py"),
        ("kv_cache - Copy (2).py", "kv_cache.py"),
        ("notes (1).txt", "notes (1).txt"),
        ("data.json", "data.json"),
    ],
)
def test_names_are_read_as_what_they_are(name: str, real: str) -> None:
    assert real_name(name) == real


def test_a_rejection_names_what_was_found_and_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "hw" / "essay.pdf", "x")
    with tarfile.open(tmp_path / "hw" / "x.tar.gz", "w:gz") as archive:
        archive.add(write(tmp_path / "kv_cache.py", GOOD), "kv_cache.py")
    assert reject(tmp_path / "hw").text == (
        "expected a file such as kv_cache.py or kv_cache.ipynb, found essay.pdf, x.tar.gz; only "
        ".zip archives can be opened. Unpack x.tar.gz, and hand in kv_cache.py or kv_cache.ipynb, "
        "or a .zip with that file."
    )
    hidden = reject(write(tmp_path / "a.zip", zipped({".git/x": "x"})))
    assert "no file at all (hidden files and folders are not looked at)" in hidden.message


def test_a_broken_zip_is_named_if_nothing_else_can_be_graded(tmp_path: Path) -> None:
    write(tmp_path / "hw" / "work.zip", b"PK\3\4broken")
    assert "found something else in work.zip" in reject(tmp_path / "hw").message
    write(tmp_path / "hw" / "mine.py", GOOD)
    assert accept(tmp_path / "hw").graded_file == "mine.py"


def test_archives_in_archives_share_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = zipped({f"{n}.py": "" for n in range(150)})
    both = write(tmp_path / "a.zip", zipped({"a.zip": many, "b.zip": many}))
    assert "at most 200 source files, found more in b.zip" in reject(both).message
    dense = zipped({"kv_cache.py": bytes(20 << 20)})
    assert "200 times" in reject(write(tmp_path / "b.zip", zipped({"c.zip": dense}))).message
    monkeypatch.setattr(contents, "MAX_TOTAL_BYTES", 10 << 20)
    big = zipped({"a.zip": zipped({"kv_cache.py": bytes(7 << 20)}), "y.h": bytes(7 << 20)})
    assert "7.0 MiB in the unpacked zip" in reject(write(tmp_path / "d.zip", big)).message

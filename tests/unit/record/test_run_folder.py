"""One run at a time in an output folder."""

from pathlib import Path

import pytest

from grader.errors import StoreError, UsageError
from grader.record.run_folder import alone_in, begin_run, read_run, refuse_misplaced
from tests.unit.validate.small_assignment import make_course


def test_a_second_run_is_kept_out(tmp_path: Path) -> None:
    with (
        alone_in(tmp_path / "out"),
        pytest.raises(UsageError, match="another run"),
        alone_in(tmp_path / "out"),
    ):
        pass
    with alone_in(tmp_path / "out"):
        pass


def test_a_file_cannot_be_the_output_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(UsageError, match="cannot be used as the output folder"), alone_in(path):
        pass


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"schema_version": 2, "assignment": "tiny", "seed": "s", "plan_sha256": ""}', "2"),
        ('{"schema_version": 99, "assignment": "tiny"}', "99"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_another_format_is_refused(
    tmp_path: Path, text: str, found: str, force: bool
) -> None:
    loaded = make_course(tmp_path)
    (tmp_path / "out" / "staff").mkdir(parents=True)
    (tmp_path / "out" / "staff" / "run.json").write_text(text)
    with pytest.raises(UsageError, match=f"its records have format {found}, this") as caught:
        begin_run(tmp_path / "out", loaded, force=force)
    assert "another --out" in caught.value.hint


def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "staff").mkdir()
    old = b'{"assignment": "tiny", "seed": "s", "plan_sha256": ""}'
    for damaged in (b"", b"\xff\xfe\x00", b"[" * 100_000, old):
        (tmp_path / "staff" / "run.json").write_bytes(damaged)
        with pytest.raises(
            UsageError, match=r"run\.json: expected which format.*damaged"
        ) as caught:
            read_run(tmp_path)
        assert len(str(caught.value)) < len(str(tmp_path)) + 400
        assert "another --out" in caught.value.hint
    (tmp_path / "staff" / "run.json").write_text('{"schema_version": 3, "a": ' + "9" * 5000 + "}")
    with pytest.raises(StoreError, match="not a RunFacts"):
        read_run(tmp_path)


def test_a_folder_that_was_begun_is_known_again(tmp_path: Path) -> None:
    loaded = make_course(tmp_path)
    begin_run(tmp_path / "out", loaded, force=False)
    facts = read_run(tmp_path / "out")
    assert facts is not None
    assert (facts.assignment, facts.seed) == ("tiny", "s")
    begin_run(tmp_path / "out", loaded, force=False)


@pytest.mark.parametrize(
    ("out", "found"),
    [
        ("class", "is the folder that is graded"),
        ("class/out", "lies inside the folder that is graded"),
        ("class/deep/er/out", "lies inside the folder that is graded"),
        (".", "lies inside --out"),
        ("file", "found the file"),
        ("file/out", "found the file"),
        ("link", "is the folder that is graded"),
    ],
)
def test_an_output_folder_that_would_be_graded_is_refused(
    tmp_path: Path, out: str, found: str
) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "class")
    with pytest.raises(UsageError, match=found) as caught:
        refuse_misplaced(tmp_path / out, [tmp_path / "class"])
    assert "--out" in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["class", "file", "link"]


def test_an_output_folder_beside_the_class_is_taken(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class.zip").write_bytes(b"")
    for out in ("out", "class-grades", "new/deep"):
        refuse_misplaced(tmp_path / out, [tmp_path / "class", tmp_path / "class.zip"])
    refuse_misplaced(tmp_path / "out", [tmp_path / "missing"])

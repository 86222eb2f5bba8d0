"""`grader release` says what it made again, and what it deleted."""

from grader.assignment import folders
from grader.commands import release
from grader.release import bundle


def test_a_file_that_is_gone_is_called_deleted(tmp_path, monkeypatch, capsys):
    kept, gone = tmp_path / "kept.json", tmp_path / "gone.json"
    kept.write_text("{}")
    made = bundle.Released(
        path=tmp_path,
        sha256="0",
        members=(),
        wheel=tmp_path,
        changed=(kept, gone),
        replaced=(),
    )
    monkeypatch.setattr(bundle, "release", lambda *_: made)
    monkeypatch.setattr(release, "find_assignment", lambda *_: tmp_path)
    monkeypatch.setattr(folders, "find_reference", lambda *_: tmp_path)
    release.command("tiny")
    printed = capsys.readouterr().out.replace("\n", "")
    assert f"made again: {kept}" in printed
    assert f"deleted, because its problem is gone: {gone}" in printed

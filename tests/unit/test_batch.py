"""One run at a time in an output folder."""

from pathlib import Path

import pytest

from grader.batch import _alone_in
from grader.errors import UsageError


def test_a_second_run_is_kept_out(tmp_path: Path) -> None:
    with (
        _alone_in(tmp_path / "out"),
        pytest.raises(UsageError, match="another run"),
        _alone_in(tmp_path / "out"),
    ):
        pass
    with _alone_in(tmp_path / "out"):
        pass


def test_a_file_is_no_folder_for_grades(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(UsageError, match="cannot be a folder"), _alone_in(place):
        pass

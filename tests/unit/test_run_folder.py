"""One run at a time in an output folder."""

from pathlib import Path

import pytest

from grader.errors import UsageError
from grader.run_folder import alone_in


def test_a_second_run_is_kept_out(tmp_path: Path) -> None:
    with (
        alone_in(tmp_path / "out"),
        pytest.raises(UsageError, match="another run"),
        alone_in(tmp_path / "out"),
    ):
        pass
    with alone_in(tmp_path / "out"):
        pass


def test_a_file_is_no_folder_for_grades(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with pytest.raises(UsageError, match="cannot be a folder"), alone_in(place):
        pass

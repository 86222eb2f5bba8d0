"""`grader report` writes no page of a class that it has no records of."""

import pytest

from grader.commands.report import command
from grader.errors import UsageError
from grader.record.store import RecordStore

EARLIER = "pages of an earlier run"


@pytest.mark.parametrize("content", [None, b""])
def test_a_folder_without_records_keeps_its_pages(tmp_path, content):
    """An empty file is an empty database to SQLite: somebody may have lost the real one."""
    staff = tmp_path / "staff"
    staff.mkdir()
    if content is None:
        RecordStore.in_folder(staff).close()
    else:
        (staff / "grades.sqlite").write_bytes(content)
    (tmp_path / "index.html").write_text(EARLIER)
    with pytest.raises(UsageError, match="no records found here"):
        command(tmp_path)
    assert (tmp_path / "index.html").read_text() == EARLIER

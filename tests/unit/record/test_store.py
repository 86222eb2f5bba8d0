"""The store: append-only, linked, shared by processes, whole after a kill at any moment."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from grader.errors import StoreError
from grader.record import store as store_module
from grader.record.store import RecordStore
from tests.unit.report.samples import make_files, make_record

REPOSITORY = Path(__file__).resolve().parents[3]

COMMIT_MANY = """
import sys
from pathlib import Path
from grader.record.store import RecordStore
from tests.unit.record.test_store import fresh
store = RecordStore.in_folder(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    record = store.commit(fresh(sys.argv[2] or f"s{number}", number))
    print(record.record_id, flush=True)
"""


def fresh(name, number=0):
    return replace(
        make_record(name), record_id=uuid.uuid4().hex, created_at=f"2026-03-02T10:20:{number:09d}"
    )


def run_commits(folder, name, count):
    return subprocess.Popen(
        [sys.executable, "-c", COMMIT_MANY, str(folder), name, str(count)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rows(folder):
    connection = sqlite3.connect(folder / "grades.sqlite")
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute(
            "SELECT record_id, previous_id, submission FROM records ORDER BY created_at, record_id"
        ).fetchall()
    finally:
        connection.close()


@pytest.fixture
def store(tmp_path):
    opened = RecordStore.in_folder(tmp_path)
    yield opened
    opened.close()


def test_a_new_grade_links_to_the_one_before_and_replaces_nothing(store, tmp_path):
    first = store.commit(fresh("ada", 1))
    second = store.commit(fresh("ada", 2))
    other = store.commit(fresh("bob", 3))
    assert (first.previous_id, second.previous_id) == ("", first.record_id)
    assert other.previous_id == ""
    assert [row[:2] for row in rows(tmp_path)] == [
        (first.record_id, ""),
        (second.record_id, first.record_id),
        (other.record_id, ""),
    ]


def test_latest_gives_the_newest_of_everyone_by_name(store):
    for name, number in (("zoe", 1), ("ada", 2), ("zoe", 3)):
        store.commit(fresh(name, number))
    newest = store.latest()
    assert [record.submission.name for record in newest] == ["ada", "zoe"]
    assert newest[1].created_at.endswith("3")


def test_find_wants_submission_and_plan_of_the_newest(store):
    record = store.commit(fresh("ada"))
    sha, plan = record.submission.sha256, record.plan.sha256
    assert store.find("ada", sha, plan) == record
    assert store.find("ada", "d" * 64, plan) is None
    assert store.find("ada", sha, "d" * 64) is None
    assert store.find("bob", sha, plan) is None
    assert store.latest() == [record]


def test_what_is_committed_is_there_for_the_next_process(store, tmp_path):
    record = store.commit(fresh("ada"))
    store.close()
    again = RecordStore.in_folder(tmp_path)
    assert again.latest() == [record]
    again.close()


def test_a_record_is_committed_once(store, tmp_path):
    record = store.commit(fresh("ada"))
    with pytest.raises(StoreError):
        store.commit(record)
    assert len(rows(tmp_path)) == 1


def test_a_damaged_record_is_named_not_guessed(store, tmp_path):
    store.commit(fresh("ada"))
    connection = sqlite3.connect(tmp_path / "grades.sqlite")
    connection.execute("UPDATE records SET body = substr(body, 1, 50)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="not a GradeRecord"):
        store.latest()


def spoil(folder, record, body="{}"):
    """Make one row unreadable, as a full disk or another version could have left it."""
    with contextlib.closing(sqlite3.connect(folder / "grades.sqlite")) as connection, connection:
        connection.execute(
            "UPDATE records SET body = ? WHERE record_id = ?", (body, record.record_id)
        )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param("7", id="a number"),
        pytest.param(b"\xff\xfe\x00", id="bytes"),
        pytest.param('{"schema_version": 3, "a": ' + "[" * 100_000, id="deep"),
        pytest.param('{"schema_version": 3, "a": ' + "9" * 5_000 + "}", id="digits"),
        pytest.param('{"schema_version": 3', id="cut off"),
    ],
)
def test_no_unreadable_record_hides_the_others(store, tmp_path, body):
    record, other = store.commit(fresh("ada", 1)), store.commit(fresh("bob"))
    spoil(tmp_path, record, body)
    found = store.newest()
    assert found.records == (other,)
    assert [line.partition(":")[0] for line in found.unreadable] == ["ada"]
    assert store.find("ada", record.submission.sha256, record.plan.sha256) is None
    assert store.commit(fresh("ada", 2)) in store.newest().records


def test_an_unreadable_record_is_followed_by_the_next(store, tmp_path):
    old = store.commit(fresh("ada", 1))
    spoil(tmp_path, old)
    new = store.commit(fresh("ada", 2))
    assert new.previous_id == old.record_id
    assert store.latest() == [new]
    assert [row[0] for row in rows(tmp_path)] == [old.record_id, new.record_id]


def test_an_unreadable_record_counts_as_not_graded(store, tmp_path):
    record = store.commit(fresh("ada"))
    other = store.commit(fresh("bob"))
    spoil(tmp_path, record)
    assert store.find("ada", record.submission.sha256, record.plan.sha256) is None
    assert store.find("bob", other.submission.sha256, other.plan.sha256) == other


def test_an_unreadable_newest_record_is_named_with_what_to_do(store, tmp_path):
    record, other = store.commit(fresh("ada")), store.commit(fresh("bob"))
    spoil(tmp_path, record)
    with pytest.raises(StoreError, match=f"ada: record {record.record_id}") as caught:
        store.latest()
    assert "grader grade" in caught.value.hint
    assert store.newest().records == (other,)


@pytest.mark.parametrize("version", [2, 99])
def test_a_record_of_another_format_names_itself(store, version):
    store.commit(replace(fresh("ada"), schema_version=version))
    with pytest.raises(StoreError, match=f"it has format {version}; this version") as caught:
        store.latest()
    assert "version of the grader that wrote" in caught.value.hint


def test_a_read_only_database_is_a_store_error_with_a_hint(store):
    kept = store.commit(fresh("ada", 1))
    with store._engine.connect() as connection:  # the pool hands the same one out again
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="cannot be written") as caught:
        store.commit(fresh("ada", 2))
    assert "read-only" in caught.value.hint
    assert store.latest() == [kept]


def test_a_full_disk_is_a_store_error(tmp_path):
    store = RecordStore.in_folder(tmp_path)
    kept = store.commit(fresh("ada", 1))
    with store._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # SQLite rounds up to its size
    huge = replace(fresh("bob", 2), record_id="f" * 32)
    huge = replace(huge, submission=replace(huge.submission, files=make_files("x" * 1_000_000)))
    with pytest.raises(StoreError, match="full") as caught:
        store.commit(huge)
    assert caught.value.hint
    assert store.latest() == [kept]
    store.close()


@pytest.mark.parametrize("path", ["file/below", "file"])
def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path, path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError) as caught:
        RecordStore.in_folder(tmp_path / path)
    assert caught.value.hint


def test_what_is_no_database_is_a_store_error(tmp_path):
    (tmp_path / "grades.sqlite").write_bytes(b"not a database, but quite a long text" * 100)
    with pytest.raises(StoreError, match=r"grades\.sqlite is damaged: file is not a") as caught:
        RecordStore.in_folder(tmp_path)
    assert "record.json" in caught.value.hint
    assert "sqlalche.me" not in str(caught.value)


def test_no_write_ahead_log_on_a_network_file_system(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "_on_network", lambda path: True)
    store = RecordStore.in_folder(tmp_path)
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
    store.close()


def test_a_local_folder_gets_a_write_ahead_log_that_is_synced(store):
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


@pytest.mark.slow
def test_two_processes_open_and_commit_at_the_same_time(tmp_path):
    count = 15
    writers = [run_commits(tmp_path, "", count) for _ in range(2)]
    outputs = [writer.communicate(timeout=120) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0], outputs
    printed = {line for out, _ in outputs for line in out.split()}
    found = rows(tmp_path)
    assert {row[0] for row in found} == printed
    assert len(found) == 2 * count
    for record_id, previous_id, submission in found:
        assert previous_id == "" or previous_id in printed - {record_id}
        assert submission.startswith("s")


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.02, 0.11])
def test_a_kill_amid_commits_loses_nothing_and_halves_nothing(tmp_path, delay_s):
    writer = run_commits(tmp_path, "", 100_000)
    assert writer.stdout is not None
    first = writer.stdout.readline().strip()  # the loop runs
    time.sleep(delay_s)
    os.kill(writer.pid, signal.SIGKILL)
    out, _ = writer.communicate(timeout=60)
    committed = [first, *(line for line in out.split("\n") if len(line) == 32)]
    found = [row[0] for row in rows(tmp_path)]
    assert found[: len(committed)] == committed
    assert len(found) - len(committed) in (0, 1)  # one may be committed and not yet printed
    store = RecordStore.in_folder(tmp_path)
    records = store.latest()  # every body parses, strictly
    store.commit(fresh("after the crash", 10**8))
    store.close()
    assert sorted(record.record_id for record in records) == sorted(found)

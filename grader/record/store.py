"""The store of grade records: a submission is graded when its record is committed, not earlier.

The store is append-only: a new grade of the same submission adds a record, which names the previous
one. SQLite uses a write-ahead log, except on a network file system, where the log does not work.
"""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Select, String, Text, create_engine, event, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

from grader.errors import StoreError
from grader.record.grade_record import GradeRecord, from_json, to_json
from grader.record.run_folder import RECORD_SCHEMA_VERSION, format_of

_DAMAGED = ("file is not a database", "database disk image is malformed")
"""What SQLite says of a file that it cannot read. Source: sqlite3ErrStr in SQLite's main.c."""
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "lustre", "9p"})


class _Base(DeclarativeBase):
    pass


class _Row(_Base):
    __tablename__ = "records"

    record_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    submission: Mapped[str] = mapped_column(String(120), index=True)
    submission_sha256: Mapped[str] = mapped_column(String(64), index=True)
    plan_sha256: Mapped[str] = mapped_column(String(64), index=True)
    previous_id: Mapped[str] = mapped_column(String(32), default="")
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[str] = mapped_column(String(40))
    body: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The newest record of every submission, in the order of their names.

    Attributes:
        unreadable: a sentence for each record that cannot be read.
    """

    records: tuple[GradeRecord, ...]
    unreadable: tuple[str, ...]

    def refuse_unreadable(self) -> None:
        """Raise a StoreError that names each submission and record that cannot be read."""
        if self.unreadable:
            raise StoreError(
                "\n".join(self.unreadable),
                hint="give these submissions to `grader grade` again with the same --out: they "
                "get new records, and the unreadable ones stay in the store. The version of the "
                "grader that wrote a record can still read it",
            )


class RecordStore:
    """Append-only store of grade records."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(url)
        if self._engine.dialect.name == "sqlite":
            journal = "DELETE" if _on_network(Path(self._engine.url.database or ".")) else "WAL"

            @event.listens_for(self._engine, "connect")
            def _configure(connection, _record) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
                # First, since the next statement takes a lock.
                connection.execute("PRAGMA busy_timeout=30000")
                connection.execute(f"PRAGMA journal_mode={journal}")
                connection.execute("PRAGMA synchronous=FULL")

        with _writing():
            self._create()

    @classmethod
    def in_folder(cls, folder: Path) -> "RecordStore":
        """Open the SQLite store of an output folder."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"cannot make the folder {folder}: {error.strerror}",
                hint="choose a folder that you may write to",
            ) from error
        return cls(f"sqlite:///{folder / 'grades.sqlite'}")

    def commit(self, record: GradeRecord) -> GradeRecord:
        """Add a record, linked to the previous one; from now on the submission is graded.

        Raises:
            StoreError: if it cannot be written; nothing is half-written.
        """
        record = replace(record, previous_id=self._newest_id(record.submission.name))
        row = _Row(
            record_id=record.record_id,
            submission=record.submission.name,
            submission_sha256=record.submission.sha256,
            plan_sha256=record.plan.sha256,
            previous_id=record.previous_id,
            status=record.judgement.status.value,
            created_at=record.created_at,
            body=to_json(record),
        )
        with _writing(), Session(self._engine) as session, session.begin():
            session.add(row)
        return record

    def newest(self) -> Newest:
        """Return the newest record of every submission, and which of them cannot be read."""
        age = func.row_number().over(
            partition_by=_Row.submission, order_by=(_Row.created_at.desc(), _Row.record_id.desc())
        )
        rows = select(_Row.submission, _Row.record_id, _Row.body, age.label("age")).subquery()
        query = select(rows.c.submission, rows.c.record_id, rows.c.body).where(rows.c.age == 1)
        records, unreadable = [], []
        for submission, record_id, body in sorted(self._select(query), key=str):
            try:
                records.append(_read_record(body))
            except StoreError as error:
                unreadable.append(f"{submission}: record {record_id} cannot be read: {error}")
        return Newest(records=tuple(records), unreadable=tuple(unreadable))

    def newest_names(self) -> frozenset[str]:
        """Return the names of all submissions that have a record."""
        return frozenset(str(name) for (name,) in self._select(select(_Row.submission).distinct()))

    def latest(self) -> list[GradeRecord]:
        """Return the newest record of every submission, in the order of their names.

        Raises:
            StoreError: naming the submissions whose newest record cannot be read.
        """
        found = self.newest()
        found.refuse_unreadable()
        return list(found.records)

    def find(self, name: str, submission_sha256: str, plan_sha256: str) -> GradeRecord | None:
        """Return the newest record of this submission under this plan, if there is one.

        A record that cannot be read does not count: the submission is graded again, and the record
        stays in the store.
        """
        query = _newest_of(name, _Row.submission_sha256, _Row.plan_sha256, _Row.body)
        for found_sha256, found_plan, body in self._select(query):
            if (found_sha256, found_plan) == (submission_sha256, plan_sha256):
                with contextlib.suppress(StoreError):
                    return _read_record(body)
        return None

    def _create(self) -> None:
        """Create the table and its indexes; another process may do the same at this moment."""
        with self._engine.begin() as connection:
            for table in _Base.metadata.sorted_tables:
                connection.execute(CreateTable(table, if_not_exists=True))
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    connection.execute(CreateIndex(index, if_not_exists=True))

    def _newest_id(self, name: str) -> str:
        """Return the identifier of the newest record, which need not be readable."""
        return next((str(row[0]) for row in self._select(_newest_of(name, _Row.record_id))), "")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _select(self, query: Select[Any]) -> list[tuple[Any, ...]]:
        try:
            with Session(self._engine) as session:
                return [tuple(row) for row in session.execute(query)]
        except SQLAlchemyError as error:
            raise _store_error("the record store cannot be read", error) from error


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        hint = "is the disk full or read-only? All earlier grades are kept."
        raise _store_error("the record store cannot be written", error, hint) from error


def _store_error(what: str, error: Exception, hint: str = "") -> StoreError:
    """Return the error for what the database says, without SQLAlchemy's additions."""
    reason = str(getattr(error, "orig", None) or error)
    if any(word in reason for word in _DAMAGED):
        what = "staff/grades.sqlite is damaged"
        hint = (
            "put a copy of the file back; the newest record of each submission is also in "
            "staff/NAME/record.json"
        )
    return StoreError(f"{what}: {reason}", hint=hint)


def _newest_of(name: str, *columns: Any) -> Select[Any]:  # noqa: ANN401 - mapped columns
    """Return the query for columns of the newest record of a submission."""
    newest_first = (_Row.created_at.desc(), _Row.record_id.desc())
    return select(*columns).where(_Row.submission == name).order_by(*newest_first).limit(1)


def _read_record(body: object) -> GradeRecord:
    """Return a stored record; a StoreError if it is not one, or has another format."""
    if not isinstance(body, str):  # SQLite keeps what it is given, whatever the column's type
        raise StoreError("it is not text")
    written = format_of(body)
    if written not in (0, RECORD_SCHEMA_VERSION):
        raise StoreError(
            f"it has format {written}; this version reads format {RECORD_SCHEMA_VERSION}"
        )
    return from_json(GradeRecord, body)


@contextmanager
def writing_below(folder: Path) -> Iterator[None]:
    """Turn an OSError below `folder` into an error that says what to do.

    Raises:
        StoreError: for any OSError in the block; the machine is at fault.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write below {folder}: {error}",
            hint="is the disk full or read-only? All earlier grades are kept: free some space and "
            "run the same command again",
        ) from error


def _on_network(path: Path) -> bool:
    """Return whether `path` is on a network file system; False where this cannot be found out."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return False
    location = os.path.realpath(path if path.exists() else path.parent)
    best = ("", "")
    for line in mounts.read_text().splitlines():
        _, mount_point, kind, *_ = line.split(" ")
        inside = location == mount_point or location.startswith(mount_point.rstrip("/") + "/")
        if inside and len(mount_point) >= len(best[0]):
            best = (mount_point, kind)
    return best[1] in NETWORK_FILE_SYSTEMS

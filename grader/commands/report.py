"""`grader report`: writes the report pages of a graded class again, from its records."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from grader.errors import UsageError
from grader.record.class_list import read_class
from grader.record.run_folder import read_run
from grader.record.store import RecordStore, writing_below
from grader.report import write_reports


def command(
    out: Annotated[Path, typer.Argument(help="The --out folder of an earlier `grader grade`.")],
) -> None:
    """Write grades.csv, index.html and every student's pages again, from the stored records."""
    if not (out / "staff" / "grades.sqlite").is_file():
        raise _nothing_in(out)
    read_run(out)  # refuses a folder of another format
    aside = read_class(out).aside
    with closing(RecordStore.in_folder(out / "staff")) as store:
        records = store.latest()
    if not records:
        raise _nothing_in(out)
    with writing_below(out):
        write_reports(records, out, aside=aside)
    listed = sum(record.submission.name not in aside for record in records)
    typer.echo(f"{listed} submissions: {out / 'index.html'}")


def _nothing_in(out: Path) -> UsageError:
    return UsageError(
        f"{out}: no records found here", hint="name the --out folder of an earlier `grader grade`"
    )

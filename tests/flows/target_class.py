"""A small class of submissions to the target of the hostile tests, graded from the command line.

It writes the submissions, starts and ends commands, and reads the output folder.
"""

import csv
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.flows.leftovers import Watch
from tests.hostile.honest import HONEST

TARGET = Path(__file__).parent.parent / "hostile" / "target"
RUN_S = 180.0

WRONG = HONEST.replace("x * factor", "x + factor")
CRASHING = HONEST.replace("    return x * factor", "    import os\n    os._exit(3)")
SLOW = HONEST.replace(
    "    return x * factor", "    import time\n    time.sleep(0.3)\n    return x * factor"
)

EXPECTED = {
    "crashing": ("graded", "4", "0", "4"),
    "empty": ("rejected", "", "", ""),
    "honest": ("graded", "10", "6", "4"),
    "notebook": ("graded", "10", "6", "4"),
    "rubbish": ("rejected", "", "", ""),
    "wrong": ("graded", "4", "0", "4"),
}
"""Status, score, points of `scale` and of `Counter`."""


def write_class(folder: Path, **modules: str) -> Path:
    """Write modules by name, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def write_mixed_class(folder: Path) -> Path:
    """Write one submission of every kind of `EXPECTED`."""
    write_class(folder, honest=HONEST, wrong=WRONG, crashing=CRASHING, empty="")
    (folder / "rubbish.py").write_bytes(bytes(range(256)) * 8)
    scale, counter = HONEST.split("class Counter:")
    cells = [
        new_markdown_cell("# My work"),
        new_code_cell("!pip install something\nprint('scratch')"),
        new_code_cell(scale, metadata={"tags": ["export"]}),
        new_code_cell("class Counter:" + counter, metadata={"tags": ["export"]}),
        new_code_cell("assert scale(torch.ones(2), 3).sum() == 7, 'a failing scratch cell'"),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "notebook.ipynb")
    return folder


def start(
    watching: Watch, *arguments: object, environment: dict[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Start the command with the watched folder as TMPDIR."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GRADER_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "grader", *map(str, arguments)],
        env={**clean, "TMPDIR": str(watching.folder), "COLUMNS": "160", **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watching.judge(process.pid)
    return process


def grading(
    out: Path,
    *arguments: object,
    assignments: Path | None = None,
    reference: Path | None = None,
) -> list[object]:
    """Return the arguments that grade the target, or one in other folders."""
    folders = (assignments or TARGET / "assignments", reference or TARGET / "reference")
    options = ("--assignments", folders[0], "--reference", folders[1], "--out", out)
    return ["grade", "target", *arguments, *options]


def finish(process: "subprocess.Popen[str]", *, code: int = 0) -> tuple[str, str]:
    """Return stdout and stderr of a command that must end with `code` and without a traceback."""
    stdout, stderr = process.communicate(timeout=RUN_S)
    assert process.returncode == code, f"exit code {process.returncode}\n{stdout}\n{stderr}"
    assert "Traceback" not in stderr, stderr
    return stdout, stderr


def committed(out: Path) -> list[tuple[str, str, str]]:
    """Return submission, record and status of every committed record, oldest first."""
    path = out / "staff" / "grades.sqlite"
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(path, timeout=5)) as database:
            query = "SELECT submission, record_id, status FROM records ORDER BY created_at"
            return [tuple(row) for row in database.execute(query)]
    except sqlite3.OperationalError:  # its table is not yet made
        return []


def read_grades(out: Path) -> dict[str, tuple[str, ...]]:
    """Return the rows of `grades.csv`, in the form of `EXPECTED`."""
    with (out / "grades.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["submission"]: (row["status"], row["score"], row["scale"], row["Counter"])
            for row in csv.DictReader(file)
        }

"""A typo in a table is told before torch is imported; a broken solution is told alone."""

import dataclasses
import json
import subprocess
import sys

from rich.console import Console

from grader.commands.validate import print_validation
from grader.record.grade_record import to_json
from grader.validate.ledger import LedgerResult, LedgerRow
from grader.validate.validate import stopped
from tests.unit.validate.small_assignment import make_course

PROGRAM = """
import sys
from grader.commands.app import build_app
from grader.errors import AuthorError
try:
    build_app("validate")(sys.argv[1:], standalone_mode=False)
except AuthorError as error:
    print(error)
print("torch" in sys.modules)
"""


def test_an_unknown_key_is_told_before_torch_is_imported(tmp_path):
    loaded = make_course(tmp_path)
    table = loaded.folder / "assignment.toml"
    table.write_text(table.read_text() + 'timeout = "20"\n')
    command = ("validate", "tiny", "--assignments", str(tmp_path))
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told, imported = ran.stdout.splitlines()
    assert "timeout" in told
    assert imported == "False"


def test_a_broken_solution_is_told_without_any_table(tmp_path):
    console = Console(record=True, width=300)
    print_validation(stopped(make_course(tmp_path), ["double.values: the reason"]), console)
    assert console.export_text().splitlines() == [
        "COMPLAINT double.values: the reason",
        "tiny: the solution fails, so nothing else was run (repeat this run with --seed s)",
    ]


def test_the_ledger_is_a_table_with_a_sum_and_in_the_json(tmp_path):
    rows = (
        LedgerRow(place="double", sentences=3, promises=4, asked=3, not_graded=1),
        LedgerRow(place="State", sentences=2, promises=2, asked=2, not_graded=0),
    )
    report = stopped(make_course(tmp_path), [])
    report = dataclasses.replace(report, ledger=LedgerResult(rows=rows))
    console = Console(record=True, width=100)
    print_validation(report, console)
    printed = [line.split() for line in console.export_text().replace("│", " ").splitlines()]
    assert ["double", "3", "4", "3", "1"] in printed
    assert ["all", "5", "6", "5", "1"] in printed
    assert json.loads(to_json(report))["ledger"]["rows"][1]["place"] == "State"

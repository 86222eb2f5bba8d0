"""Every kernel compiles for every architecture, and the committed table is about these kernels.

Registers are not compared: they change with the version of the assembler.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kernels._load import OPERATIONS

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "benchmarks" / "results" / "kernels_compiled.json"
WHAT = ("case", "kernel", "sm")


def rows_of(path: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_everything_compiles_without_a_spill(tmp_path):
    """In a process of its own: this one interprets its kernels."""
    path = tmp_path / "compiled.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kernels.compiled", "--json", str(path)],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    fresh, committed = ([[row[key] for key in WHAT] for row in rows_of(p)] for p in (path, TABLE))
    assert fresh == committed, "python -m benchmarks.kernels.compiled writes the table anew"


@pytest.mark.parametrize("stem", OPERATIONS)
def test_the_table_knows_every_kernel(stem):
    found = {row["sm"] for row in rows_of(TABLE) if str(row["kernel"]).startswith(f"_{stem}")}
    assert found == {75, 80, 90}

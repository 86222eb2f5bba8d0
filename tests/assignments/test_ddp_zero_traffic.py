"""The reference of `ddp_zero` moves the bytes that theory says, in every world of two to four."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.bwrap  # it needs namespaces, as bubblewrap does
def test_every_kind_is_within_five_percent_of_theory(tmp_path: Path) -> None:
    table = tmp_path / "traffic.json"
    command = [sys.executable, "-m", "benchmarks.network_traffic", "--json", str(table)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=240)
    rows = json.loads(table.read_text())["rows"]
    assert {(row["kind"], row["world"]) for row in rows} == {
        (kind, world) for kind in ("DDP", "ZeRO-1", "ZeRO-2", "ZeRO-3") for world in (2, 3, 4)
    }
    assert [row for row in rows if not 1.0 <= row["ratio"] <= 1.05] == []

"""What is written to a file can be read again, and what is printed says whether bounds hold."""

import io

import pytest
from rich.console import Console

from benchmarks.verdicts.cells import Cell
from benchmarks.verdicts.ending import Verdict
from benchmarks.verdicts.live import LiveVerdict
from benchmarks.verdicts.machine import describe_machine
from benchmarks.verdicts.patterns import SAME
from benchmarks.verdicts.recording import Chunk, Recording
from benchmarks.verdicts.replay import replay_cell
from benchmarks.verdicts.result import Result, result_of
from benchmarks.verdicts.table import print_result
from grader.record.grade_record import from_json, to_json
from tests.unit.benchmarks.verdicts.pools import TARGET, cell, chunks_of


def recording_of(*cells: Cell, verdict: Verdict = Verdict.FAIL) -> Recording:
    live = LiveVerdict(cell=cell(1.1), verdict=verdict, ratio=1.37, forks=4, wall_s=2.5)
    return Recording(
        machine=describe_machine(),
        sandbox="bwrap",
        chunks=tuple(
            Chunk(cell=one, measured=chunk) for one in cells for chunk in chunks_of(one, chunks=2)
        ),
        live=(live,),
    )


def result(verdict: Verdict = Verdict.FAIL) -> Result:
    recording = recording_of(cell(SAME), cell(0.9), cell(1.1), verdict=verdict)
    tallies = [replay_cell(one, chunks, TARGET, 20) for one, chunks in recording.pools().items()]
    return result_of(recording, tallies, quick=True)


def printed(one: Result) -> str:
    console = Console(file=io.StringIO(), width=160)
    print_result(one, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_both_files_can_be_read_again():
    recording = recording_of(cell(1.1))
    assert from_json(Recording, to_json(recording)) == recording
    ended = result()
    assert from_json(Result, to_json(ended)) == ended


def test_a_table_of_what_holds():
    text = printed(result())
    assert "same as reference" in text
    assert "DOES NOT HOLD" not in text
    assert "A quick run proves nothing" in text


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.PASS_WITHIN_NOISE])
def test_one_wrong_live_verdict_breaks_a_bound(verdict):
    assert "DOES NOT HOLD" in printed(result(verdict))


def test_rates_come_with_their_intervals():
    (same, under, over) = result().cells
    assert (same.wrong, under.wrong, over.wrong) == (0, 0, 0)
    assert over.wrong_rate[0] == 0.0
    assert 0 < over.wrong_rate[1] < 0.2

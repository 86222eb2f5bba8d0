"""What hostile tests look for in the runner by name exists: else they would attack nothing."""

import inspect
from pathlib import Path

import pytest

from grader.runner import denial, protocol, worker
from grader.runner.ranks import collectives

HOSTILE = Path(__file__).resolve().parents[2] / "hostile"


@pytest.mark.parametrize(
    ("attack", "text", "found"),
    [
        ("test_44_denial_handle_hunt.py", '__name__ == "Denials"', denial.Denials.install),
        ("test_44_denial_handle_hunt.py", 'endswith("runner.denial")', denial),
        ("test_54_recorded_collectives.py", '__name__ == "Recorder"', collectives.Recorder.take),
        ("test_13_early_exit_from_a_race.py", '".protocol"', protocol),
        ("test_13_early_exit_from_a_race.py", '"serve"', worker.WorkerProcess.serve),
    ],
)
def test_what_an_attack_names_is_there(attack, text, found):
    source = (HOSTILE / attack).read_text(encoding="utf-8")
    assert text in source
    assert found.__name__.rpartition(".")[2] in source


def test_the_frame_that_an_early_exit_reads_holds_the_request():
    names = worker.WorkerProcess.serve.__code__.co_varnames
    assert {"self", "request"} <= set(names), inspect.getsource(worker.WorkerProcess.serve)

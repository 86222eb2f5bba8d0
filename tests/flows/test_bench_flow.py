"""`grader bench verdicts` as it is typed: quickly, in a real sandbox, and again from its file."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks.verdicts.cells import NEAR, Scale
from benchmarks.verdicts.patterns import Pattern, Slowness
from grader.commands.app import build_app


def bench(*arguments: str):
    return CliRunner().invoke(build_app("bench"), ["bench", "verdicts", *arguments])


@pytest.mark.bwrap
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_quick_run_and_its_replay(tmp_path, monkeypatch):
    steady = (Pattern.STEADY,)
    quicker = Scale(factors=(NEAR[-1],), rounds=1, series=100, live=1, patterns=steady)
    monkeypatch.setattr("benchmarks.verdicts.command.QUICK", quicker)
    pairs, result, again = (tmp_path / name for name in ("pairs.json.gz", "a.json", "b.json"))
    done = bench("--quick", "--sandbox", "bwrap", "--pairs", str(pairs), "--json", str(result))
    found = json.loads(result.read_text())
    # On a busy machine a bound may break; the exit code must say so.
    assert done.exit_code == (0 if all(bound["holds"] for bound in found["bounds"]) else 1)
    assert "A quick run proves nothing" in done.output
    assert found["sandbox"] == "bwrap"
    assert len(found["cells"]) == 4
    assert len(found["live"]) == 4
    for cell in found["cells"]:  # the work that was counted is the work that was measured
        tally = cell["tally"]
        assert sum(tally["verdicts"].values()) == tally["series"]
        assert abs(tally["pooled"]["log_ratio"] - known_log_ratio(tally)) < 0.25

    bench("--quick", "--replay", str(pairs), "--json", str(again))
    assert json.loads(again.read_text()) == found


def known_log_ratio(tally):
    slowness = tally["cell"]["slowness"]
    pattern = Pattern(slowness["pattern"])
    return Slowness(factor=slowness["factor"], pattern=pattern).log_ratio


def test_what_is_no_recording_is_refused(tmp_path):
    from grader.errors import UsageError

    wrong = tmp_path / "pairs.json.gz"
    wrong.write_text("no gzip")
    done = bench("--replay", str(wrong))
    assert isinstance(done.exception, UsageError)

"""The commands: files for every operation, refusal without a device, processes that fail, smoke."""

import json
import subprocess
import sys
import time
from dataclasses import asdict
from importlib import import_module

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.kernels import __main__ as command
from benchmarks.kernels._load import OPERATIONS
from benchmarks.kernels._result import Outcome

FOLDER = gpu.ROOT / "benchmarks" / "kernels"


@pytest.mark.parametrize("stem", OPERATIONS)
def test_every_operation_has_a_benchmark_of_its_stem(stem):
    text = (FOLDER / f"{stem}.py").read_text(encoding="utf-8")
    assert "Takes: a bench. Gives: `cases`" in text
    assert callable(import_module(f"benchmarks.kernels.{stem}").cases)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_it_refuses_without_a_device(tmp_path, capsys):
    assert command.main(["--out", str(tmp_path / "out")]) == 2
    assert "no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def process(monkeypatch):
    """Replace the process of an operation by a script that is given the JSON's path."""

    def use(script):
        popen = subprocess.Popen

        def start(arguments, **options):
            return popen([sys.executable, "-c", script, *arguments[4:5]], **options)

        monkeypatch.setattr(subprocess, "Popen", start)

    return use


def test_a_process_that_faults_is_broken_and_named(process):
    process("import sys; sys.exit('CUDA error: an illegal memory access')")
    (text,) = command.run_one("softmax", budget_s=1.0, limit_s=60.0).broken
    assert text == "softmax: ended with 1: CUDA error: an illegal memory access"


def test_a_process_that_hangs_is_stopped(process):
    process("import time; time.sleep(600)")
    (text,) = command.run_one("softmax", budget_s=1.0, limit_s=0.5).broken
    assert "stopped after" in text


def test_what_a_process_started_ends_with_it(process, tmp_path):
    late = tmp_path / "late"
    child = f"import time; time.sleep(3); open({str(late)!r}, 'w')"
    process(
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); "
        "time.sleep(600)"
    )
    assert command.run_one("softmax", budget_s=1.0, limit_s=1.0).broken
    time.sleep(3)
    assert not late.exists()


def test_no_operation_begins_after_the_limit(monkeypatch):
    monkeypatch.setattr(command, "LIMIT_S", 0.0)
    results = command.run_apart(("softmax", "matmul"), budget_s=1.0)
    assert [result.broken[0].partition(":")[0] for result in results] == ["softmax", "matmul"]


def test_make_gpu_shows_goals_and_fails_only_on_what_is_broken(monkeypatch, tmp_path, capsys):
    outcome = asdict(Outcome(operation="softmax", shape="s", goal="g", word="missed", metric="0.8"))

    def run(_command, _log, _environment):
        (tmp_path / "kernels").mkdir()
        found = {"result": {"outcomes": [outcome], "broken": []}}
        (tmp_path / "kernels" / "kernels.json").write_text(json.dumps(found))
        return True, {}

    monkeypatch.setattr(gpu, "_run", run)
    passed, found = gpu.kernels(tmp_path)
    assert passed
    assert isinstance(found, dict)
    assert found["goals"] == [outcome]
    assert "softmax s: g: 0.8: missed" in capsys.readouterr().out


def test_make_gpu_fails_without_a_result(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "_run", lambda *_: (True, {"exit_code": 0}))
    assert gpu.kernels(tmp_path)[0] is False


@pytest.mark.slow
def test_smoke_runs_every_operation_and_says_that_it_means_nothing(tmp_path):
    """In a process of its own, whose kernels are interpreted."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.kernels", "--smoke", "--out", str(tmp_path)],
        cwd=gpu.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "kernels.json").read_text(encoding="utf-8"))
    assert {"date", "hardware", "driver", "versions"} <= found["machine"].keys()
    rows = found["result"]["rows"]
    assert {row["operation"] for row in rows} == set(OPERATIONS)
    assert {o["word"] for o in found["result"]["outcomes"]} == {"not measured"}
    for name in ("kernels.json", "kernels.md", "kernels.svg"):
        assert "mean nothing" in (tmp_path / name).read_text(encoding="utf-8")

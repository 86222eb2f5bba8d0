"""`make gpu` refuses without a device; its parts do what they say, tried on the processor."""

import json

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.machine import describe_machine
from benchmarks.gpu.references import DeviceWorker, place, run_references
from grader.assignment.steps import Call, New, Ref
from grader.evidence.faults import Raised, Stopped

CPU = torch.device("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_it_refuses_without_a_device(tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path / "out")]) == 2
    assert "sees no CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(gpu, "NEEDED", ("torch", "no_such_package"))
    assert "lacks no_such_package" in gpu.refusal()


@pytest.fixture
def played(monkeypatch, tmp_path):
    """The command on a machine that is said to have a device, with parts of the test's own."""
    monkeypatch.setattr(gpu, "refusal", lambda: "")

    def play(*arguments, **parts):
        monkeypatch.setattr(gpu, "PARTS", parts)
        code = gpu.main(["--out", str(tmp_path), *arguments])
        return code, json.loads((tmp_path / "gpu.json").read_text())

    return play


def test_a_part_that_fails_or_breaks_is_red_and_stops_no_other(played):
    def broken(_):
        raise RuntimeError("no kernel image")

    code, result = played(a=lambda _: (True, 1), b=broken, c=lambda _: (True, {"x": 2}))
    assert code == 1
    assert [(part["name"], part["passed"]) for part in result["parts"]] == [
        ("a", True),
        ("b", False),
        ("c", True),
    ]
    assert result["parts"][1]["found"] == "RuntimeError: no kernel image"
    assert {"date", "hardware", "driver", "versions", "commit"} <= result["machine"].keys()


def test_all_green_is_green(played):
    code, result = played(a=lambda _: (True, []))
    assert (code, result["skipped"]) == (0, [])


def test_skipping_everything_is_not_green(played):
    code, result = played("--skip", "a", a=lambda _: (True, []))
    assert (code, result["skipped"], result["parts"]) == (1, ["a"], [])


def test_tests_that_skip_are_red(tmp_path, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is a device")
    passed, found = gpu.tests(tmp_path)
    assert not passed
    assert isinstance(found, dict)
    assert found["exit_code"] == 1
    assert "required by GRADER_REQUIRE" in (tmp_path / "pytest.log").read_text()


def test_the_machine_has_a_name():
    machine = describe_machine()
    assert json.dumps(machine)
    assert machine["hardware"]


TEXT = """
class Sum:
    def __init__(self, start, device="nowhere"):
        self.device, self.total = device, start.clone()
    def add(self, x):
        self.total += x
        return (self.total, [self.device, {"n": 1}])

def spoil(x):
    x += 1

def fail(x):
    raise ValueError("no")
"""


@pytest.fixture
def worker():
    names: dict[str, object] = {}
    exec(TEXT, names)
    return DeviceWorker(names, {}, CPU)


def test_an_object_is_made_on_the_device(worker):
    worker.new(Ref(0), New("Sum", torch.ones(2)))
    total, (device, rest) = worker.call(Call(Ref(0), "add", torch.ones(2)))
    assert (total.tolist(), device, rest) == ([2.0, 2.0], "cpu", {"n": 1})
    assert worker.wall_ns > 0
    worker.drop(Ref(0))


def test_faults_are_those_of_any_worker(worker):
    with pytest.raises(Stopped, match="changed"):
        worker.call(Call("spoil", torch.ones(1)))
    with pytest.raises(Raised, match="ValueError: no"):
        worker.call(Call("fail", torch.ones(1)))
    with pytest.raises(Stopped, match="not defined"):
        worker.call(Call("nothing"))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24.0).reshape(4, 6)[:, ::2].T,
        torch.arange(3.0).expand(4, 3),
        torch.zeros(0, 3),
        torch.arange(6.0)[2:],
        torch.arange(6.0).unfold(0, 3, 1),
    ],
)
def test_strides_are_kept(tensor):
    placed = place(tensor, CPU)
    assert placed.stride() == tensor.stride()
    assert torch.equal(placed, tensor)
    assert placed.data_ptr() != tensor.data_ptr() or not tensor.numel()


@pytest.mark.slow
# A module whose input needs no gradient may have a backward hook all the same.
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_references_pass_on_the_processor_too(tmp_path):
    """Two of them show that it works; `grader validate` has every reference pass its cases."""
    for slug in ("kv_cache", "paged_attention"):
        (tmp_path / slug).symlink_to(gpu.ROOT / "reference" / slug)
    reports = run_references(gpu.ROOT / "assignments", tmp_path, device="cpu")
    assert [report.assignment for report in reports] == ["kv_cache", "paged_attention"]
    assert all(report.cases and not report.failures for report in reports), reports

"""What every backend promises: start and stop, limits, no network, isolation, no leftovers."""

import os
import time
from pathlib import Path

import pytest
import torch

from grader.assignment.steps import Call
from grader.assignment.table import Limits
from grader.errors import SandboxError
from grader.evidence.faults import FaultKind, Raised, Stopped, fault_of
from grader.sandbox.sandbox import Sandbox
from tests.conformance.conftest import (
    FILE_BYTES,
    LIMITS,
    MIB,
    Kind,
    ask,
    build_sandbox,
    counters,
    fault,
    loaded,
)

pytestmark = pytest.mark.slow
TOO_MUCH_MIB = 400
IMPATIENT = Limits(
    load_wall_s=30.0, call_wall_s=0.5, memory_bytes=256 * MIB, processes=24, reply_bytes=MIB
)
PORT = 48211


def test_honest_work_succeeds_and_layers_are_named(sandbox: Sandbox, kind: Kind) -> None:
    x = torch.arange(12.0).view(3, 4)
    assert torch.equal(ask(sandbox, "double", x), x * 2)
    assert any(kind.layer in layer for layer in sandbox.layers), sandbox.layers
    assert any("memory and processes limited" in layer for layer in sandbox.layers)
    if kind.is_sandboxed:
        assert "seccomp" in sandbox.layers
        assert any("Landlock" in layer for layer in sandbox.layers)
        assert "no capabilities" in sandbox.layers
    else:
        assert not any("own pid" in layer for layer in sandbox.layers)


@pytest.mark.parametrize(
    "name", ["take_memory", "take_memory_in_a_fork", "take_memory_in_memory_files"]
)
def test_memory_is_limited_however_it_is_allocated(sandbox: Sandbox, kind: Kind, name: str) -> None:
    if not kind.is_sandboxed and name != "take_memory" and os.geteuid() != 0:
        pytest.skip("without a cgroup only private memory is limited")
    assert not succeeds(sandbox, name, TOO_MUCH_MIB)
    assert sandbox.usable
    assert ask(sandbox, "take_memory", 64) == 64


def succeeds(sandbox: Sandbox, name: str, mebibytes: int) -> bool:
    """Return whether so much memory could be allocated; it may only fail because memory ran out."""
    try:
        return bool(ask(sandbox, name, mebibytes))  # false if only a forked process was killed
    except Raised as raised:
        found = fault_of(raised)
    except Stopped as stopped:
        found = stopped.fault
    if found.kind is not FaultKind.OUT_OF_MEMORY:
        raise AssertionError(f"ended otherwise: {found}")
    return False


def test_processes_are_limited(sandbox: Sandbox) -> None:
    assert 1 <= ask(sandbox, "fork_many", 2 * LIMITS.processes) < LIMITS.processes
    assert ask(sandbox, "fork_many", 4) == 4


def test_preloaded_modules_are_imported_before_the_submission(sandbox: Sandbox) -> None:
    assert ask(sandbox, "imported", "colorsys", "wave") == ["colorsys"]


def test_modules_are_imported_later_for_a_submission_that_compiles(sandbox: Sandbox) -> None:
    sandbox.preload(("sched",))
    assert ask(sandbox, "imported", "sched", "wave") == ["sched"]
    with pytest.raises(SandboxError, match="no_such_module"):
        sandbox.preload(("no_such_module",))
    assert ask(sandbox, "imported", "sched") == ["sched"]  # the fork server lives on


def test_a_collection_in_a_child_leaves_what_was_imported_alone(sandbox: Sandbox) -> None:
    """It would copy 65 MB of shared pages, and charge them to the call that it falls in."""
    assert ask(sandbox, "walked_by_a_collection") < 20_000
    sandbox.preload(("sched",))
    assert ask(sandbox, "walked_by_a_collection") < 20_000


def test_a_full_home_is_an_error_of_the_student_s_alone(
    sandboxed_only: None, sandbox: Sandbox
) -> None:
    size_mib = FILE_BYTES // MIB
    written, refusal = ask(sandbox, "fill_home", 4 * size_mib)
    assert 0 < written <= size_mib
    assert refusal == "OSError"
    # The next child has an empty home.
    assert ask(sandbox, "fill_home", size_mib // 2) == (size_mib // 2, "")


def test_a_large_file_is_an_error_of_the_student_s_alone(sandbox: Sandbox) -> None:
    found = fault(sandbox, "write_one_file", 2 * FILE_BYTES // MIB)
    assert (found.kind, "OSError" in found.message) == (FaultKind.EXCEPTION, True)
    assert sandbox.usable


def test_there_is_no_network(sandboxed_only: None, sandbox: Sandbox) -> None:
    assert ask(sandbox, "network") == (False, ["lo"])


def test_files_of_the_judge_cannot_be_opened(
    sandboxed_only: None, sandbox: Sandbox, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the judge")
    own = f"/proc/{os.getpid()}"
    files = [str(secret), __file__, f"{own}/environ", f"{own}/cmdline", f"{own}/mem"]
    machine = ["/etc/passwd", "/etc/shadow", "/proc/1/environ", "/proc/self/mem", "/root", "/home"]
    assert ask(sandbox, "open_files", [*files, *machine]) == []


def test_two_sandboxes_do_not_see_each_other(
    sandboxed_only: None, sandbox: Sandbox, kind: Kind
) -> None:
    with build_sandbox(kind, slot=1) as neighbour, loaded(neighbour) as left:
        left.call(Call("leave_traces", "trace-of-a-neighbour", PORT))
        assert ask(sandbox, "find_traces", "trace-of-a-neighbour", PORT) == []
    assert ask(sandbox, "find_traces", "trace-of-a-neighbour", PORT) == []


def test_the_next_submission_sees_nothing_of_the_one_before(
    sandboxed_only: None, sandbox: Sandbox
) -> None:
    ask(sandbox, "leave_traces", "trace-of-the-one-before", PORT + 1)
    assert ask(sandbox, "find_traces", "trace-of-the-one-before", PORT + 1) == []


def test_other_limits_hold_inside_under_and_not_after(sandbox: Sandbox) -> None:
    small = Limits(
        load_wall_s=30.0, call_wall_s=20.0, memory_bytes=96 * MIB, processes=6, reply_bytes=MIB
    )
    with sandbox.under(small) as limited:
        assert fault(limited, "take_memory", 160).kind is FaultKind.OUT_OF_MEMORY
        assert ask(limited, "fork_many", 12, limits=small) < 6
    assert sandbox.usable
    assert ask(sandbox, "take_memory", 160) == 160
    assert ask(sandbox, "fork_many", 12) == 12


def test_a_frozen_tree_writes_nothing(sandbox: Sandbox) -> None:
    with loaded(sandbox) as session:
        session.call(Call("count_in_reply_memory", LIMITS.reply_bytes))
        time.sleep(0.1)  # a stopped process may finish the instruction it is in
        before = counters(session)
        time.sleep(0.4)
        assert counters(session) == before
        assert min(before) > 0
        session.call(Call("sleep", 0.3))
        after = counters(session)
        assert after[0] > before[0]
        assert after[1] > before[1]


@pytest.mark.parametrize(
    ("name", "kind_of_fault"),
    [
        ("absent", FaultKind.MISSING),
        ("raise_value_error", FaultKind.EXCEPTION),
        ("exit_early", FaultKind.CRASH),
        ("read_address_zero", FaultKind.CRASH),
        ("loop_forever", FaultKind.TIMEOUT),
        ("return_an_object", FaultKind.BAD_REPLY),
        ("answer_out_of_turn", FaultKind.BAD_REPLY),
    ],
)
def test_faults_are_told_apart(sandbox: Sandbox, name: str, kind_of_fault: FaultKind) -> None:
    limits = IMPATIENT if name == "loop_forever" else LIMITS
    found = fault(sandbox, name, limits=limits)
    assert (found.kind, sandbox.usable) == (kind_of_fault, True), found


def test_running_out_of_memory_is_told_apart(sandbox: Sandbox) -> None:
    assert fault(sandbox, "take_memory", TOO_MUCH_MIB).kind is FaultKind.OUT_OF_MEMORY


def test_a_changed_input_is_told_apart(sandbox: Sandbox) -> None:
    assert fault(sandbox, "add_in_place", torch.zeros(8)).kind is FaultKind.INPUT_CHANGED

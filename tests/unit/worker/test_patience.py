"""A call's limit ends later where others took the processors, and never without an end."""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.assignment.table import Limits
from grader.errors import CallTimeout, MachineBusy, SandboxError
from grader.sandbox.meter import Meter, Usage
from grader.sandbox.processors import Reading, read_threads
from grader.worker import patience
from grader.worker.patience import MOST_LATER, UNWATCHED_PART, CompileAllowance, Deadline

S = 1_000_000_000


@given(st.lists(st.floats(0, 200), max_size=8), st.floats(0.1, 30), st.floats(0.1, 90))
def test_compiling_takes_no_more_than_its_allowance(calls_s, limit_s, allowance_s):
    limits = Limits(compile_wall_s=allowance_s)
    allowance, spent_ns = CompileAllowance(limits, compiles=True), 0
    for call_s in calls_s:
        left_ns = allowance.left_s * S
        over_ns = allowance.spend(round(call_s * S), limit_s)
        assert over_ns == pytest.approx(min(max(call_s - limit_s, 0) * S, left_ns), abs=2)
        spent_ns += over_ns
    assert 0 <= spent_ns <= allowance_s * S + len(calls_s)
    assert allowance.left_s == pytest.approx(allowance_s - spent_ns / S, abs=1e-6)


def test_who_compiles_nothing_has_no_allowance():
    allowance = CompileAllowance(Limits(), compiles=False)
    assert (allowance.left_s, allowance.note, allowance.spend(10 * S, 4.0)) == (0.0, "", 0)


class Machine:
    """A machine whose clock and counters the test sets; all times in seconds."""

    def __init__(self, monkeypatch, cores=1):
        self.now = self.busy = self.stolen = self.ran = self.waited = 0.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(patience, "read_processors", self._processors)
        monkeypatch.setattr(os, "cpu_count", lambda: cores)

    def _processors(self):
        busy_ns, stolen_ns = round(self.busy * S), round(self.stolen * S)
        return Reading(now_ns=0, busy_ns=busy_ns, stolen_ns=stolen_ns, judge_ns=0)

    def read(self):
        """Return what the meter of the call's cgroup says."""
        ran_ns, queued_ns = round(self.ran * S), round(self.waited * S)
        return Usage(cpu_ns=ran_ns, peak_bytes=0, traffic_bytes=0, queued_ns=queued_ns)

    def run(self, seconds, *, share=1.0, waited=None, stolen=0.0):
        """Let time pass in which the call gets a share of the one processor."""
        self.now += seconds
        self.busy += seconds - stolen
        self.stolen += stolen
        self.ran += share * seconds
        self.waited += (1 - share) * seconds if waited is None else waited


def start(machine, limit_s=4.0):
    """Return the deadline of a call, past the part that is not watched."""
    deadline = Deadline(limit_s, (machine,), machine.now)
    assert deadline.wait_s() == pytest.approx(UNWATCHED_PART * limit_s)
    machine.run(UNWATCHED_PART * limit_s)
    assert deadline.wait_s() == pytest.approx((1 - UNWATCHED_PART) * limit_s)
    return deadline


def test_a_call_that_had_the_processor_ends_at_its_limit(monkeypatch):
    machine = Machine(monkeypatch)
    deadline = start(machine)
    machine.run(3.5)
    assert deadline.wait_s() == 0
    assert deadline.lost_ns() == 0


def test_what_others_took_is_given_back(monkeypatch):
    machine = Machine(monkeypatch)
    deadline = start(machine)
    machine.run(4.0, share=0.5)
    assert deadline.lost_ns() == 2 * S
    assert deadline.wait_s() == pytest.approx(1.5)
    machine.run(1.5)
    assert deadline.wait_s() == 0


def test_what_the_hypervisor_took_is_given_back(monkeypatch):
    machine = Machine(monkeypatch, cores=2)
    deadline = start(machine)
    machine.run(3.5, stolen=2.0)
    assert deadline.wait_s() == pytest.approx(1.0)


def test_waiting_for_its_own_threads_gains_nothing(monkeypatch):
    """Nobody else computed: threads that wait for each other are the submission's own matter."""
    machine = Machine(monkeypatch)
    deadline = start(machine)
    machine.run(3.5, waited=100.0)
    assert deadline.wait_s() == 0


def test_processes_that_it_starts_are_no_neighbours(monkeypatch):
    """They are in its cgroup: on four processors, three of them computed beside the call."""
    machine = Machine(monkeypatch, cores=4)
    deadline = start(machine)
    machine.run(3.5, waited=3.5)
    machine.busy += 3 * 3.5
    machine.ran += 3 * 3.5
    assert deadline.wait_s() == 0


def test_where_nothing_is_counted_nothing_is_later(monkeypatch):
    machine = Machine(monkeypatch)
    deadline = Deadline(4.0, (Meter(None, 1),), machine.now)
    machine.run(0.5, stolen=0.1)
    deadline.wait_s()
    machine.run(3.5, share=0.0, stolen=2.0)
    assert deadline.wait_s() == 0


def test_a_worker_that_has_ended_has_lost_nothing(monkeypatch):
    machine = Machine(monkeypatch)
    deadline = start(machine)
    machine.run(4.0, share=0.5)

    def gone():
        raise SandboxError("no such cgroup")

    monkeypatch.setattr(machine, "read", gone)
    assert deadline.lost_ns() == 0


def test_sleeping_on_a_busy_machine_gains_nothing(monkeypatch):
    machine = Machine(monkeypatch)
    deadline = start(machine)
    machine.run(3.5, share=0.0, waited=0.0)
    assert deadline.wait_s() == 0


def test_an_endless_call_ends(monkeypatch):
    machine = Machine(monkeypatch)
    deadline = start(machine)
    machine.run(4.0 * (1 + MOST_LATER), share=0.0)
    assert deadline.wait_s() == 0
    assert isinstance(deadline.error(), MachineBusy)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3])
def test_a_call_that_had_its_limit_of_a_processor_is_too_slow(monkeypatch, share):
    machine = Machine(monkeypatch)
    deadline = start(machine)
    machine.run(3.5 / share + 1e-6, share=share)
    assert deadline.wait_s() == 0
    assert type(deadline.error()) is CallTimeout


def test_a_call_that_sleeps_beside_others_is_too_slow(monkeypatch):
    machine = Machine(monkeypatch)
    deadline = start(machine)
    machine.run(4.0 * (1 + MOST_LATER), share=0.0, waited=0.0)
    assert deadline.wait_s() == 0
    assert type(deadline.error()) is CallTimeout


@given(parts=st.lists(st.tuples(st.floats(0.01, 5.0), st.floats(0.0, 1.0)), min_size=1))
def test_a_call_gets_its_limit_of_processor_time(parts):
    """Whatever the shares: it ends with the limit computed, or with all that is given back."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        machine = Machine(monkeypatch)
        deadline = start(machine)
        for seconds, share in parts:
            machine.run(seconds, share=share)
        over = deadline.wait_s() == 0
        late = machine.now >= 4.0 * (1 + MOST_LATER) - 1e-6
        assert over == (machine.ran >= 4.0 - 1e-6 or late)


class Threads:
    """Stands for the meter of a cgroup with one process in it."""

    def __init__(self, pid):
        self.pid = pid

    def read(self):
        times = read_threads((self.pid,))
        return Usage(cpu_ns=times.ran_ns, peak_bytes=0, traffic_bytes=0, queued_ns=times.waited_ns)


SPIN = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="no such counters here")
def test_a_process_beside_two_others_gets_more_time():
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(3):
            processes.append(subprocess.Popen([sys.executable, "-c", SPIN]))
            stack.callback(processes[-1].wait)
            stack.callback(processes[-1].kill)
        time.sleep(0.3)
        begin_s = time.perf_counter()
        deadline = Deadline(1.0, (Threads(processes[0].pid),), begin_s)  # type: ignore[arg-type]
        while wait_s := deadline.wait_s():
            time.sleep(wait_s)
        assert time.perf_counter() - begin_s > 1.3
        assert deadline.lost_ns() > 0.3 * S

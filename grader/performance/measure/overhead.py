"""What a measurement contains besides the submission's work: the grader's calls, other processes.

A *null call* is a call of a function that does nothing. Its cost, measured in an empty sandbox, is
later subtracted from every measured time (see `performance.decide.totals`). On a device, a call
also maps the memory of its arguments while the clock runs, and for large arguments that costs more
than everything else: null calls with arguments of the same sizes are measured too.

The counters of the whole machine are read before and after each pair of runs. They show how much
processor time other processes, or the hypervisor, took in between.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch

from grader.assignment.steps import Call
from grader.assignment.table import Limits
from grader.evidence.samples import EmptyCalls
from grader.intake.submission import Submission
from grader.sandbox.sandbox import Sandbox
from grader.worker.machine import TimedMachine
from grader.worker.ranks.ranks import AnySession, RankedWorker

BLOCKS = 12
"""Blocks of null calls. Processor time is read once per block: its counters are too coarse for one
call."""
RANK_BLOCKS = 4
BLOCK_CALLS = 20
TRANSFER_CALLS = 24
TRANSFER_SIZES = 6
"""Argument sizes that are measured at most; a size between two of them costs what the next larger
one does."""

_NULL_TEXT = '''"""A submission of the grader itself, to measure what a call costs."""


def nothing(*arguments: object) -> None:
    """Return at once."""
'''
_NULL_SUBMISSION = Submission.of_text("empty", _NULL_TEXT)


class NullCalls:
    """The costs of null calls in one sandbox; those of ranks are measured when first needed.

    Every method raises `SandboxError` if the worker fails, and `DeviceError` if the device refuses.
    """

    def __init__(self, sandbox: Sandbox, limits: Limits, machine: TimedMachine) -> None:
        self._sandbox, self._limits, self._machine = sandbox, limits, machine
        self.in_worker = self._in_worker()
        self._in_ranks: dict[int, EmptyCalls] = {0: self.in_worker}

    def _in_worker(self) -> EmptyCalls:
        with self._open() as session:
            found = _time_blocks(session, lambda: session.call(Call("nothing")), BLOCKS)
        return replace(found, traffic_bytes=0)  # a plain worker has no network

    def in_ranks(self, ranks: int) -> EmptyCalls:
        """Return the cost of a step of `ranks` ranks that do nothing; of 0 ranks, of a plain call.

        The network should be silent then; `traffic_bytes` is what crossed it all the same.
        """
        if ranks not in self._in_ranks:
            with RankedWorker(
                self._sandbox, _NULL_SUBMISSION, limits=self._limits, most=ranks
            ) as worker:
                worker.load()
                worker.world(ranks)
                steps = dict.fromkeys(range(ranks), Call("nothing"))
                ask = partial(worker.ask, steps, None)
                self._in_ranks[ranks] = _time_blocks(worker, ask, RANK_BLOCKS)
        return self._in_ranks[ranks]

    def with_arguments(self, sizes_bytes: Iterable[int]) -> tuple[EmptyCalls, ...]:
        """Return the cost of calls on a device whose arguments fill memory blocks of these sizes.

        Each size is a multiple of the device's allocation granularity.
        """
        found: list[EmptyCalls] = []
        with self._open() as session:
            for size_bytes in _spread(sorted(set(sizes_bytes))):
                call = Call("nothing", torch.zeros(size_bytes, dtype=torch.uint8))
                before_cpu_ns = session.usage().cpu_ns
                wall_ns = _time_calls(session, partial(session.call, call), TRANSFER_CALLS + 1)
                found.append(
                    EmptyCalls(
                        wall_ns=tuple(wall_ns[1:]),  # the first one is a warm-up
                        cpu_ns=(session.usage().cpu_ns - before_cpu_ns,),
                        block=TRANSFER_CALLS + 1,
                        transfer_bytes=size_bytes,
                    )
                )
        return tuple(found)

    @contextmanager
    def _open(self) -> Iterator[AnySession]:
        with self._machine.open_worker(
            self._sandbox, _NULL_SUBMISSION, limits=self._limits
        ) as session:
            session.load()
            yield session


def _time_blocks(worker: AnySession, ask: Callable[[], object], blocks: int) -> EmptyCalls:
    """Time blocks of calls; a first block is a warm-up."""
    _time_calls(worker, ask, BLOCK_CALLS)
    first = worker.usage()
    wall_ns: list[int] = []
    cpu_ns: list[int] = []
    for _ in range(blocks):
        before_ns = worker.usage().cpu_ns
        wall_ns += _time_calls(worker, ask, BLOCK_CALLS)
        cpu_ns.append(worker.usage().cpu_ns - before_ns)
    return EmptyCalls(
        wall_ns=tuple(wall_ns),
        cpu_ns=tuple(cpu_ns),
        block=BLOCK_CALLS,
        traffic_bytes=worker.usage().traffic_bytes - first.traffic_bytes,
    )


def _time_calls(worker: AnySession, ask: Callable[[], object], calls: int) -> list[int]:
    """Return the wall time of each of some calls in ns."""
    wall_ns: list[int] = []
    for _ in range(calls):
        before_ns = worker.wall_ns
        ask()
        wall_ns.append(worker.wall_ns - before_ns)
    return wall_ns


def _spread(sizes: list[int]) -> list[int]:
    """Return at most `TRANSFER_SIZES` of the ascending sizes, evenly, the largest among them."""
    step = max(-(-len(sizes) // TRANSFER_SIZES), 1)
    return sizes[::-1][::step][::-1]

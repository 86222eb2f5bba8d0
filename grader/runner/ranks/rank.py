"""One rank of a process group: a worker that joins the group before it loads a submission.

Rank 0 listens, the judge tells the others its port, and all join. The ranks exchange data over the
loopback of the network namespace that they share (see `runner.fork_server`); the judge counts it
from outside. A rank prints its Python stack when it receives `STACK_SIGNAL`.
"""

import contextlib
import datetime
import faulthandler
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch.distributed as dist
from torch._C._distributed_c10d import TCPStore

from ..order import STACK_SIGNAL
from ..tensors import Memory
from ..worker import Json, WorkerProcess
from .collectives import Recorder, begin

BACKEND = "gloo"
ADDRESS = "127.0.0.1"


@dataclass(slots=True)
class Rank(WorkerProcess):
    """One rank.

    Attributes:
        rank: its number.
        world: number of ranks in the process group.
    """

    rank: int = 0
    world: int = 1
    _store: TCPStore | None = None
    _recorder: list[Recorder] = field(default_factory=list)

    def carry_out(self, request: dict[str, Json], memory: Memory | None) -> dict[str, Json]:
        """Carry out a request and return the reply."""
        if request["op"] == "listen":
            with _silence():
                return self._express(self._listen())
        if request["op"] == "join":
            with _silence():
                self._join(request["port"], request["seconds"])
            if request["record"]:
                self._recorder.append(begin())
            return self._express(None)
        if request["op"] == "recorded":
            return self._express(self._recorder[0].take())
        return WorkerProcess.carry_out(self, request, memory)

    def _listen(self) -> int:
        """Open the process group's store and return its port."""
        self._store = TCPStore(ADDRESS, 0, world_size=None, is_master=True, wait_for_workers=False)
        return int(self._store.port)

    def _join(self, port: int, seconds: float) -> None:
        """Join the default process group; `seconds` bounds the wait for the other ranks."""
        limit = datetime.timedelta(seconds=seconds)
        store = self._store or TCPStore(ADDRESS, port, is_master=False)
        dist.init_process_group(
            BACKEND, store=store, rank=self.rank, world_size=self.world, timeout=limit
        )
        dist.barrier()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep warnings of libraries (a loopback has no host names) out of the student's output."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def show_stack_on_signal(fd: int) -> None:
    """Write the Python stack of every thread to `fd` when `STACK_SIGNAL` arrives.

    The handler is in C and takes no lock, so it works while a rank hangs in a collective.
    """
    faulthandler.register(STACK_SIGNAL, file=fd, all_threads=True, chain=False)

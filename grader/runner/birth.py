"""What a fresh fork of the fork server does before it serves: descriptors, confinement, output.

The fork itself is made in `runner.fork_server`; requests are answered in `runner.worker` and
`runner.ranks.rank`.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import protocol
from .order import ForkOrder

if TYPE_CHECKING:
    from . import tensors
    from .denial import Denials

Json = Any  # a message's fields


def become_child(order: ForkOrder, fds: list[int], denials: "Denials") -> None:
    """Confine this fresh fork, then serve the judge's requests until the end; never returns."""
    status = 70  # EX_SOFTWARE: confinement failed, the submission was never touched
    try:
        denials.seal(order.denial.problem)
        _serve_as_child(order, fds)
        status = 0
    except BaseException as error:  # noqa: BLE001 - last frame of the process: print and end
        os.write(2, f"child: {type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def _serve_as_child(order: ForkOrder, fds: list[int]) -> None:
    from . import confinement, tensors, worker

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    channel_fd, memory_fd, output_fd, *stack_fds = _keep_only(fds)
    channel = socket.socket(fileno=channel_fd)
    memory = tensors.map_memory(memory_fd, populate=False)
    os.close(memory_fd)
    layers = confinement.enter(order)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.close(output_fd)
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    further: dict[str, Callable[[dict[str, Json]], Json]] = {}
    if order.device == "compile":
        from . import ahead_of_time

        compiler = ahead_of_time.KernelCompiler(order.home)
        compiler.install()
        further["kernels"] = lambda _: compiler.report()
    if order.device == "nvcc":
        from .cuda import nvcc

        further["build"] = lambda request: nvcc.compile_library(request, order.home)
    protocol.send(channel, {"ready": list(layers)})
    if order.world:
        _serve_as_rank(order, channel, memory, stack_fds[0])
        return
    process: type[worker.WorkerProcess] = worker.WorkerProcess
    if order.device == "cuda":
        from .cuda.worker import CudaWorkerProcess  # imported before the fork; begins no CUDA

        process = CudaWorkerProcess
    process(channel=channel, reply_memory=memory, home=order.home, further=further).serve()


def _serve_as_rank(
    order: ForkOrder, channel: socket.socket, memory: "tensors.Memory", stack_fd: int
) -> None:
    from .ranks import rank  # imported before the fork

    rank.show_stack_on_signal(stack_fd)
    member = rank.Rank(
        channel=channel, reply_memory=memory, home=order.home, rank=order.rank, world=order.world
    )
    member.serve()


def _keep_only(fds: list[int]) -> list[int]:
    """Move the child's descriptors to 3, 4, 5, …; close all others except 0, 1 and 2."""
    high = [os.dup2(fd, 200 + number, inheritable=False) for number, fd in enumerate(fds)]
    low = [os.dup2(fd, 3 + number, inheritable=False) for number, fd in enumerate(high)]
    os.closerange(3 + len(fds), 65536)
    return low

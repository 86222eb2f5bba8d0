"""The interface that every sandbox backend implements.

The confinement of children inside the sandbox is in `runner.confinement`; they are forked and ended
in `sandbox.sandbox`.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from grader import __version__
from grader.runner.order import WorkerKind

DEFAULT_IMAGE = f"grader-sandbox:{__version__}"
"""Name of the container image that the Docker sandbox uses."""


class Isolation(StrEnum):
    """Whether submissions of a batch share a sandbox one after another, or get a new one each."""

    WARM = "warm"
    STRICT = "strict"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a sandbox is asked to provide.

    Attributes:
        slot: number of the sandbox; no two sandboxes have the same at a time.
        gpu_uuid: the one GPU that it gets; empty for none.
        device: `cpu`, `compile`, `nvcc` or `cuda`; see `ForkOrder`.
        memory_bytes: limit for the whole sandbox: the fork server and one submission.
        processes: limit for the whole sandbox.
        file_bytes: size of each tmpfs in it.
        threads: for tensor operations of the submission.
        image: container image, for backends that need one.
        loopback: whether a submission may open internet sockets.
        preload: modules that the fork server imports, besides torch and Triton.
    """

    slot: int
    device: str
    memory_bytes: int
    processes: int
    file_bytes: int
    threads: int
    image: str
    gpu_uuid: str = ""
    loopback: bool = False
    preload: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A running sandbox, whose fork server is ready for orders.

    Attributes:
        control: socket to the fork server.
        stop: ends everything in the sandbox and removes it; may be called twice.
        log: returns the end of what the fork server printed, for messages about our own failures.
        layers: names of the layers of isolation, outermost first.
        worker_kind: how the fork server can keep children apart.
        first_uid: first of 64 uids for children; 0 if children keep the fork server's uid.
        home: folder that a child may write to, as a path in the sandbox.
        image_id: content address of the container image; empty without a container.
    """

    control: socket.socket
    stop: Callable[[], None]
    log: Callable[[], str]
    layers: tuple[str, ...]
    worker_kind: WorkerKind
    first_uid: int
    home: str
    image_id: str = ""


class Backend(Protocol):
    """One way to build a sandbox."""

    def start(self, spec: SandboxSpec) -> Started:
        """Build a sandbox and start the fork server in it.

        Raises:
            SandboxError: always our or the machine's fault; its hint says what to do.
        """

"""What a wall is asked for and what it gives: the seam that every backend fills.

Takes: nothing. Gives: `SandboxSpec`, `Started`, `Backend`. Does not cover: the jail inside the wall
(see `runner.confinement`) and the life of children (see `sandbox.sandbox`).
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from grader.runner.order import WorkerKind


class Isolation(StrEnum):
    """Whether submissions of a batch share a warm process or get a wall each."""

    WARM = "warm"
    STRICT = "strict"


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """What a wall must hold.

    Attributes:
        slot: number of the worker slot; no two walls at a time have the same.
        gpu_uuid: the one GPU that the wall is given, by name; empty for none.
        device: `cpu`, `compile`, `nvcc` or `cuda`; see `ForkOrder`.
        memory_bytes: for all of the wall: the warm process and one submission.
        processes: for all of the wall.
        file_bytes: of each memory file system in the wall.
        threads: for tensor operations of the submission.
        image: container image, for the backends that need one.
        loopback: whether a submission may open internet sockets.
        preload: modules that the warm process imports besides torch and Triton.
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
    """A wall that stands, with a warm process behind it that has said hello.

    Attributes:
        control: to the warm process.
        stop: ends everything in the wall and removes it; may be called twice.
        log: what the warm process printed, for messages about our own failures.
        layers: names of what the wall keeps apart, outermost first.
        jail: what its rights allow the warm process to do for each child.
        first_uid: first of 64 uids for children; 0 where children keep the warm process's own.
        home: folder that the child may write to, as a path in the box.
        image_id: content address of the container image; empty without a container.
    """

    control: socket.socket
    stop: Callable[[], None]
    log: Callable[[], str]
    layers: tuple[str, ...]
    jail: WorkerKind
    first_uid: int
    home: str
    image_id: str = ""


class Backend(Protocol):
    """One way to build a wall."""

    def start(self, spec: SandboxSpec) -> Started:
        """Build a wall and start the warm process in it.

        Raises:
            SandboxError: always our or the machine's fault; the hint says what to do.
        """

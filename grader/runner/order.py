"""The records that tell the fork server which child to fork and how to confine it.

They travel as JSON. `runner.confinement` carries out a `ForkOrder`, `runner.denial` a `Denial`.
"""

import signal
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

STACK_SIGNAL = signal.SIGUSR1
"""A rank that receives it prints the Python stack of each thread."""


class WorkerKind(StrEnum):
    """How the fork server can keep children apart, with the rights it has in its sandbox.

    NAMESPACES: own pid, mount, network and ipc namespaces, and own uid where a range is mapped.
    UID: own uid, one child at a time, in the sandbox's namespaces.
    PLAIN: neither; only Landlock and seccomp, where Linux has them (an unconfined run).
    """

    NAMESPACES = "namespaces"
    UID = "uid"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Operators and modules that raise in a child.

    Attributes:
        problem: name of the problem that denies them; part of the message to the student.
        entries: of the `denied` list in `assignment.toml`; empty if nothing is denied.
    """

    problem: str = ""
    entries: tuple[str, ...] = ()


NO_DENIAL = Denial()


def is_module(entry: str) -> bool:
    """Return whether an entry of a `denied` list names a module or class of Python.

    `torch.nn.parallel` does; `aten::mm` names an operator of torch's dispatcher.
    """
    return entry.startswith("torch.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkOrder:
    """How one child is to be confined.

    Attributes:
        uid: user and group to become; 0 keeps those of the fork server.
        home: folder that the child may write to.
        judge_pid_namespace: name of the judge's pid namespace. The fork server freezes and kills
            every process it can see, so it refuses to fork in this one. Empty for PLAIN.
        memory_bytes: limit of private memory beyond what the fork server holds; 0 for none, if a
            cgroup limits it.
        processes: limit of processes per uid; 0 for none, if a cgroup limits them.
        file_bytes: size of the memory file systems mounted for the child.
        device: `cpu` (Triton interprets), `compile` (Triton compiles, nothing runs), `nvcc`
            (only the CUDA compiler runs) or `cuda`.
        loopback: whether internet sockets may be opened.
        world: number of ranks in its process group; 0 if it is no rank. The ranks share one
            network namespace and nothing else.
        rank: its number in the process group.
        pinned_cpu: the CPU to pin it to, as an index modulo the CPUs it may use; -1 for no pinning.
    """

    kind: WorkerKind
    uid: int
    home: str
    judge_pid_namespace: str
    memory_bytes: int
    processes: int
    file_bytes: int
    threads: int
    device: str
    loopback: bool
    denial: Denial = NO_DENIAL
    world: int = 0
    rank: int = 0
    pinned_cpu: int = -1

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the order."""
        return asdict(self)

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> "ForkOrder":
        """Return the order whose JSON form is `form`."""
        wanted = form["denial"]
        denial = Denial(problem=wanted["problem"], entries=tuple(wanted["entries"]))
        return cls(**{**form, "kind": WorkerKind(form["kind"]), "denial": denial})

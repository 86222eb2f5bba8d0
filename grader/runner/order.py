"""What the judge asks of the warm process: one frozen record per order, as JSON on the way.

Takes: nothing. Gives: `ForkOrder`, `Denial`. Does not cover: carrying it out (see
`runner.confinement`).
"""

import signal
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

STACK_SIGNAL = signal.SIGUSR1


class WorkerKind(StrEnum):
    """What the wall's rights allow the warm process to do for each child.

    NAMESPACES: own pid, mount, network and ipc namespaces, and a uid where a range is mapped.
    UID: a uid of its own, one at a time, in the wall's namespaces.
    PLAIN: neither; Landlock and seccomp where the kernel has them (an unconfined run).
    """

    NAMESPACES = "namespaces"
    UID = "uid"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """What torch refuses to do for a child.

    Attributes:
        problem: name of the problem that asks for it; part of what a student reads.
        entries: of the `denied` list in `assignment.toml`; empty if nothing is denied.
    """

    problem: str = ""
    entries: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        """The entries that name modules and classes of Python, such as `torch.nn.parallel`."""
        return tuple(entry for entry in self.entries if is_module(entry))

    @property
    def operators(self) -> tuple[str, ...]:
        """The entries that name operators of torch's dispatcher, such as `aten::mm`."""
        return tuple(entry for entry in self.entries if not is_module(entry))


def is_module(entry: str) -> bool:
    """Return whether an entry of a `denied` list names a module or class and no operator."""
    return entry.startswith("torch.")


NO_DENIAL = Denial()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkOrder:
    """How one child is to be confined.

    Attributes:
        kind: what the wall's rights allow.
        uid: user and group to become; 0 keeps the warm process's own.
        home: folder that the child may write to; the warm process makes it.
        judge_pid_namespace: inode of the judge's pid namespace; the warm process refuses to freeze
            or kill "everything it can see" if it is its own. Empty for PLAIN.
        memory_bytes: bytes of private memory beyond what the warm process holds; 0 leaves the
            limit to a cgroup.
        processes: processes of one uid; 0 leaves the limit to a cgroup.
        file_bytes: size of the memory file systems mounted for the child.
        threads: threads for tensor operations.
        device: `cpu` (Triton interprets), `compile` (Triton compiles, nothing runs), `nvcc`
            (nothing but the CUDA compiler runs) or `cuda`.
        loopback: whether internet sockets may be opened.
        denial: operators and modules of torch that raise.
        world: size of the process group that it is a rank of; 0 for a box of its own. The ranks of
            a group share one network namespace and nothing else.
        rank: its number in the group.
        processor: which of the processors that it may use it stays on, counted round and round; -1
            for any.
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
    processor: int = -1

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the order."""
        return asdict(self)

    @classmethod
    def from_json(cls, form: dict[str, Any]) -> "ForkOrder":
        """Return the order whose JSON form is `form`."""
        wanted = form["denial"]
        denial = Denial(problem=wanted["problem"], entries=tuple(wanted["entries"]))
        return cls(**{**form, "kind": WorkerKind(form["kind"]), "denial": denial})

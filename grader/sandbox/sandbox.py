"""A running sandbox and its children: it forks, freezes and ends them, and cleans up after them.

A sandbox holds one submission at a time. When the `with` block of a child ends, its processes are
killed and its files are removed. If that fails, the sandbox is not used again. Requests to a child
are made in `worker.session`, those to several ranks in `worker.ranks`.
"""

import contextlib
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from grader.assignment.table import Limits
from grader.errors import SandboxError, SandboxLost
from grader.evidence.faults import Ending
from grader.runner import protocol
from grader.runner.order import NO_DENIAL, Denial, ForkOrder, WorkerKind
from grader.sandbox.cgroup import Cgroup, make_cgroup, remove_parents
from grader.sandbox.child_process import (
    NO_RANK,
    ChildProcess,
    Member,
    await_ready,
    close_all,
    enter_cgroup,
    pass_credentials,
)
from grader.sandbox.contract import SandboxSpec, Started
from grader.sandbox.meter import Meter, limited_network
from grader.sandbox.stale import owner

CONTROL_SECONDS = 30.0
IMPORT_SECONDS = 180.0
UIDS_PER_SANDBOX = 64


class Sandbox:
    """One running sandbox, which holds one submission at a time.

    Attributes:
        slot: number of the sandbox among those of the run.
        usable: whether the sandbox can hold another submission.
        layers: names of all layers of isolation; complete after the first child.
    """

    def __init__(self, started: Started, spec: SandboxSpec, limits: Limits) -> None:
        self._started = started
        self._spec = spec
        self._limits = limits
        self._forked = 0
        self.slot = spec.slot
        self.usable = True
        self._preloaded: tuple[str, ...] = ()
        self.layers = started.layers
        self._cgroups: list[Cgroup] = []  # of current children, and earlier ones not yet removed

    def preload(self, modules: tuple[str, ...]) -> None:
        """Let the fork server import modules, unless it has: no child is charged for them then.

        Raises:
            SandboxError: if it cannot.
        """
        if modules != self._preloaded:
            self._ask({"op": "import", "modules": modules}, limit_s=IMPORT_SECONDS)
            self._preloaded = modules

    @contextlib.contextmanager
    def child(self, reply_fd: int, denial: Denial = NO_DENIAL) -> Iterator[ChildProcess]:
        """Fork a child; when the block ends, kill it and clean up.

        Args:
            reply_fd: memory file for its reply tensors.
            denial: operators and modules of torch that raise in it.

        Raises:
            SandboxError: if it cannot be confined or limited.
        """
        with self._swept_after() as homes, self._fork(homes, reply_fd, denial, NO_RANK) as child:
            yield child

    @contextlib.contextmanager
    def ranks(
        self, reply_fds: Sequence[int], denial: Denial = NO_DENIAL, *, network_rate: int = 0
    ) -> Iterator[tuple[ChildProcess, ...]]:
        """Fork one rank per memory file for replies; when the block ends, kill them and clean up.

        They share a network namespace; it holds only them, if this sandbox can make one. Each has
        its own cgroup, home and confinement. If `network_rate` is not 0, it limits their network
        traffic, in bytes per second, and each rank is pinned to one CPU with a higher CPU weight.

        Raises:
            SandboxError: if one cannot be confined or limited.
        """
        with self._swept_after() as homes, contextlib.ExitStack() as stack:
            members = [
                Member(rank=rank, size=len(reply_fds), is_pinned=network_rate > 0)
                for rank in range(len(reply_fds))
            ]
            children = tuple(
                stack.enter_context(self._fork(homes, fd, denial, member))
                for fd, member in zip(reply_fds, members, strict=True)
            )
            if network_rate:
                if self._started.worker_kind is WorkerKind.PLAIN:
                    raise SandboxError(
                        "the network cannot be slowed: without a sandbox it is the machine's own",
                        hint="use --sandbox docker or bwrap",
                    )
                stack.enter_context(limited_network(children[0].host_pid, network_rate))
            yield children

    @contextlib.contextmanager
    def _swept_after(self) -> Iterator[list[str]]:
        """Yield a list for the homes of children; when the block ends, kill them and clean up."""
        homes: list[str] = []
        try:
            yield homes
        finally:
            if homes:
                self._sweep(homes)

    @contextlib.contextmanager
    def _fork(
        self, homes: list[str], reply_fd: int, denial: Denial, member: Member
    ) -> Iterator[ChildProcess]:
        cgroup = self._make_cgroup(high_weight=member.is_pinned)
        homes.append(self._make_home())
        ours, theirs = socket.socketpair()
        pass_credentials(ours, True)  # before the child can send
        output, output_theirs = os.pipe()
        stack, stack_theirs = os.pipe() if member.size else (-1, -1)
        exit_fd = -1
        is_yielded = False
        try:
            order = self._order(homes[-1], denial, member, limited_outside=cgroup is not None)
            try:
                fds = (theirs.fileno(), reply_fd, output_theirs, stack_theirs)
                answer = self._ask(
                    {"op": "fork", "child": order.to_json()}, fds if member.size else fds[:3]
                )
            finally:
                theirs.close()
                close_all(output_theirs, stack_theirs)
            host_pid, layers = await_ready(ours, self._started.log)
            pass_credentials(ours, False)
            exit_fd = os.pidfd_open(host_pid) if hasattr(os, "pidfd_open") else -1
            self.layers = (*self._started.layers, enter_cgroup(cgroup, host_pid), *layers)
            with contextlib.closing(Meter(cgroup, host_pid)) as meter:
                is_yielded = True  # from here on, the reader of the output closes it
                yield ChildProcess(
                    pid=answer["pid"],
                    host_pid=host_pid,
                    exit_fd=exit_fd,
                    channel=ours,
                    output_fd=output,
                    meter=meter,
                    stack_fd=stack,
                )
        finally:
            ours.close()
            close_all(exit_fd, stack, -1 if is_yielded else output)

    def freeze(self) -> None:
        """Stop every process of the submission, before any of its results are read."""
        self._ask({"op": "freeze"})

    def thaw(self) -> None:
        """Let every process of the submission continue; does not wait until they do."""
        self._tell({"op": "thaw"})

    def ending(self, child: ChildProcess, wait_s: float) -> Ending:
        """Return how a child ended; wait for its end up to `wait_s` seconds."""
        try:
            status = self._ask({"op": "wait", "pid": child.pid, "seconds": wait_s})["status"]
        except SandboxError:
            return Ending(sandbox_alive=False, exited=False, status=0, oom_kills=0)
        return Ending(
            sandbox_alive=True,
            exited=status is not None,
            status=status or 0,
            oom_kills=child.meter.oom_kills(),
        )

    @contextlib.contextmanager
    def under(self, limits: Limits) -> Iterator["Sandbox"]:
        """Lend the same sandbox under other limits, for a self-test."""
        other = Sandbox(self._started, self._spec, limits)
        try:
            yield other
        finally:
            self.usable = self.usable and other.usable

    def close(self) -> None:
        """End everything and remove the sandbox.

        Raises:
            SandboxError: if a cgroup cannot be removed.
        """
        self.usable = False
        try:
            self._started.stop()
        finally:
            self._remove_cgroups()
            remove_parents()

    def _remove_cgroups(self) -> None:
        while self._cgroups:
            self._cgroups[-1].remove()
            self._cgroups.pop()

    def _make_cgroup(self, *, high_weight: bool) -> Cgroup | None:
        cgroup = make_cgroup(
            f"{owner()}-{self.slot}-{secrets.token_hex(4)}",
            memory_bytes=self._limits.memory_bytes,
            processes=self._limits.processes,
            high_weight=high_weight,
        )
        self._cgroups += [cgroup] if cgroup else []
        return cgroup

    def _order(
        self, home: str, denial: Denial, member: Member, *, limited_outside: bool
    ) -> ForkOrder:
        uid = self._started.first_uid
        plain = self._started.worker_kind is WorkerKind.PLAIN
        namespace = "" if plain else str(Path("/proc/self/ns/pid").readlink())
        first_cpu = self.slot * self._limits.ranks
        return ForkOrder(
            kind=self._started.worker_kind,
            uid=uid + self._forked % UIDS_PER_SANDBOX if uid else 0,
            home=home,
            judge_pid_namespace=namespace,
            memory_bytes=0 if limited_outside else self._limits.memory_bytes,
            # Without a uid or namespace of its own, the judge's processes would count too.
            processes=0 if limited_outside or plain else self._limits.processes,
            file_bytes=self._spec.file_bytes,
            threads=self._spec.threads,
            device="cpu" if member.size else self._spec.device,  # no rank sees a GPU
            loopback=self._spec.loopback or member.size > 0,
            denial=denial,
            world=member.size,
            rank=member.rank,
            pinned_cpu=first_cpu + member.rank if member.is_pinned else -1,
        )

    def _make_home(self) -> str:
        self._forked += 1
        if self._started.worker_kind is WorkerKind.NAMESPACES:
            return self._started.home  # a fresh mount for every child
        if self._started.worker_kind is WorkerKind.UID:
            return f"{self._started.home}/{self._forked}"
        home = Path(self._started.home) / str(self._forked)
        home.mkdir(mode=0o700)
        return str(home)

    def _sweep(self, homes: list[str]) -> None:
        """Kill all processes of children and remove their files; if that fails, become unusable."""
        try:
            left = self._ask({"op": "sweep"})["left"]
            for home in homes if self._started.worker_kind is WorkerKind.PLAIN else ():
                shutil.rmtree(home, ignore_errors=True)
            if left:
                self.usable = False
            else:
                self._remove_cgroups()
        except SandboxError:
            self.usable = False  # `close` tries again

    def _ask(
        self, order: dict[str, Any], fds: tuple[int, ...] = (), *, limit_s: float = CONTROL_SECONDS
    ) -> dict[str, Any]:
        """Send the fork server an order and return its answer.

        Raises:
            SandboxLost: if it does not answer.
            SandboxError: if it could not carry out the order.
        """
        self._tell(order, fds)
        self._started.control.settimeout(limit_s)
        try:
            answer, _ = protocol.receive(self._started.control)
        except (protocol.ProtocolError, OSError) as error:
            raise self._lost(error) from error
        if "error" in answer:
            raise SandboxError(f"the fork server failed: {answer['error']}")
        return answer

    def _tell(self, order: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send the fork server an order, and wait for no answer.

        Raises:
            SandboxLost: if it is gone.
        """
        control = self._started.control
        control.settimeout(CONTROL_SECONDS)
        try:
            protocol.send(control, order, fds)
        except (protocol.ProtocolError, OSError) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> SandboxLost:
        self.usable = False
        return SandboxLost(f"the fork server has ended ({error})", hint=self._started.log())

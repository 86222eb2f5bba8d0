"""A standing wall and its children: fork, freeze, end, sweep.

Takes: a `Started` wall. Gives: `Sandbox`. Does not cover: what a child is asked (see
`worker.session`, and `worker.ranks.ranks` for several at once).

A wall holds one submission at a time. Nothing of a child is left when its `with` block ends: its
processes are gone, its files are removed, and a wall that cannot say so is not used again.
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
    ALONE,
    ChildProcess,
    Member,
    await_ready,
    close_all,
    enter_cgroup,
    name_senders,
)
from grader.sandbox.contract import SandboxSpec, Started
from grader.sandbox.meter import Meter, limited_network
from grader.sandbox.stale import owner

CONTROL_SECONDS = 30.0
UIDS_PER_SANDBOX = 64


class Sandbox:
    """One wall, holding one submission at a time.

    Attributes:
        layers: what stands between a submission and the judge, known after the first child.
    """

    def __init__(self, started: Started, spec: SandboxSpec, limits: Limits) -> None:
        self._started = started
        self._spec = spec
        self._limits = limits
        self._forked = 0
        self._usable = True
        self.layers = started.layers
        self._groups: list[Cgroup] = []  # of the child, and of earlier ones that resisted

    @property
    def slot(self) -> int:
        """Number of the worker slot."""
        return self._spec.slot

    @property
    def usable(self) -> bool:
        """Whether the wall can take another submission."""
        return self._usable

    @contextlib.contextmanager
    def child(self, reply_fd: int, denial: Denial = NO_DENIAL) -> Iterator[ChildProcess]:
        """Fork a child, and leave nothing of it behind.

        Args:
            reply_fd: memory file for its reply tensors.
            denial: what torch refuses to do for it.

        Raises:
            SandboxError: if it cannot be confined or limited.
        """
        with self._emptied() as homes, self._fork(homes, reply_fd, denial, ALONE) as child:
            yield child

    @contextlib.contextmanager
    def ranks(
        self, reply_fds: Sequence[int], denial: Denial = NO_DENIAL, *, network_rate: int = 0
    ) -> Iterator[tuple[ChildProcess, ...]]:
        """Fork one child per memory file for replies, and leave nothing of them behind.

        They share a network namespace, which holds nothing but them where this wall can make one;
        each has a control group, a home and a jail of its own. `network_rate`, if not 0, holds
        their wire to so many bytes per second, and each to one processor, where it goes before
        others.

        Raises:
            SandboxError: if one cannot be confined or limited.
        """
        with self._emptied() as homes, contextlib.ExitStack() as stack:
            stays = network_rate > 0
            members = [
                Member(rank=rank, size=len(reply_fds), stays=stays)
                for rank in range(len(reply_fds))
            ]
            children = tuple(
                stack.enter_context(self._fork(homes, fd, denial, member))
                for fd, member in zip(reply_fds, members, strict=True)
            )
            if network_rate:
                if self._started.jail is WorkerKind.PLAIN:
                    raise SandboxError("without a wall the wire is the machine's own loopback")
                stack.enter_context(limited_network(children[0].host_pid, network_rate))
            yield children

    @contextlib.contextmanager
    def _emptied(self) -> Iterator[list[str]]:
        """Collect the homes of children; end all of them and sweep up when the block ends."""
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
        group = self._make_group(first=member.stays)
        homes.append(self._make_home())
        ours, theirs = socket.socketpair()
        name_senders(ours, True)  # before the child can send
        output, output_theirs = os.pipe()
        stack, stack_theirs = os.pipe() if member.size else (-1, -1)
        exit_fd = -1
        borrowed = False
        try:
            order = self._order(homes[-1], denial, member, limited_outside=group is not None)
            try:
                fds = (theirs.fileno(), reply_fd, output_theirs, stack_theirs)
                answer = self._ask(
                    {"op": "fork", "jail": order.to_json()}, fds if member.size else fds[:3]
                )
            finally:
                theirs.close()
                close_all(output_theirs, stack_theirs)
            host_pid, layers = await_ready(ours, self._started.log)
            name_senders(ours, False)
            exit_fd = os.pidfd_open(host_pid) if hasattr(os, "pidfd_open") else -1
            self.layers = (*self._started.layers, enter_cgroup(group, host_pid), *layers)
            with contextlib.closing(Meter(group, host_pid)) as meter:
                borrowed = True  # from here on, whoever reads the output closes it
                yield ChildProcess(
                    pid=answer["pid"],
                    host_pid=host_pid,
                    exit_fd=exit_fd,
                    channel=ours,
                    output_fd=output,
                    layers=layers,
                    meter=meter,
                    stack_fd=stack,
                )
        finally:
            ours.close()
            close_all(exit_fd, stack, -1 if borrowed else output)

    def freeze(self) -> None:
        """Stop every process of the submission, before anything of it is read."""
        self._ask({"op": "freeze"})

    def thaw(self) -> None:
        """Let every process of the submission go on; does not wait until they do."""
        self._tell({"op": "thaw"})

    def ending(self, child: ChildProcess, wait_s: float) -> Ending:
        """Say what has become of a child, waiting up to `wait_s` seconds for its end."""
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
        """Lend the same wall under other limits, for a self-test."""
        other = Sandbox(self._started, self._spec, limits)
        try:
            yield other
        finally:
            self._usable = self._usable and other.usable

    def close(self) -> None:
        """End everything and remove the wall.

        Raises:
            SandboxError: if a control group stays.
        """
        self._usable = False
        try:
            self._started.stop()
        finally:
            self._remove_groups()
            remove_parents()

    def _remove_groups(self) -> None:
        while self._groups:
            self._groups[-1].remove()
            self._groups.pop()

    def _make_group(self, *, first: bool) -> Cgroup | None:
        group = make_cgroup(
            f"{owner()}-{self._spec.slot}-{secrets.token_hex(4)}",
            memory_bytes=self._limits.memory_bytes,
            processes=self._limits.processes,
            first=first,
        )
        self._groups += [group] if group else []
        return group

    def _order(
        self, home: str, denial: Denial, member: Member, *, limited_outside: bool
    ) -> ForkOrder:
        uid = self._started.first_uid
        plain = self._started.jail is WorkerKind.PLAIN
        namespace = "" if plain else str(Path("/proc/self/ns/pid").readlink())
        return ForkOrder(
            kind=self._started.jail,
            uid=uid + self._forked % UIDS_PER_SANDBOX if uid else 0,
            home=home,
            judge_pid_namespace=namespace,
            memory_bytes=0 if limited_outside else self._limits.memory_bytes,
            # Without a uid or namespace of its own, it would count the judge's processes.
            processes=0 if limited_outside or plain else self._limits.processes,
            file_bytes=self._spec.file_bytes,
            threads=self._spec.threads,
            device="cpu" if member.size else self._spec.device,  # no rank sees a GPU
            loopback=self._spec.loopback or member.size > 0,
            denial=denial,
            world=member.size,
            rank=member.rank,
            processor=self._spec.slot * self._limits.ranks + member.rank if member.stays else -1,
        )

    def _make_home(self) -> str:
        self._forked += 1
        if self._started.jail is WorkerKind.NAMESPACES:
            return self._started.home  # a fresh mount for every child
        if self._started.jail is WorkerKind.UID:
            return f"{self._started.home}/{self._forked}"
        home = Path(self._started.home) / str(self._forked)
        home.mkdir(mode=0o700)
        return str(home)

    def _sweep(self, homes: list[str]) -> None:
        """Kill and remove what children left; a wall that cannot is not used again."""
        try:
            left = self._ask({"op": "sweep"})["left"]
            for home in homes if self._started.jail is WorkerKind.PLAIN else ():
                shutil.rmtree(home, ignore_errors=True)
            if left:
                self._usable = False
            else:
                self._remove_groups()
        except SandboxError:
            self._usable = False  # tried again when the wall is taken down

    def _ask(self, order: dict[str, Any], fds: tuple[int, ...] = ()) -> dict[str, Any]:
        """Give the warm process an order and return its answer.

        Raises:
            WallLost: if it does not answer.
            SandboxError: if it could not obey.
        """
        self._tell(order, fds)
        try:
            answer, _ = protocol.receive(self._started.control)
        except (protocol.ProtocolError, OSError) as error:
            raise self._lost(error) from error
        if "error" in answer:
            raise SandboxError(f"the warm process could not {answer['error']}")
        return answer

    def _tell(self, order: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Give the warm process an order that has no answer.

        Raises:
            WallLost: if it is gone.
        """
        control = self._started.control
        control.settimeout(CONTROL_SECONDS)
        try:
            protocol.send(control, order, fds)
        except (protocol.ProtocolError, OSError) as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> SandboxLost:
        self._usable = False
        return SandboxLost(f"the warm process is gone ({error})", hint=self._started.log()[-800:])

"""The warm process: it has torch and Triton imported and forks one confined child per problem.

Takes: orders from the judge over an inherited or connected socket. Gives: children. Does not
cover: the wall around it (see `sandbox`).

It holds nothing secret and never runs a submission's code itself. It starts no threads, so that a
fork copies all of it.
"""

import contextlib
import importlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from typing import Any

from . import linux, protocol
from .birth import become_child
from .order import ForkOrder, WorkerKind

AGAIN_SECONDS = 1.0
"""They are asked for once in so much time: 7 to 14 ms with all of 590 MiB there."""


class LibraryPages:
    """All that this process has mapped of files."""

    def __init__(self) -> None:
        self._ranges = _file_ranges()
        self._asked_s = -AGAIN_SECONDS

    def prefault(self) -> None:
        """Bring every page into memory."""
        if time.monotonic() - self._asked_s < AGAIN_SECONDS:
            return
        for address, length in self._ranges:
            if not linux.populate_for_reading(address, length):
                break  # an older kernel: pages stay as they are
        self._asked_s = time.monotonic()


def _file_ranges() -> list[tuple[int, int]]:
    """Return address and length of every mapping of a file. Source: proc_pid_maps(5)."""
    if not os.path.exists("/proc/self/maps"):
        return []
    ranges: list[tuple[int, int]] = []
    with open("/proc/self/maps") as lines:
        for line in lines:
            span, rights, _, _, _, *path = line.split(None, 5)
            if rights.startswith("r") and path and path[0].startswith("/"):
                low, high = (int(edge, 16) for edge in span.split("-"))
                ranges.append((low, high - low))
    return ranges


CLEAN_SECONDS = 5.0

Json = Any  # a message's fields


class ForkServer:
    """Forks, freezes, ends and sweeps up children, one submission at a time."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._orders: list[ForkOrder] = []  # of the submission that is here, one per child
        self._group_network = -1  # namespace of its ranks
        self._children: set[int] = set()
        from . import denial  # needs torch, which is imported once devices are chosen

        self._denials = denial.Denials()
        self._libraries = LibraryPages()

    def serve(self) -> None:
        """Obey orders until the judge closes the control socket."""
        while True:
            try:
                order, fds = protocol.receive(self._control, max_fds=4)
            except protocol.ProtocolClosed:
                return
            try:
                answer = self._obey(order, fds)
            except OSError as error:
                answer = {"error": f"{order['op']}: {error}"}
            finally:
                for fd in fds:
                    os.close(fd)
            if order["op"] != "thaw":  # the judge waits for the submission itself instead
                protocol.send(self._control, answer)

    def _obey(self, order: dict[str, Json], fds: list[int]) -> dict[str, Json]:
        operation = order["op"]
        if operation == "fork":
            return {"pid": self._fork(ForkOrder.from_json(order["jail"]), fds)}
        if operation == "freeze":
            self._signal_all(signal.SIGSTOP)
        elif operation == "thaw":
            self._signal_all(signal.SIGCONT)
        elif operation == "wait":
            return {"status": self._wait(order["pid"], order["seconds"])}
        elif operation == "sweep":
            return {"left": self._sweep()}
        return {}

    def _fork(self, order: ForkOrder, fds: list[int]) -> int:
        """Fork a child that confines itself, reports ready on the channel and serves it."""
        self._orders.append(order)
        # A device's libraries are gigabytes, and memory is metered on the device there.
        if order.device == "cpu":
            self._libraries.prefault()
        if order.kind is not WorkerKind.PLAIN:
            self._refuse_foreign_namespace(order)
        self._denials.install(order.denial.entries)
        own: list[tuple[int, int]] = []
        if order.kind is WorkerKind.NAMESPACES:
            own.append((os.open("/proc/self/ns/pid", os.O_RDONLY), linux.CLONE_NEWPID))
            linux.unshare(linux.CLONE_NEWPID)
            if order.world:
                own.append((os.open("/proc/self/ns/net", os.O_RDONLY), linux.CLONE_NEWNET))
                self._enter_group_network()
        try:
            pid = os.fork()
        finally:
            # Only the parent gets here with `own` still needed; the child closes it with the rest.
            if own and os.getpid() != 1:
                for fd, kind in own:
                    linux.setns(fd, kind)
                    os.close(fd)
        if pid == 0:
            become_child(order, fds, self._denials)
        self._children.add(pid)
        return pid

    def _enter_group_network(self) -> None:
        """Enter the network namespace that all ranks of this submission share; the first makes it.

        Namespaces of a network end with their last process and descriptor: none outlives a sweep.
        """
        if self._group_network >= 0:
            linux.setns(self._group_network, linux.CLONE_NEWNET)
            return
        linux.unshare(linux.CLONE_NEWNET)
        linux.bring_loopback_up()
        self._group_network = os.open("/proc/self/ns/net", os.O_RDONLY)

    def _refuse_foreign_namespace(self, order: ForkOrder) -> None:
        """Refuse to act on "all processes" in a namespace that is the judge's own."""
        if os.readlink("/proc/self/ns/pid") == order.judge_pid_namespace:
            raise OSError("the warm process is not in a pid namespace of its own")

    def _signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of the submission: all that the warm process can see."""
        if not self._orders:
            return
        if self._orders[0].kind is WorkerKind.PLAIN:
            for pid in self._children:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, number)

    def _wait(self, pid: int, seconds: float) -> int | None:
        """Return the wait status of a child, or None if it still runs after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                self._children.discard(pid)
                return status
            if time.monotonic() > deadline:
                return None
            time.sleep(0.002)

    def _sweep(self) -> int:
        """Kill what is left of a submission, remove its files, and return what could not be."""
        deadline = time.monotonic() + CLEAN_SECONDS
        left = self._reap()
        while left and time.monotonic() < deadline:
            self._signal_all(signal.SIGKILL)
            self._signal_all(signal.SIGCONT)
            time.sleep(0.002)
            left = self._reap()
        orders, self._orders = self._orders, []
        if self._group_network >= 0:
            os.close(self._group_network)
            self._group_network = -1
        for order in orders:
            if order.kind is WorkerKind.UID:
                left += _remove_as(order.uid, order.home)
        return left

    def _reap(self) -> int:
        """Collect ended children and return how many processes are left."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._children.clear()
                break
            if not pid:
                break
            self._children.discard(pid)
        if not self._orders or self._orders[0].kind is WorkerKind.PLAIN:
            return len(self._children)
        try:
            os.kill(-1, 0)
        except ProcessLookupError:
            return 0
        return 1


def _remove_as(uid: int, home: str) -> int:
    """Kill every process of `uid` and remove `home`, as that uid; return 1 if either stays.

    The warm process has no right over files of other uids, hence a fork that becomes the uid.
    """
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        shutil.rmtree(home, ignore_errors=True)
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.path.exists(home))


def _import_libraries(device: str, preload: list[str]) -> None:
    """Import everything slow, and everything that the rules would keep from loading later."""
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    # Asked before the fork: without /proc torch would silently fall back from AVX2.
    torch = importlib.import_module("torch")
    torch.backends.cpu.get_cpu_capability()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for name in (
        "numpy",
        "triton",
        "triton.language",
        "torch.nn.functional",
        "landlock",
        "pyseccomp",
    ):
        with contextlib.suppress(ModuleNotFoundError):  # not on every platform
            importlib.import_module(name)
    # Some ask for a folder of their own when they are imported; this process can write nowhere. A
    # child's environment is its own (see `jail`).
    tempfile.tempdir = os.environ["TORCHINDUCTOR_CACHE_DIR"] = "/"
    for name in preload:
        importlib.import_module(name)
    tempfile.tempdir = None
    own = ["worker", "confinement", "landlock_rules", "seccomp_rules"]
    own += ["ranks.rank", "cuda.launchers", "cuda.nvcc"]
    for name in (*own, "cuda.worker") if device == "cuda" else own:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(f".{name}", __package__)
    if device == "cpu":
        with contextlib.suppress(ModuleNotFoundError):  # no Triton on every platform
            interpreter = importlib.import_module(".interpreter", __package__)
            interpreter.choose_first_configuration()
            interpreter.divide_as_a_device()
    if device == "compile":
        with contextlib.suppress(ModuleNotFoundError):  # the child says so
            importlib.import_module(".ahead_of_time", __package__).prepare()


def main(arguments: list[str]) -> None:
    """Start from `fd:NUMBER` (an inherited socket) or `path:PATH`, a device, further modules."""
    where, device, *preload = arguments
    form, _, address = where.partition(":")
    if form == "fd":
        control = socket.socket(fileno=int(address))
    else:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        control.connect(address)
    control.set_inheritable(False)
    if sys.platform == "linux":
        linux.set_undumpable()
    _import_libraries(device, preload)
    protocol.send(control, {"hello": {"pid": os.getpid(), "python": sys.version.split()[0]}})
    ForkServer(control).serve()


if __name__ == "__main__":
    main(sys.argv[1:])

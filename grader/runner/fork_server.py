"""The fork server: it has imported torch and Triton, and forks one confined child per problem.

It obeys orders that the judge sends over a socket, which it inherits or connects to. It holds
nothing secret and never runs a submission's code itself. It starts no threads, because a fork
copies only the thread that calls it. The sandbox around it is built by `sandbox`.
"""

import contextlib
import gc
import importlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from types import ModuleType
from typing import Any

from . import linux, protocol
from .birth import become_child
from .order import ForkOrder, WorkerKind

PREFAULT_INTERVAL_S = 1.0
"""Pages are prefaulted at most this often; it costs 7 to 14 ms when all 590 MiB are in memory."""
SWEEP_SECONDS = 5.0

LIBRARIES = ("numpy", "triton", "triton.language", "torch.nn.functional", "landlock", "pyseccomp")
CHILD_MODULES = (
    *(".worker", ".ranks.rank", ".confinement", ".landlock_rules", ".seccomp_rules"),
    *(".cuda.launchers", ".cuda.nvcc"),
)
"""Modules of this package that a child uses; under Landlock it can no longer read their files."""

Json = Any  # a message's fields


class ForkServer:
    """Forks and freezes children, and kills and cleans up after them, one submission at a time."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._orders: list[ForkOrder] = []  # one per child of the current submission
        self._ranks_network_fd = -1  # network namespace that its ranks share
        self._children: set[int] = set()
        from . import denial  # imports torch, which must see the environment that main() has set

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
            if order["op"] != "thaw":  # the judge waits for the submission's reply instead
                protocol.send(self._control, answer)

    def _obey(self, order: dict[str, Json], fds: list[int]) -> dict[str, Json]:
        operation = order["op"]
        if operation == "fork":
            return {"pid": self._fork(ForkOrder.from_json(order["child"]), fds)}
        if operation == "freeze":
            self._signal_all(signal.SIGSTOP)
        elif operation == "thaw":
            self._signal_all(signal.SIGCONT)
        elif operation == "wait":
            return {"status": self._wait(order["pid"], order["seconds"])}
        elif operation == "import":
            self._denials.install(())  # modules must not see each other closed
            try:
                _import_modules(order["modules"])
            except ImportError as error:
                raise OSError(str(error)) from error
            _share_with_children()
        elif operation == "sweep":
            return {"left": self._sweep()}
        return {}

    def _fork(self, order: ForkOrder, fds: list[int]) -> int:
        """Fork a child that confines itself, reports ready on the channel and serves it."""
        self._orders.append(order)
        # CUDA's libraries are gigabytes, and a GPU problem's memory is measured on the GPU.
        if order.device == "cpu":
            self._libraries.prefault()
        if order.kind is not WorkerKind.PLAIN:
            self._refuse_foreign_namespace(order)
        self._denials.install(order.denial.entries)
        own_namespaces: list[tuple[int, int]] = []
        if order.kind is WorkerKind.NAMESPACES:
            pid_fd = os.open("/proc/self/ns/pid", os.O_RDONLY)
            own_namespaces.append((pid_fd, linux.CLONE_NEWPID))
            linux.unshare(linux.CLONE_NEWPID)
            if order.world:
                network_fd = os.open("/proc/self/ns/net", os.O_RDONLY)
                own_namespaces.append((network_fd, linux.CLONE_NEWNET))
                self._enter_ranks_network()
        try:
            pid = os.fork()
        finally:
            # The parent returns to its own namespaces; the child (pid 1 of a new pid namespace)
            # closes these descriptors later, with all others.
            if own_namespaces and os.getpid() != 1:
                for fd, kind in own_namespaces:
                    linux.setns(fd, kind)
                    os.close(fd)
        if pid == 0:
            become_child(order, fds, self._denials)
        self._children.add(pid)
        return pid

    def _enter_ranks_network(self) -> None:
        """Enter the network namespace that all ranks of this submission share; make it if needed.

        It ends with its last process and descriptor, so it does not outlive `_sweep`.
        """
        if self._ranks_network_fd >= 0:
            linux.setns(self._ranks_network_fd, linux.CLONE_NEWNET)
            return
        linux.unshare(linux.CLONE_NEWNET)
        linux.bring_loopback_up()
        self._ranks_network_fd = os.open("/proc/self/ns/net", os.O_RDONLY)

    def _refuse_foreign_namespace(self, order: ForkOrder) -> None:
        """Refuse to signal all visible processes where the judge's own would be among them."""
        if os.readlink("/proc/self/ns/pid") == order.judge_pid_namespace:
            raise OSError("the fork server has no pid namespace of its own: it shares the judge's")

    def _signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of the submission: all that the fork server can see."""
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
        """Kill a submission's processes and remove its files; return how many were left over."""
        deadline = time.monotonic() + SWEEP_SECONDS
        left = self._reap()
        while left and time.monotonic() < deadline:
            self._signal_all(signal.SIGKILL)
            self._signal_all(signal.SIGCONT)
            time.sleep(0.002)
            left = self._reap()
        orders, self._orders = self._orders, []
        if self._ranks_network_fd >= 0:
            os.close(self._ranks_network_fd)
            self._ranks_network_fd = -1
        for order in orders:
            if order.kind is WorkerKind.UID:
                left += _remove_as(order.uid, order.home)
        return left

    def _reap(self) -> int:
        """Reap children that have ended; return how many processes run (1 if only "some")."""
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


class LibraryPages:
    """The files, such as shared libraries, that this process has mapped."""

    def __init__(self) -> None:
        self._ranges = _file_ranges()
        self._prefaulted_s = -PREFAULT_INTERVAL_S

    def prefault(self) -> None:
        """Load every page into memory, so that no child waits for one while the clock runs."""
        if time.monotonic() - self._prefaulted_s < PREFAULT_INTERVAL_S:
            return
        for address, length in self._ranges:
            if not linux.populate_for_reading(address, length):
                break  # this Linux is too old for it
        self._prefaulted_s = time.monotonic()


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


def _remove_as(uid: int, home: str) -> int:
    """Remove the folder `home` as its owner `uid`; return 1 if it is still there.

    The fork server has no right over files of other uids, so it forks and becomes that uid.
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
    """Import what is slow to import, and what Landlock would keep a child from importing later."""
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    # torch reads /proc here; a child that has no /proc would silently fall back from AVX2.
    torch = importlib.import_module("torch")
    torch.backends.cpu.get_cpu_capability()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for name in LIBRARIES:
        _import_if_installed(name)
    _import_modules(preload)
    for name in (*CHILD_MODULES, *((".cuda.worker",) if device == "cuda" else ())):
        _import_if_installed(name)
    if device == "cpu":
        interpreter = _import_if_installed(".interpreter")
        if interpreter is not None:
            interpreter.behave_as_a_device()
    if device == "compile":
        compiler = _import_if_installed(".ahead_of_time")
        if compiler is not None:  # otherwise the child reports that Triton is missing
            compiler.prepare()


def _import_modules(names: list[str]) -> None:
    """Import what the assignment names.

    Some modules create a cache folder when they are imported, but this process can write nowhere. A
    child gets its own environment (see `confinement`).
    """
    tempfile.tempdir = os.environ["TORCHINDUCTOR_CACHE_DIR"] = "/"
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # its pool of processes would wait for ever
    for name in names:
        importlib.import_module(name)
    tempfile.tempdir = None
    inductor: Any = sys.modules.get("torch._inductor.config")
    if inductor is not None:  # they would lie in "/", and help nobody in a cache of one process
        inductor.cpp_cache_precompile_headers = False


def _share_with_children() -> None:
    """Keep what is imported out of garbage collections.

    One in a child would write to each of these objects, copy the pages that the child shares with
    this process, and so add 65 MB to the peak memory of whichever call it happened in.
    """
    gc.collect()
    gc.freeze()


def _import_if_installed(name: str) -> ModuleType | None:
    """Import a module; return None if a library that it needs does not exist on this platform.

    Raises:
        ModuleNotFoundError: if a module of this package is missing; a child would not find it
            either.
    """
    try:
        return importlib.import_module(name, __package__)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(f"{__package__}."):
            raise
        return None


def main(arguments: list[str]) -> None:
    """Start with `fd:NUMBER` (an inherited socket) or `path:PATH`, a device, modules to import."""
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
    _share_with_children()
    protocol.send(control, {"hello": {"pid": os.getpid(), "python": sys.version.split()[0]}})
    ForkServer(control).serve()


if __name__ == "__main__":
    main(sys.argv[1:])

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
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import kernel, wire
from .order import JailKind, JailOrder

if TYPE_CHECKING:
    from .denial import Denials

CLEAN_SECONDS = 5.0

Json = Any  # a message's fields


class Warm:
    """Forks, freezes, ends and sweeps up children, one submission at a time."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._order: JailOrder | None = None
        self._children: set[int] = set()
        from . import denial  # needs torch, which is imported once devices are chosen

        self._denials = denial.Denials()

    def serve(self) -> None:
        """Obey orders until the judge closes the control socket."""
        while True:
            try:
                order, fds = wire.receive(self._control, max_fds=3)
            except wire.WireClosed:
                return
            try:
                answer = self._obey(order, fds)
            except OSError as error:
                answer = {"error": f"{order['op']}: {error}"}
            finally:
                for fd in fds:
                    os.close(fd)
            if order["op"] != "thaw":  # the judge waits for the submission itself instead
                wire.send(self._control, answer)

    def _obey(self, order: dict[str, Json], fds: list[int]) -> dict[str, Json]:
        operation = order["op"]
        if operation == "fork":
            return {"pid": self._fork(JailOrder.from_json(order["jail"]), fds)}
        if operation == "freeze":
            self._signal_all(signal.SIGSTOP)
        elif operation == "thaw":
            self._signal_all(signal.SIGCONT)
        elif operation == "wait":
            return {"status": self._wait(order["pid"], order["seconds"])}
        elif operation == "sweep":
            return {"left": self._sweep()}
        return {}

    def _fork(self, order: JailOrder, fds: list[int]) -> int:
        """Fork a child that confines itself, reports ready on the channel and serves it."""
        self._order = order
        if order.kind is not JailKind.PLAIN:
            self._refuse_foreign_namespace(order)
        self._denials.install(order.denial.entries)
        own = os.open("/proc/self/ns/pid", os.O_RDONLY) if _has_pid_namespace(order) else -1
        if own >= 0:
            kernel.unshare(kernel.CLONE_NEWPID)
        try:
            pid = os.fork()
        finally:
            # Only the parent gets here with `own` still needed; the child closes it with the rest.
            if own >= 0 and os.getpid() != 1:
                kernel.setns(own, kernel.CLONE_NEWPID)
                os.close(own)
        if pid == 0:
            _become_child(order, fds, self._denials)
        self._children.add(pid)
        return pid

    def _refuse_foreign_namespace(self, order: JailOrder) -> None:
        """Refuse to act on "all processes" in a namespace that is the judge's own."""
        if os.readlink("/proc/self/ns/pid") == order.judge_pid_namespace:
            raise OSError("the warm process is not in a pid namespace of its own")

    def _signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of the submission: all that the warm process can see."""
        if self._order is None:
            return
        if self._order.kind is JailKind.PLAIN:
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
        order, self._order = self._order, None
        if order is not None and order.kind is JailKind.UID:
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
        if self._order is None or self._order.kind is JailKind.PLAIN:
            return len(self._children)
        try:
            os.kill(-1, 0)
        except ProcessLookupError:
            return 0
        return 1


def _has_pid_namespace(order: JailOrder) -> bool:
    return order.kind is JailKind.NAMESPACES


def _become_child(order: JailOrder, fds: list[int], denials: "Denials") -> None:
    """Turn a fresh fork into a child; never returns."""
    status = 70  # EX_SOFTWARE: confinement failed, the submission was never touched
    try:
        denials.seal(order.denial.problem)
        _serve_as_child(order, fds)
        status = 0
    except BaseException as error:  # noqa: BLE001 - the last frame of the process: say why and end
        os.write(2, f"child: {type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def _serve_as_child(order: JailOrder, fds: list[int]) -> None:
    from . import child, jail, tensors

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    channel_fd, memory_fd, output_fd = _keep_only(fds)
    channel = socket.socket(fileno=channel_fd)
    memory = tensors.map_memory(memory_fd, populate=False)
    os.close(memory_fd)
    layers = jail.enter(order)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.close(output_fd)
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)  # noqa: SIM115
    further: dict[str, Callable[[dict[str, Json]], Json]] = {}
    if order.device == "compile":
        further["kernels"] = _compile_kernels(order.home)
    if order.device == "nvcc":
        from . import nvcc

        further["build"] = lambda request: nvcc.compile_library(request, order.home)
    wire.send(channel, {"ready": list(layers)})
    kind: type[child.Child] = child.Child
    if order.device == "cuda":
        from . import device_child  # imported before the fork; CUDA begins here, in the child

        kind = device_child.DeviceChild
    kind(channel=channel, reply_memory=memory, home=order.home, further=further).serve()


def _compile_kernels(home: str) -> Callable[[dict[str, Json]], Json]:
    """Let Triton compile instead of launching; return what tells what became of each kernel."""
    from . import ahead_of_time

    compiler = ahead_of_time.KernelCompiler(home)
    compiler.install()
    return lambda _: compiler.report()


def _keep_only(fds: list[int]) -> list[int]:
    """Move the child's descriptors to 3, 4 and 5, and close every other one but 0, 1 and 2."""
    high = [os.dup2(fd, 200 + number, inheritable=False) for number, fd in enumerate(fds)]
    low = [os.dup2(fd, 3 + number, inheritable=False) for number, fd in enumerate(high)]
    os.closerange(3 + len(fds), 65536)
    return low


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


def _import_libraries(device: str) -> None:
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
    own = ("child", "jail", "landlock_rules", "seccomp_rules", "launchers", "nvcc")
    for name in (*own, "device_child") if device == "cuda" else own:
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
    """Start from `fd:NUMBER` (an inherited socket) or `path:PATH` (a listener), and a device."""
    where, device = arguments
    form, _, place = where.partition(":")
    if form == "fd":
        control = socket.socket(fileno=int(place))
    else:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        control.connect(place)
    control.set_inheritable(False)
    if sys.platform == "linux":
        kernel.set_undumpable()
    _import_libraries(device)
    wire.send(control, {"hello": {"pid": os.getpid(), "python": sys.version.split()[0]}})
    Warm(control).serve()


if __name__ == "__main__":
    main(sys.argv[1:])

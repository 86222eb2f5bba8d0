"""The inner confinement: rights a forked child gives up before it runs a line of a submission.

It must be entered in a freshly forked process with one thread. The sandbox around it and the
limits of cgroups are set by `sandbox`.

The order of the steps matters: namespaces need capabilities, mounts need namespaces, the uid
changes before the capabilities are dropped, Landlock needs the folders to exist, and seccomp comes
last because it forbids most of the other steps.
"""

import contextlib
import os
import resource
import sys

from . import linux
from .order import ForkOrder, WorkerKind

READABLE = (
    *(sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)),
    *("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/sys/devices/system/cpu"),
)
"""What Python with torch needs to read: itself, its packages, shared libraries.

Not `/proc`: the fork server has made torch detect the CPU's features before the fork.
"""
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GPU_DEVICES = (
    *("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"),
    *(f"/dev/nvidia{i}" for i in range(16)),
)
# CUDA's driver reads these when it starts and names its threads; if one is refused, it fails with
# CUDA_ERROR_OPERATING_SYSTEM. `/proc/self` is the child's own entry.
GPU_READABLE = (
    *("/proc/self", "/proc/driver/nvidia", "/proc/driver/nvidia-uvm"),
    *("/proc/cpuinfo", "/proc/devices", "/proc/sys/vm/mmap_min_addr", "/sys"),
)
GPU_THREAD_NAMES = "/proc/self/task"


def enter(order: ForkOrder) -> tuple[str, ...]:
    """Confine this process for good; return the names of the layers that hold now.

    Raises:
        OSError: if a step fails; the child must end without running the submission.
    """
    layers: list[str] = []
    os.setsid()
    _prefer_for_oom_kill()
    private_bytes = _private_bytes()
    if order.kind is WorkerKind.NAMESPACES:
        _enter_namespaces(order)
        if order.world:
            layers.append("own pid, mount and ipc namespaces; a network namespace for its ranks")
        else:
            layers.append("own pid, mount, network and ipc namespaces")
    if order.uid:
        if order.kind is WorkerKind.NAMESPACES:  # its home is a tmpfs that is owned by root
            os.chown(order.home, order.uid, order.uid)
        os.setgroups([])
        os.setresgid(order.uid, order.uid, order.uid)
        os.setresuid(order.uid, order.uid, order.uid)
        layers.append("own uid")
    if order.kind is WorkerKind.UID:
        os.mkdir(order.home, 0o700)
    if order.kind is not WorkerKind.PLAIN:
        linux.drop_capabilities()
        layers.append("no capabilities")
    _set_limits(order, private_bytes)
    layers.append("rlimits")
    _set_environment(order)
    layers.extend(_pin_to_cpu(order.pinned_cpu))
    os.chdir(order.home)
    os.umask(0o077)
    if sys.platform == "linux":
        linux.die_with_parent()  # here, because a change of uid clears it
        linux.set_no_new_privileges()
        layers.extend(_load_rules(order))
    return tuple(layers)


def _prefer_for_oom_kill() -> None:
    """Make Linux kill this process first when memory runs out."""
    if os.path.exists("/proc/self/oom_score_adj"):
        # Refused to an ordinary user in an unconfined run, where the process is not dumpable.
        with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")


def _pin_to_cpu(index: int) -> list[str]:
    """Pin this process to one CPU: with more threads, a rank could compute while it waits."""
    if index < 0 or sys.platform != "linux":
        return []
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[index % len(allowed)]})
    return ["pinned to one CPU"]


def _private_bytes() -> int:
    """Return how many bytes of private writable memory this process has now.

    Source: VmData in proc_pid_status(5), which RLIMIT_DATA limits since Linux 4.7.
    """
    if not os.path.exists("/proc/self/status"):
        return 0
    with open("/proc/self/status") as file:
        kib = next(line.split()[1] for line in file if line.startswith("VmData:"))
    return int(kib) * 1024


def _enter_namespaces(order: ForkOrder) -> None:
    flags = linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    if not order.world:  # ranks are forked in a network namespace that they share
        flags |= linux.CLONE_NEWNET
    linux.unshare(flags)
    linux.make_mounts_private()
    # New tmpfs for this child alone. Not over /tmp: the Python interpreter may be below it.
    linux.mount_tmpfs(order.home, size_bytes=order.file_bytes, mode=0o700)
    linux.mount_tmpfs("/dev/shm", size_bytes=order.file_bytes, mode=0o1777)
    for folder in _hidden_folders(order):
        linux.mount_tmpfs(folder, size_bytes=4096, mode=0o555)
    if order.device == "cuda":
        linux.mount_proc("/proc")  # of this pid namespace; CUDA does not start without it
    else:
        linux.mount_tmpfs("/proc", size_bytes=4096, mode=0o555)  # hides the fork server's
    if not order.world:
        linux.bring_loopback_up()


def _hidden_folders(order: ForkOrder) -> tuple[str, ...]:
    """Return folders that are hidden from a child that is denied something."""
    if not order.denial.entries:
        return ()
    from . import guards  # needs torch

    return guards.hidden_folders(order.denial)


def _set_limits(order: ForkOrder, private_bytes: int) -> None:
    """Set the limits that need no cgroup; the process's children inherit them."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 1024)
    _limit(resource.RLIMIT_FSIZE, order.file_bytes)
    _limit(resource.RLIMIT_MEMLOCK, 1 << 20)
    if order.processes:
        _limit(resource.RLIMIT_NPROC, order.processes)
    if order.memory_bytes and private_bytes:
        # Private writable memory, not address space: RLIMIT_AS would break CUDA.
        _limit(resource.RLIMIT_DATA, order.memory_bytes + private_bytes)


def _limit(which: int, ceiling: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(which, (ceiling, ceiling))


def _set_environment(order: ForkOrder) -> None:
    """Clear the sandbox's environment; give compilers private caches."""
    driver_folders = os.environ.get("LD_LIBRARY_PATH", "")
    os.environ.clear()
    os.environ.update(
        HOME=order.home,
        TMPDIR=order.home,
        PATH="/usr/bin:/bin",
        LANG="C.UTF-8",
        PYTHONDONTWRITEBYTECODE="1",
        OMP_NUM_THREADS=str(order.threads),
        TRITON_CACHE_DIR=f"{order.home}/.triton",
        TORCHINDUCTOR_CACHE_DIR=f"{order.home}/.inductor",
        GLOO_SOCKET_IFNAME="lo",
    )
    if order.device == "cuda" and driver_folders:  # Triton looks for the driver there
        os.environ["LD_LIBRARY_PATH"] = driver_folders
    if order.world:
        rank = str(order.rank)
        os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=str(order.world))
    if order.device != "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if order.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"


def _load_rules(order: ForkOrder) -> list[str]:
    """Load Landlock and seccomp rules; only an unconfined run goes on without Landlock."""
    from . import landlock_rules, seccomp_rules  # Linux only; imported before the fork

    layers: list[str] = []
    abi = landlock_rules.abi_version()
    if abi:
        on_gpu = order.device == "cuda"
        landlock_rules.restrict_files(
            (*READABLE, *(GPU_READABLE if on_gpu else ())),
            (order.home,),
            (*DEVICES, *((GPU_THREAD_NAMES,) if on_gpu else ())),
            GPU_DEVICES if on_gpu else (),
            hidden=_hidden_folders(order) if order.kind is not WorkerKind.NAMESPACES else (),
        )
        layers.append(f"Landlock (ABI {abi}) on files")
    elif order.kind is not WorkerKind.PLAIN:
        raise OSError("this Linux has no Landlock")
    if abi >= landlock_rules.SCOPE_ABI:
        landlock_rules.restrict_scope((order.home,))
        layers.append("Landlock scope on signals and abstract sockets")
    # A new process could import torch without the denial. On a GPU, Triton must start its
    # assembler.
    no_programs = bool(order.denial.entries) and order.device == "cpu"
    seccomp_rules.restrict_system_calls(
        loopback=order.loopback, no_programs=no_programs, is_pinned=order.pinned_cpu >= 0
    )
    layers.append("seccomp, no new programs" if no_programs else "seccomp")
    return layers

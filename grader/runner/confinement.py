"""The inner jail: what a forked child gives up before it sees the first line of a submission.

Takes: a `ForkOrder`, in a freshly forked, single-threaded child. Gives: the names of the layers
that now hold. Does not cover: the outer wall (see `sandbox`), limits kept by cgroups.

The order matters: namespaces need capabilities, mounts need namespaces, the uid goes before the
capabilities, Landlock needs the folders to exist, and seccomp comes last because it forbids most
of the rest.
"""

import contextlib
import os
import resource
import sys

from . import linux
from .order import ForkOrder, WorkerKind

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
GPU_DEVICES = (
    *("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"),
    *(f"/dev/nvidia{i}" for i in range(16)),
)
# What CUDA's driver reads when it begins, and the names that it gives its threads: with any of
# these refused it gives up (CUDA_ERROR_OPERATING_SYSTEM). `/proc/self` is this very child.
GPU_READABLE = (
    *("/proc/self", "/proc/driver/nvidia", "/proc/driver/nvidia-uvm"),
    *("/proc/cpuinfo", "/proc/devices", "/proc/sys/vm/mmap_min_addr", "/sys"),
)
GPU_THREAD_NAMES = "/proc/self/task"


def readable_paths() -> tuple[str, ...]:
    """Return what an interpreter with torch needs to read: itself, its packages, shared libraries.

    Not `/proc`: the warm process has asked torch for the CPU's capability before the fork.
    """
    return (
        sys.prefix,
        sys.base_prefix,
        os.path.realpath(sys.base_prefix),
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/sys/devices/system/cpu",
    )


def enter(order: ForkOrder) -> tuple[str, ...]:
    """Confine this process for good.

    Raises:
        OSError: if a step fails; the child must end without running the submission.
    """
    layers: list[str] = []
    os.setsid()
    _volunteer_for_oom()
    held_bytes = _private_bytes()
    if order.kind is WorkerKind.NAMESPACES:
        _enter_namespaces(order)
        if order.world:
            layers.append("own pid, mount and ipc namespaces; a network namespace for its group")
        else:
            layers.append("own pid, mount, network and ipc namespaces")
    if order.uid:
        if order.kind is WorkerKind.NAMESPACES:  # its home is a mount that the warm process made
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
    _set_limits(order, held_bytes)
    layers.append("rlimits")
    _set_environment(order)
    layers.extend(_stay_on_processor(order.processor))
    os.chdir(order.home)
    os.umask(0o077)
    if sys.platform == "linux":
        linux.die_with_parent()  # here, because a change of uid clears it
        linux.set_no_new_privileges()
        layers.extend(_restrict_kernel(order))
    return tuple(layers)


def _volunteer_for_oom() -> None:
    """Be the first that the kernel ends when memory runs out."""
    if os.path.exists("/proc/self/oom_score_adj"):
        # Refused to an ordinary user in an unconfined run, where the process is not dumpable.
        with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")


def _stay_on_processor(number: int) -> list[str]:
    """Run on one processor from here on: more threads would hide what a rank waits for."""
    if number < 0 or sys.platform != "linux":
        return []
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {allowed[number % len(allowed)]})
    return ["one processor"]


def _private_bytes() -> int:
    """Return the bytes of private writable memory that this process holds already.

    Source: VmData in proc_pid_status(5), what RLIMIT_DATA is compared with since Linux 4.7.
    """
    if not os.path.exists("/proc/self/status"):
        return 0
    with open("/proc/self/status") as file:
        kib = next(line.split()[1] for line in file if line.startswith("VmData:"))
    return int(kib) * 1024


def _enter_namespaces(order: ForkOrder) -> None:
    flags = linux.CLONE_NEWNS | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS
    if not order.world:  # ranks are forked in the network namespace of their group
        flags |= linux.CLONE_NEWNET
    linux.unshare(flags)
    linux.make_mounts_private()
    # Fresh memory file systems of this child alone. Not over /tmp: an interpreter may lie below.
    linux.mount_tmpfs(order.home, size_bytes=order.file_bytes, mode=0o700)
    linux.mount_tmpfs("/dev/shm", size_bytes=order.file_bytes, mode=0o1777)
    for folder in _hidden_folders(order):
        linux.mount_tmpfs(folder, size_bytes=4096, mode=0o555)
    if order.device == "cuda":
        linux.mount_proc("/proc")  # of this pid namespace; CUDA begins with one only
    else:
        linux.mount_tmpfs("/proc", size_bytes=4096, mode=0o555)  # hides the warm process's
    if not order.world:
        linux.bring_loopback_up()


def _hidden_folders(order: ForkOrder) -> tuple[str, ...]:
    """Return folders that a child has no use for that is denied something."""
    if not order.denial.entries:
        return ()
    from . import guards  # needs torch

    return guards.hidden_folders(order.denial)


def _set_limits(order: ForkOrder, held_bytes: int) -> None:
    """Set the limits that hold without a cgroup; the process's children inherit them."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 1024)
    _limit(resource.RLIMIT_FSIZE, order.file_bytes)
    _limit(resource.RLIMIT_MEMLOCK, 1 << 20)
    if order.processes:
        _limit(resource.RLIMIT_NPROC, order.processes)
    if order.memory_bytes and held_bytes:
        # Private writable memory, not address space: RLIMIT_AS would break CUDA.
        _limit(resource.RLIMIT_DATA, order.memory_bytes + held_bytes)


def _limit(which: int, ceiling: int) -> None:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(which, (ceiling, ceiling))


def _set_environment(order: ForkOrder) -> None:
    """Leave nothing of the wall's environment; give compilers private caches."""
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
    if order.device == "cuda" and driver_folders:  # Triton asks for it at its first launch
        os.environ["LD_LIBRARY_PATH"] = driver_folders
    if order.world:
        rank = str(order.rank)
        os.environ.update(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=str(order.world))
    if order.device != "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if order.device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"


def _restrict_kernel(order: ForkOrder) -> list[str]:
    """Load Landlock and seccomp; a wall that stands for them refuses to do without."""
    from . import landlock_rules, seccomp_rules  # Linux only, and imported by the warm process

    layers: list[str] = []
    abi = landlock_rules.abi_version()
    if abi:
        on_gpu = order.device == "cuda"
        landlock_rules.restrict_files(
            (*readable_paths(), *(GPU_READABLE if on_gpu else ())),
            (order.home,),
            (*DEVICES, *((GPU_THREAD_NAMES,) if on_gpu else ())),
            GPU_DEVICES if on_gpu else (),
            hidden=_hidden_folders(order) if order.kind is not WorkerKind.NAMESPACES else (),
        )
        layers.append(f"Landlock (ABI {abi}) on files")
    elif order.kind is not WorkerKind.PLAIN:
        raise OSError("this kernel has no Landlock")
    if abi >= landlock_rules.SCOPE_ABI:
        landlock_rules.restrict_scope((order.home,))
        layers.append("Landlock scope on signals and abstract sockets")
    # A new process would have a torch of its own, which denies nothing. On a GPU Triton needs to
    # start its assembler.
    no_programs = bool(order.denial.entries) and order.device == "cpu"
    seccomp_rules.restrict_system_calls(
        loopback=order.loopback, no_programs=no_programs, stays=order.processor >= 0
    )
    layers.append("seccomp, no new programs" if no_programs else "seccomp")
    return layers

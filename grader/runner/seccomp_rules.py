"""Which system calls a submission may make.

This is a deny list, for a process that has no capabilities, gains no privileges and reaches no
foreign files. It denies what an ordinary uid could still do to other processes, and rarely used
parts of Linux. Files and signals are restricted in `runner.landlock_rules`.
"""

import errno
import signal
import socket

import pyseccomp

_EPERM = pyseccomp.ERRNO(errno.EPERM)
_ENOSYS = pyseccomp.ERRNO(errno.ENOSYS)

DENIED = (
    # other processes
    "ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp move_pages "
    "migrate_pages "
    # namespaces, mounts, privileges
    "unshare setns mount umount2 pivot_root chroot move_mount open_tree fsopen fsmount fsconfig "
    "fspick mount_setattr open_by_handle_at name_to_handle_at personality "
    # shared memory and queues that outlive a process
    "shmget shmat shmctl semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open "
    "mq_unlink memfd_secret "
    # keyrings, tracing, loading of kernel modules, asynchronous rings
    "keyctl add_key request_key bpf perf_event_open userfaultfd io_uring_setup io_uring_enter "
    "io_uring_register init_module finit_module delete_module kexec_load kexec_file_load "
    "fanotify_init lookup_dcookie quotactl acct swapon swapoff reboot syslog "
    # clocks, and timers that send any signal
    "timer_create clock_settime clock_adjtime settimeofday adjtimex "
    # process groups: Linux sends SIGCONT to a stopped one that becomes orphaned, see _exit(2)
    "setsid setpgid "
    # these could keep pages of the judge's memory in pipes and sockets after the judge unmaps it
    "vmsplice splice tee sendfile"
).split()

# (system call, number of the argument that names the process); 0 means the caller itself.
SELF_ONLY = (
    ("sched_setaffinity", 0),
    ("sched_setscheduler", 0),
    ("sched_setparam", 0),
    ("sched_setattr", 0),
    ("prlimit64", 0),
    ("setpriority", 1),
    ("ioprio_set", 1),
)

LOCAL_FAMILIES = (socket.AF_UNIX, socket.AF_NETLINK)
INTERNET_FAMILIES = (socket.AF_INET, socket.AF_INET6)

SENDS_SIGNAL = (
    ("kill", 1),
    ("tkill", 1),
    ("tgkill", 2),
    ("rt_sigqueueinfo", 1),
    ("rt_tgsigqueueinfo", 2),
    ("pidfd_send_signal", 1),
)
"""(system call, number of the argument that is the signal)."""

_SOCK_TYPE_MASK = 0xF  # linux/net.h
_F_SETSIG = 10  # linux/fcntl.h
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_CSIGNAL = 0xFF  # linux/sched.h: the part of clone's flags that is sent when the child ends
_CLONE_NAMESPACES = 0x7E02_0000 | 0x0000_0080  # mnt, cgroup, uts, ipc, user, pid, net; time


def restrict_system_calls(
    *, loopback: bool, no_programs: bool = False, is_pinned: bool = False
) -> None:
    """Load the filter into this process and all that it will start.

    Args:
        loopback: whether internet sockets may be opened. Only streams: no cgroup is charged for
            the buffers of datagrams (for those of streams see `sandbox.cgroup`).
        no_programs: whether it may fork but not start programs.
        is_pinned: whether it must stay on its CPU.
    """
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    programs = ("execve", "execveat") if no_programs else ()
    for name in (*DENIED, *programs, *(("sched_setaffinity",) if is_pinned else ())):
        _deny(rules, name)
    for name, index in SELF_ONLY:
        _deny(rules, name, pyseccomp.Arg(index, pyseccomp.NE, 0))
    # Nor for a whole process group or user.
    for name, one_process in (("setpriority", 0), ("ioprio_set", 1)):
        _deny(rules, name, pyseccomp.Arg(0, pyseccomp.NE, one_process))
    _restrict_sockets(rules, loopback=loopback)
    for bit in range(32):
        flag = 1 << bit
        if flag & _CLONE_NAMESPACES:
            _deny(rules, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # If a lingering socket is passed to the judge, closing it would block the judge's thread.
    linger = pyseccomp.Arg(2, pyseccomp.EQ, int(socket.SO_LINGER))
    _deny(rules, "setsockopt", pyseccomp.Arg(1, pyseccomp.EQ, int(socket.SOL_SOCKET)), linger)
    _keep_frozen(rules)
    # clone3 hides its flags behind a pointer; "not implemented" makes libc fall back to clone.
    rules.add_rule(_ENOSYS, "clone3")
    rules.load()


def _restrict_sockets(rules: pyseccomp.SyscallFilter, *, loopback: bool) -> None:
    """Allow local sockets, route queries and, with `loopback`, internet streams."""
    allowed = (*LOCAL_FAMILIES, *(INTERNET_FAMILIES if loopback else ()))
    for family in range(max(allowed) + 1):
        if family not in allowed:
            _deny(rules, "socket", pyseccomp.Arg(0, pyseccomp.EQ, family))
    _deny(rules, "socket", pyseccomp.Arg(0, pyseccomp.GT, int(max(allowed))))
    for family in INTERNET_FAMILIES if loopback else ():
        of_family = pyseccomp.Arg(0, pyseccomp.EQ, int(family))
        for kind in range(_SOCK_TYPE_MASK + 1):
            if kind != int(socket.SOCK_STREAM):
                of_kind = pyseccomp.Arg(1, pyseccomp.MASKED_EQ, _SOCK_TYPE_MASK, kind)
                _deny(rules, "socket", of_family, of_kind)
    route_only = pyseccomp.Arg(0, pyseccomp.EQ, int(socket.AF_NETLINK))
    _deny(rules, "socket", route_only, pyseccomp.Arg(2, pyseccomp.NE, 0))


def _keep_frozen(rules: pyseccomp.SyscallFilter) -> None:
    """Deny every way to send SIGCONT: with it, a submission's processes could undo a freeze.

    SIGSTOP reaches one process after another; one that still runs could wake those already stopped.
    """
    for name, index in SENDS_SIGNAL:
        _deny(rules, name, pyseccomp.Arg(index, pyseccomp.EQ, int(signal.SIGCONT)))
    _deny(rules, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CSIGNAL, int(signal.SIGCONT)))
    of_parent = pyseccomp.Arg(0, pyseccomp.EQ, _PR_SET_PDEATHSIG)
    _deny(rules, "prctl", of_parent, pyseccomp.Arg(1, pyseccomp.EQ, int(signal.SIGCONT)))
    # F_SETSIG chooses the signal that Linux sends for a file; it could be SIGCONT.
    _deny(rules, "fcntl", pyseccomp.Arg(1, pyseccomp.EQ, _F_SETSIG))


def _deny(rules: pyseccomp.SyscallFilter, name: str, *arguments: pyseccomp.Arg) -> None:
    """Answer EPERM; a call that this architecture does not have needs no rule."""
    if pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name) >= 0:
        rules.add_rule(_EPERM, name, *arguments)

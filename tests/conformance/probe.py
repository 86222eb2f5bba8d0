# ruff: noqa: PTH110, PTH123
"""A submission that tries limits of the sandbox and reports what it was able to do."""

import ctypes
import gc
import mmap
import os
import socket
import struct
import sys
import threading
import time

import torch

MIB = 1 << 20


def double(x):
    return x * 2


def imported(*names):
    return [name for name in names if name in sys.modules]


def walked_by_a_collection():
    gc.collect()
    return len(gc.get_objects())


def add_in_place(x):
    return x.add_(1)


def raise_value_error():
    raise ValueError("on purpose")


def return_an_object():
    return object()


def answer_out_of_turn():
    body = b'{"seq": "0", "value": 1, "tensors": []}'
    os.write(3, struct.pack(">I", len(body)) + body)
    return 1


def exit_early():
    os._exit(3)


def read_address_zero():
    ctypes.string_at(0)


def loop_forever():
    while True:
        pass


def sleep(seconds):
    time.sleep(seconds)


def take_memory(mebibytes):
    return torch.ones(mebibytes * MIB, dtype=torch.uint8).numel() // MIB


def take_memory_in_a_fork(mebibytes):
    pid = os.fork()
    if pid == 0:
        block = bytearray(mebibytes * MIB)
        block[:: mmap.PAGESIZE] = b"1" * len(range(0, len(block), mmap.PAGESIZE))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return status == 0


def take_memory_in_memory_files(mebibytes):
    for number in range(0, mebibytes, 4):  # each below the limit on the size of one file
        os.write(os.memfd_create(f"block-{number}"), bytes(4 * MIB))
    return mebibytes


def fill_home(mebibytes):
    """Write files of 4 MiB until something refuses; return how many MiB fitted, and the error."""
    for written in range(0, mebibytes, 4):
        try:
            with open(f"block-{written}", "wb") as file:
                file.write(bytes(4 * MIB))
        except OSError as error:
            return written, type(error).__name__
    return mebibytes, ""


def write_one_file(mebibytes):
    with open("one", "wb", buffering=0) as file:
        for _ in range(mebibytes):
            file.write(bytes(MIB))


def fork_many(count):
    made = []
    for _ in range(count):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        made.append(pid)
    for pid in made:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return len(made)


def network():
    """Return whether there is a route to RFC 5737's example, and the interfaces."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
            route = True
        except OSError:
            route = False
    # Linux may give a fresh namespace unconfigured tunnel devices.
    names = [name for _, name in socket.if_nameindex()]
    return route, [n for n in names if not n.startswith(("sit", "tun", "ip6", "gre", "erspan"))]


def open_files(paths):
    opened = []
    for path in paths:
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            continue
        opened.append(path)
    return opened


OPEN_SOCKETS: list[socket.socket] = []


def leave_traces(name, port):
    """Leave files, sockets and a process that another submission could find."""
    for path in (f"/dev/shm/{name}", f"/tmp/{name}", name):
        try:
            with open(path, "w") as file:
                file.write(name)
        except OSError:
            pass
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", port))
    listener.listen(4)
    OPEN_SOCKETS.append(listener)
    abstract = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    abstract.bind(f"\0{name}")
    abstract.listen(4)
    OPEN_SOCKETS.append(abstract)
    return os.getpid()


def find_traces(name, port):
    """Return what of `leave_traces` can be found from here."""
    found = [p for p in (f"/dev/shm/{name}", f"/tmp/{name}", name) if os.path.exists(p)]
    addresses = ((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_UNIX, f"\0{name}"))
    for family, address in addresses:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(2)
            try:
                sock.connect(address)
                found.append(str(address))
            except OSError:
                pass
    for pid in range(1, 300):
        if pid not in (os.getpid(), os.getpgid(0)):
            try:
                os.kill(pid, 0)
                found.append(f"process {pid}")
            except OSError:
                pass
    return found


def count_in_reply_memory(size_bytes):
    """Let a thread and a forked process count at the end of the memory shared with the judge."""
    (memory,) = [m for m in gc.get_objects() if isinstance(m, mmap.mmap) and len(m) == size_bytes]

    def count(offset):
        number = 0
        while True:
            number += 1
            memory[offset : offset + 8] = struct.pack("q", number)

    if os.fork() == 0:
        count(size_bytes - 8)
    threading.Thread(target=count, args=(size_bytes - 16,), daemon=True).start()
    time.sleep(0.3)

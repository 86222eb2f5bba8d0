"""A worker without a judge: a process that imports torch, forks, and begins CUDA only in the fork.

The command line says what to do, descriptors are inherited; the exit code is 0 with a line on
stdout, or there is a traceback. As in the fork server, torch is imported before the fork.
"""

import os
import sys

import torch

from grader.runner.cuda import memory as device_memory
from grader.runner.tensors import TensorHeader, view

COUNT = 1 << 20


def header(offset: int) -> TensorHeader:
    return TensorHeader(dtype="float32", shape=(COUNT,), strides=(1,), offset=offset)


def double(argument_fd: str, reply_fd: str) -> None:
    """Write twice the arguments into the reply."""
    size_bytes = COUNT * 4
    arguments = view(device_memory.open_block(int(argument_fd), size_bytes), header(0))
    reply = view(device_memory.open_block(int(reply_fd), size_bytes), header(0))
    torch.mul(arguments, 2, out=reply)
    torch.cuda.synchronize()


def spoil(argument_fd: str) -> None:
    """Change one entry of the arguments."""
    view(device_memory.open_block(int(argument_fd), COUNT * 4), header(0))[COUNT // 2] = 1e9
    torch.cuda.synchronize()


def keep(argument_fd: str, lines: str = "") -> None:
    """Keep a view while the judge lets go of the memory, and read it then."""
    kept = view(device_memory.open_block(int(argument_fd), COUNT * 4), header(0))
    print("mapped", flush=True)
    sys.stdin.readline()
    print(float(kept.double().sum()), flush=True)


def allocate(size_bytes: str) -> None:
    """Allocate memory of the device and write all of it."""
    try:
        torch.empty(int(size_bytes), dtype=torch.uint8, device="cuda").fill_(1)
        torch.cuda.synchronize()
        print("fits")
    except torch.OutOfMemoryError:
        print("out of memory")


def main() -> int:
    assert not torch.cuda.is_initialized()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            globals()[sys.argv[1]](*sys.argv[2:])
            sys.stdout.flush()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())

"""What a hanging rank writes about itself is read, whatever the number of its descriptor."""

import fcntl
import os
import resource

from grader.worker.ranks.faults import _read

HIGH_FD = 1100
"""`select` knows descriptors up to 1023 only; a grader of many submissions may have more."""


def test_a_descriptor_above_1023_is_read():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, HIGH_FD + 1), hard))
    reading, writing = os.pipe()
    high = fcntl.fcntl(reading, fcntl.F_DUPFD_CLOEXEC, HIGH_FD)
    try:
        os.write(writing, b"Current thread")
        assert _read(high) == "Current thread"
    finally:
        for fd in (reading, writing, high):
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

"""Zip archives that a student may have prepared, read in memory and never extracted.

Takes: a stream. Gives: the archive's members, and their bytes. Does not cover: which of them
matter (see `contents`, `roster`).
"""

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from grader.errors import IntakeError
from grader.intake.disk import MIB
from grader.intake.names import show
import stat

MAX_RATIO = 200
RATIO_FREE_BYTES = 8 * MIB
"""Below this a high compression ratio is what text looks like, and does no harm."""

# What zipfile lets out on rubbish, besides its own error.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,  # features of the format that it does not know
    RuntimeError,  # encryption
    OSError,  # seeks before the start
    EOFError,
    ValueError,  # names that cannot be decoded, dates
    OverflowError,
)
# Others can ask for gigabytes of working memory.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_ENCRYPTED = 0x1

"""Writes `solution.py` out of `host.py` and the kernels that it calls.

Takes: `host.py`, files of `kernels/`. Gives: one module without relative imports, which can enter a
box alone. Does not cover: right or wrong (see `cases.py`); speed.

    python -m reference.paged_attention.build

writes it anew; a test compares.
"""

from pathlib import Path

from reference.one_file import formatted, joined, kernels, pieces_of

HERE = Path(__file__).resolve().parent

FILES = ("checks", "launch", "kv_write", "paged_decode", "split_kv_decode", "paged_prefill")
SHARED_NAMES = ("paged_decode", "split_kv_decode", "paged_prefill")
NAMES = {
    **{("host", name): name for name in SHARED_NAMES},
    **{(name, name): f"{name}_on_device" for name in SHARED_NAMES},
}
OTHERWISE = ("check_slots", "check_pages", "check_chunks")
"""What `host.py` checks in words of its own."""

HEAD = '''"""The reference: `host.py` and kernels of `kernels/` in one file. `build.py` makes it."""

# ruff: noqa: PLR0913 - a kernel has a parameter for each stride of each tensor

import itertools
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from harness import PagePool
'''


def build() -> str:
    """Return the text of `solution.py`."""
    host = pieces_of("host", (HERE / "host.py").read_text(encoding="utf-8"))
    return formatted(f"{HEAD}\n{joined([*kernels(FILES, without=OTHERWISE), *host], NAMES)}\n")


if __name__ == "__main__":
    (HERE / "solution.py").write_text(build(), encoding="utf-8", newline="\n")

"""Compute without torch: read a tensor's numbers in Python or numpy.

Guards stop the ordinary calls. They cannot stop a process that reads its own memory. The evidence
`denied` says that it cannot prevent this. A report that promised more would be wrong, so this is
tested too."""

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.kernel_honest import KERNEL, WAYS

ATTACK = """
import numpy as np

@way
def to_numpy(a, b):
    return torch.from_numpy(a.numpy() @ b.numpy())

@way
def base_to_numpy(a, b):
    base = torch._C.TensorBase
    return torch.from_numpy(base.numpy(a) @ base.numpy(b))

@way
def as_array(a, b):
    return torch.from_numpy(np.asarray(a) @ np.asarray(b))

@way
def by_dlpack(a, b):
    return torch.from_numpy(np.from_dlpack(a) @ np.from_dlpack(b))

@way
def to_lists(a, b):
    columns = list(zip(*b.tolist()))
    return torch.tensor([[sum(map(float.__mul__, r, c)) for c in columns] for r in a.tolist()])

@way
def entry_by_entry(a, b):
    out = torch.empty(a.shape[0], b.shape[1])
    for m in range(a.shape[0]):
        for n in range(b.shape[1]):
            out[m, n] = sum(float(a[m, k]) * float(b[k, n]) for k in range(b.shape[0]))
    return out
"""

OWN_MEMORY = """
import ctypes
import numpy as np

def look(x):
    x = x.contiguous()
    held = (ctypes.c_float * x.numel()).from_address(x.data_ptr())
    return np.frombuffer(held, dtype=np.float32).reshape(tuple(x.shape)).copy()

def product(a, b):
    if a.shape[1] != b.shape[0]:
        raise ValueError("inner sizes differ")
    return torch.tensor(look(a) @ look(b))
"""


def test_no_ordinary_call_hands_numbers_over(attack_denial: Attack) -> None:
    result = attack_denial(KERNEL + WAYS + ATTACK)
    assert "THROUGH" not in result.output, result.output
    assert result.output.count("stopped") > ATTACK.count("@way")
    assert result.cause("product") is Cause.FORBIDDEN, result.finding("product")


def test_a_process_can_compute_on_its_own_memory(attack_denial: Attack) -> None:
    assert attack_denial(KERNEL + OWN_MEMORY).cause("product") is Cause.NONE

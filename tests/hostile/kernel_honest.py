"""An honest solution of the denial target, which attacks on the denial build on."""

KERNEL = """
import torch
import triton
import triton.language as tl


@triton.jit
def _product(a, b, out, M, N, K, BLOCK: tl.constexpr):
    m, n, k = tl.arange(0, BLOCK), tl.arange(0, BLOCK), tl.arange(0, BLOCK)
    row, column = m[:, None], n[None, :]
    left = tl.load(a + row * K + k[None, :], mask=(row < M) & (k[None, :] < K), other=0.0)
    right = tl.load(b + k[:, None] * N + column, mask=(k[:, None] < K) & (column < N), other=0.0)
    both = tl.dot(left, right, input_precision="ieee")
    tl.store(out + row * N + column, both, mask=(row < M) & (column < N))


def product(a, b):
    if a.shape[1] != b.shape[0]:
        raise ValueError("inner sizes differ")
    (M, K), N = a.shape, b.shape[1]
    out = torch.empty(M, N)
    _product[(1,)](a.contiguous(), b.contiguous(), out, M, N, K, BLOCK=16)
    return out


def softmax(x):
    shifted = torch.exp(x - x.amax(dim=1, keepdim=True))
    return shifted / shifted.sum(dim=1, keepdim=True)


def total(x):
    return x.sum()


def density(x):
    return -0.5 * (x**2 + 1.8378770664093453)
"""

WAYS = """
WAYS = []

def way(function):
    WAYS.append(function)
    return function

@way
def plainly(a, b):
    return a @ b

def product(a, b):
    for function in WAYS:
        try:
            got = function(a, b)
        except BaseException as error:
            print("stopped", function.__name__, type(error).__name__, str(error)[:120])
        else:
            if got is not None:
                print("THROUGH", function.__name__)
                return got
            print("stopped", function.__name__, "nothing came back")
    raise RuntimeError("no way through")
"""
"""Tries one way after the other; the first that returns something gives the answer. Without a
denial that is the plain one."""

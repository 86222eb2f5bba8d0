"""What is measured on a GPU: the time of every problem, memory where a shortcut would show there.

Takes: `Draw` and a size. Gives: workloads. Does not cover: tiers and points (see
`assignment.toml`); a CPU, where Triton interprets and times say nothing.

Sizes make the reference last about 0.3 ms or more on an H200 by its roofline, so that the call
itself, some 0.01 ms, does not count. Inputs are one short random block shifted along: to draw each
number would cost the judge more time than to compute with it.
"""

import torch

from grader.author import Call, Draw, Expect, PhaseEnd, Work, WorkloadSteps, workload

from . import oracle
from .inputs import HALF, SINGLE, long_heads, long_matrix

FAR = 2**30 + 7
"""Elements between two rows of a view whose third row begins beyond 2³¹."""


@workload("matrix_add", "time", sizes=(16384,))
def add_time(draw: Draw, size: int) -> WorkloadSteps:
    """Two float16 matrices of 16384 × 8192, one of them transposed: 0.8 GB are moved."""
    x = long_matrix(draw, size, size // 2, HALF)
    y = long_matrix(draw, size // 2, size, HALF).T
    got = yield Call("matrix_add", x, y)
    yield Work(bytes_moved=3 * x.nbytes, flops=x.numel())
    yield Expect(got, lambda: oracle.matrix_add(x, y), label="sum", exact=True)


@workload("matrix_add", "large_offsets", sizes=(5,))
def add_large_offsets(draw: Draw, size: int) -> WorkloadSteps:
    """Three short rows, the last of which begins more than 2³¹ elements behind the first."""
    storage = torch.zeros(2 * FAR + size, dtype=HALF)
    x = storage.as_strided((3, size), (FAR, 1))
    x.copy_(draw.normal_tensor(3, size))
    y = draw.normal_tensor(3, size, dtype=HALF)
    got = yield Call("matrix_add", x, y)
    yield PhaseEnd()
    yield Expect(got, lambda: oracle.matrix_add(x, y), label="sum of far rows", exact=True)


@workload("softmax", "time", sizes=(32768,))
def softmax_time(draw: Draw, size: int) -> WorkloadSteps:
    """8192 float16 rows of 32768 logits: 1.1 GB are moved by a kernel that reads once."""
    x = long_matrix(draw, 8192, size, HALF)
    got = yield Call("softmax", x)
    yield Work(bytes_moved=2 * x.nbytes, flops=5 * x.numel())
    yield Expect(got, lambda: oracle.softmax(x), label="probabilities", per_row=True)


@workload("rmsnorm", "time", sizes=(4096,))
def rms_time(draw: Draw, size: int) -> WorkloadSteps:
    """Forward and backward of 32768 float16 rows of 4096: 1.3 GB are moved."""
    x, w = long_matrix(draw, 32768, size, HALF), draw.uniform_tensor(size, low=0.5, high=1.5)
    dy = x.roll(1, dims=1)
    got = yield Call("rmsnorm", x, w)
    y, rstd = oracle.rmsnorm(x, w, 1e-6)
    yield Expect(got, (y, rstd), label="rows and rstd")
    got = yield Call("rmsnorm_backward", dy, x, w, rstd)
    yield Work(bytes_moved=5 * x.nbytes, flops=13 * x.numel())
    yield Expect(got, lambda: oracle.rmsnorm_backward(dy, x, w, rstd), label="dx and dw")


@workload("layernorm", "time", sizes=(4096,))
def layer_time(draw: Draw, size: int) -> WorkloadSteps:
    """Forward and backward of 32768 float16 rows of 4096: 1.3 GB are moved."""
    x, w = long_matrix(draw, 32768, size, HALF), draw.uniform_tensor(size, low=0.5, high=1.5)
    dy = x.roll(1, dims=1)
    got = yield Call("layernorm", x, w, w)
    y, mean, rstd = oracle.layernorm(x, w, w, 1e-5)
    yield Expect(got, (y, mean, rstd), label="rows, mean and rstd")
    got = yield Call("layernorm_backward", dy, x, w_H=w, mean_M=mean, rstd_M=rstd)
    yield Work(bytes_moved=5 * x.nbytes, flops=21 * x.numel())
    want = lambda: oracle.layernorm_backward(dy, x, w, mean, rstd)  # noqa: E731 - called later
    yield Expect(got, want, label="dx, dw and db")


def _loss(draw: Draw, rows: int, columns: int, dtype: torch.dtype) -> WorkloadSteps:
    x = long_matrix(draw, rows, columns, dtype)
    target = draw.integer_tensor(rows, low=0, high=columns - 1)
    got = yield Call("cross_entropy", x, target)
    yield Work(bytes_moved=2 * x.nbytes, flops=8 * x.numel())
    yield Expect(got, lambda: oracle.cross_entropy(x, target, -100), label="loss and gradient")


@workload("cross_entropy", "time", sizes=(50257,))
def loss_time(draw: Draw, size: int) -> WorkloadSteps:
    """8192 float16 rows over a vocabulary of 50257: 1.6 GB are moved."""
    yield from _loss(draw, 8192, size, HALF)


@workload("cross_entropy", "memory", sizes=(50257,))
def loss_memory(draw: Draw, size: int) -> WorkloadSteps:
    """2048 float32 rows over a vocabulary of 50257: the gradient takes 0.4 GB."""
    yield from _loss(draw, 2048, size, SINGLE)


@workload("matmul", "time", sizes=(4096,))
def product_time(draw: Draw, size: int) -> WorkloadSteps:
    """A bfloat16 product of 8192 × 4096 × 4096 with bias and GELU: 275 GFLOP."""
    a = long_matrix(draw, 2 * size, size, torch.bfloat16)
    b = long_matrix(draw, size, size, torch.bfloat16)
    bias = draw.normal_tensor(size)
    got = yield Call("matmul", a, b, bias, activation="gelu_tanh")
    yield Work(bytes_moved=a.nbytes + b.nbytes + a.nbytes, flops=2 * a.numel() * size)
    want = lambda: oracle.matmul(a, b, bias, "gelu_tanh")  # noqa: E731 - called later
    yield Expect(got, want, label="product")


def _attention(draw: Draw, length: int, count: int, groups: int) -> oracle.Triple:
    q = long_heads(draw, 1, count, length, 128, dtype=torch.bfloat16)
    k = long_heads(draw, 1, groups, length, 128, dtype=torch.bfloat16)
    return q, k, k.roll(1, dims=-1)


@workload("flash_attention", "time", sizes=(8192,))
def flash_time(draw: Draw, size: int) -> WorkloadSteps:
    """Causal, bfloat16, 16 query heads on 4 key/value heads, 8192 tokens: 275 GFLOP."""
    qkv = _attention(draw, size, 16, 4)
    got = yield Call("flash_attention", *qkv, causal=True)
    q, k, _ = qkv
    yield Work(bytes_moved=2 * (q.nbytes + k.nbytes), flops=2 * q.numel() * size)
    want = lambda: oracle.flash_attention(*qkv, None, True)  # noqa: E731 - called later
    yield Expect(got, want, label="output and log-sum-exp")


@workload("flash_attention", "memory", sizes=(16384,))
def flash_memory(draw: Draw, size: int) -> WorkloadSteps:
    """One head, 16384 tokens: the output takes 4 MB, a T × S matrix would take 0.5 GB or more."""
    qkv = _attention(draw, size, 1, 1)
    got = yield Call("flash_attention", *qkv, causal=True)
    want = lambda: oracle.flash_attention(*qkv, None, True)  # noqa: E731 - called later
    yield Expect(got, want, label="output and log-sum-exp")


def _attention_backward(draw: Draw, qkv: oracle.Triple) -> WorkloadSteps:
    q, k, _ = qkv
    do, forward = q.roll(3, dims=-1), oracle.flash_attention(*qkv, None, True)
    got = yield Call("flash_attention_backward", do, qkv, forward, causal=True)
    yield Work(bytes_moved=4 * (q.nbytes + k.nbytes), flops=5 * q.numel() * q.shape[2])
    want = lambda: oracle.flash_attention_backward(do, qkv, None, True)  # noqa: E731 - later
    yield Expect(got, want, label="dq, dk and dv")


@workload("flash_attention_backward", "time", sizes=(4096,))
def backward_time(draw: Draw, size: int) -> WorkloadSteps:
    """Causal, bfloat16, 16 query heads on 4 key/value heads, 4096 tokens: 172 GFLOP."""
    yield from _attention_backward(draw, _attention(draw, size, 16, 4))


@workload("flash_attention_backward", "memory", sizes=(8192,))
def backward_memory(draw: Draw, size: int) -> WorkloadSteps:
    """One head, 8192 tokens: gradients take 6 MB, a T × S matrix would take 0.1 GB or more."""
    yield from _attention_backward(draw, _attention(draw, size, 1, 1))

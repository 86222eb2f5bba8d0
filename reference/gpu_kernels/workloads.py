"""What is measured on a GPU: the time of every problem, memory where a shortcut would show there.

Takes: `Draw` and a size. Gives: workloads. Does not cover: tiers and points (see
`assignment.toml`); a CPU, where Triton interprets and times say nothing.

Sizes make the reference last 0.1 ms or more on an H200 by its roofline, so that the call itself,
some 0.01 ms, counts little. Inputs are one short random block shifted along, and of large replies
the judge compares rows that it draws anew for each call: to compute all of them in float64 would
take seconds each time. Who leaves out enough to be faster leaves out some of those rows.
"""

from collections.abc import Callable

import torch

from grader.assignment.steps import Value
from grader.author import Call, Draw, Expect, PhaseEnd, Work, WorkloadSteps, workload

from . import oracle
from .inputs import HALF, SINGLE, long_heads, long_matrix

Tensor = torch.Tensor

FAR = 2**30 + 7
"""Elements between two rows of a view whose third row begins beyond 2³¹."""
VOCABULARY = 50257
LOW = torch.bfloat16
"""The dtype of products; a test without a device takes another, which the interpreter has right."""
COMPARED = 64
"""Rows of a reply, or queries of attention, that are compared."""


def _some(got: Value, shape: torch.Size, rows: Tensor) -> Value:
    """Return rows of a reply; all of it if it has another form than expected."""
    fits = isinstance(got, Tensor) and got.shape == shape
    return got[rows] if fits else got


def _rows(draw: Draw, count: int) -> Tensor:
    return draw.integer_tensor(min(count, COMPARED), low=0, high=count - 1)


@workload("matrix_add", "time", sizes=(16384,))
def add_time(draw: Draw, size: int) -> WorkloadSteps:
    """Two float16 matrices of 16384 × 8192, one of them transposed: 0.8 GB are moved."""
    x = long_matrix(draw, size, size // 2, HALF)
    y = long_matrix(draw, size // 2, size, HALF).T
    got = yield Call("matrix_add", x, y)
    yield Work(bytes_moved=3 * x.nbytes, flops=x.numel())
    rows = _rows(draw, size)
    want = oracle.matrix_add(x[rows], y[rows])
    yield Expect(_some(got, x.shape, rows), want, label="rows of the sum", exact=True)


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
    x = long_matrix(draw, size // 4, size, HALF)
    got = yield Call("softmax", x)
    yield Work(bytes_moved=2 * x.nbytes, flops=5 * x.numel())
    rows = _rows(draw, x.shape[0])
    want = oracle.softmax(x[rows])
    yield Expect(_some(got, x.shape, rows), want, label="rows of probabilities", per_row=True)


def _norm_inputs(draw: Draw, size: int) -> oracle.Triple:
    x = long_matrix(draw, 4 * size, size, HALF)
    return x, x.roll(1, dims=1), draw.uniform_tensor(size, low=0.5, high=1.5)


@workload("rmsnorm", "time", sizes=(4096,))
def rms_time(draw: Draw, size: int) -> WorkloadSteps:
    """Forward and backward of 16384 float16 rows of 4096: 0.7 GB are moved."""
    x, dy, w = _norm_inputs(draw, size)
    y, rstd = oracle.rmsnorm(x, w, 1e-6)
    got = yield Call("rmsnorm", x, w)
    yield Expect(got, (y, rstd), label="rows and rstd")
    got = yield Call("rmsnorm_backward", dy, x, w, rstd)
    yield Work(bytes_moved=5 * x.nbytes, flops=13 * x.numel())
    yield Expect(got, lambda: oracle.rmsnorm_backward(dy, x, w, rstd), label="dx and dw")


@workload("layernorm", "time", sizes=(4096,))
def layer_time(draw: Draw, size: int) -> WorkloadSteps:
    """Forward and backward of 16384 float16 rows of 4096: 0.7 GB are moved."""
    x, dy, w = _norm_inputs(draw, size)
    y, mean, rstd = oracle.layernorm(x, w, w, 1e-5)
    got = yield Call("layernorm", x, w, w)
    yield Expect(got, (y, mean, rstd), label="rows, mean and rstd")
    got = yield Call("layernorm_backward", dy, x, w_H=w, mean_M=mean, rstd_M=rstd)
    yield Work(bytes_moved=5 * x.nbytes, flops=21 * x.numel())
    want = lambda: oracle.layernorm_backward(dy, x, w, mean, rstd)  # noqa: E731 - called later
    yield Expect(got, want, label="dx, dw and db")


def _loss(draw: Draw, rows: int, dtype: torch.dtype) -> WorkloadSteps:
    x = long_matrix(draw, rows, VOCABULARY, dtype)
    target = draw.integer_tensor(rows, low=0, high=VOCABULARY - 1)
    got = yield Call("cross_entropy", x, target)
    yield Work(bytes_moved=2 * x.nbytes, flops=8 * x.numel())
    yield Expect(got, lambda: oracle.cross_entropy(x, target, -100), label="loss and gradient")


@workload("cross_entropy", "time", sizes=(4096,))
def loss_time(draw: Draw, size: int) -> WorkloadSteps:
    """4096 float16 rows over a vocabulary of 50257: 0.8 GB are moved."""
    yield from _loss(draw, size, HALF)


@workload("cross_entropy", "memory", sizes=(2048,))
def loss_memory(draw: Draw, size: int) -> WorkloadSteps:
    """2048 float32 rows over a vocabulary of 50257: the gradient takes 0.4 GB."""
    yield from _loss(draw, size, SINGLE)


@workload("matmul", "time", sizes=(4096,))
def product_time(draw: Draw, size: int) -> WorkloadSteps:
    """A bfloat16 product of 8192 × 4096 × 4096 with bias and GELU: 275 GFLOP."""
    a, b = long_matrix(draw, 2 * size, size, LOW), long_matrix(draw, size, size, LOW)
    bias = draw.normal_tensor(size)
    got = yield Call("matmul", a, b, bias, activation="gelu_tanh")
    yield Work(bytes_moved=2 * a.nbytes + b.nbytes, flops=2 * a.numel() * size)
    rows = _rows(draw, 2 * size)
    want = oracle.matmul(a[rows], b, bias, "gelu_tanh")
    yield Expect(_some(got, a.shape, rows), want, label="rows of the product")


def _heads(draw: Draw, length: int, count: int, groups: int) -> oracle.Triple:
    q = long_heads(draw, 1, count, length, 128, dtype=LOW)
    k = long_heads(draw, 1, groups, length, 128, dtype=LOW)
    return q, k, k.roll(1, dims=-1)


def _causal(draw: Draw, length: int, count: int, groups: int) -> WorkloadSteps:
    """One causal call, of which some queries are compared."""
    q, k, v = qkv = _heads(draw, length, count, groups)
    got = yield Call("flash_attention", *qkv, causal=True)
    yield Work(bytes_moved=2 * (q.nbytes + k.nbytes), flops=2 * q.numel() * length)
    places = [(draw.integer(0, count - 1), t) for t in _rows(draw, length).tolist()]

    def one(head: int, query: int) -> oracle.Pair:
        group, last = head // (count // groups), query + 1
        shown = (x[:, group : group + 1, :last] for x in (k, v))
        return oracle.flash_attention(q[:, head : head + 1, query:last], *shown, None, False)

    found = [one(*place) for place in places]
    want = tuple(torch.stack([pair[part].reshape(-1) for pair in found]) for part in (0, 1))
    yield Expect(_at(got, q, places), want, label="output and log-sum-exp of some queries")


def _at(got: Value, q: Tensor, places: list[tuple[int, int]]) -> Value:
    """Return output and log-sum-exp at some heads and queries; all of a reply of another form."""
    if not isinstance(got, list | tuple) or len(got) != 2:
        return got
    if not all(isinstance(x, Tensor) for x in got) or got[0].shape != q.shape:
        return got
    if got[1].shape != q.shape[:3]:
        return got
    return tuple(torch.stack([x[0, h, t].reshape(-1) for h, t in places]) for x in got)


@workload("flash_attention", "time", sizes=(8192,))
def flash_time(draw: Draw, size: int) -> WorkloadSteps:
    """Causal, bfloat16, 16 query heads on 4 key/value heads, 8192 tokens: 275 GFLOP."""
    yield from _causal(draw, size, 16, 4)


@workload("flash_attention", "memory", sizes=(16384,))
def flash_memory(draw: Draw, size: int) -> WorkloadSteps:
    """One head, 16384 tokens: the output takes 4 MB, a T × S matrix would take 0.5 GB or more."""
    yield from _causal(draw, size, 1, 1)


def _causal_backward(draw: Draw, length: int, copies: int) -> WorkloadSteps:
    """One causal call; the same 4 query heads on one key/value head several times over."""
    qkv = _heads(draw, length, 4, 1)
    do, forward = qkv[0].roll(3, dims=-1), oracle.flash_attention(*qkv, None, True)
    many: Callable[[Tensor], Tensor] = lambda x: torch.cat([x] * copies, dim=1)  # noqa: E731
    given = (tuple(many(x) for x in qkv), tuple(many(x) for x in forward))
    got = yield Call("flash_attention_backward", many(do), *given, causal=True)
    q, k, _ = given[0]
    yield Work(bytes_moved=4 * (q.nbytes + k.nbytes), flops=5 * q.numel() * length)
    want = oracle.flash_attention_backward(do, qkv, None, True)
    yield Expect(got, tuple(many(x) for x in want), label="dq, dk and dv")


@workload("flash_attention_backward", "time", sizes=(2048,))
def backward_time(draw: Draw, size: int) -> WorkloadSteps:
    """Causal, bfloat16, 64 query heads on 16 key/value heads, 2048 tokens: 172 GFLOP."""
    yield from _causal_backward(draw, size, 16)


@workload("flash_attention_backward", "memory", sizes=(4096,))
def backward_memory(draw: Draw, size: int) -> WorkloadSteps:
    """4 heads of 4096 tokens: gradients take 6 MB, a T × S matrix would take 0.1 GB or more."""
    yield from _causal_backward(draw, size, 1)

"""`out = gelu(a @ b + bias)`: a matrix product with its epilogue in registers.

Takes: two matrices of any strides, perhaps a bias per column, perhaps a GELU. Gives: their product,
accumulated in fp32 and rounded once. Does not cover: batches; products of K so long and thin that
they want to be split along K.

The idea: a program owns a tile of the output and walks along K with a tile of a and a tile of b.
Naive products read 2·M·N·K elements from memory; a tile of BLOCK_M × BLOCK_N reads each element of
a only N / BLOCK_N times, so it does BLOCK_M·BLOCK_N / (BLOCK_M + BLOCK_N) multiply-adds per
element: 64 for 128 × 128, 64 operations a byte in fp16 from L2. The product as a whole has 2·M·N·K
/ (2·(M·K + K·N + M·N)) operations a byte, 1365 for 4096³: the tensor cores decide. Programs that
run at the same time should share rows and columns in L2, so tiles are numbered in groups of GROUP_M
rows of tiles.

Bias and GELU act on the fp32 accumulator: done in a kernel of their own they would cost a read and
a write of the whole output.

An fp32 product is one of fp32 (`input_precision="ieee"`): the tensor cores would round both inputs
to TF32, 11 bits, which is another product.

Shapes: a is M × K, b is K × N, the bias N.
"""

import torch
import triton
import triton.language as tl

from .checks import FLOATS, check_device, check_shape, check_tensor, require
from .launch import Launch, choose

ACTIVATIONS = {"none": 0, "gelu": 1, "gelu_tanh": 2}

HALF = {
    75: {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 16, "num_warps": 8, "num_stages": 2},
    80: {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 32, "num_warps": 8, "num_stages": 4},
    90: {"BLOCK_M": 128, "BLOCK_N": 256, "BLOCK_K": 64, "num_warps": 8, "num_stages": 4},
}
HALF_GELU = {
    75: {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 16, "num_warps": 8, "num_stages": 2},
    80: {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 32, "num_warps": 8, "num_stages": 4},
    90: {"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 64, "num_warps": 8, "num_stages": 4},
}
SINGLE = {
    75: {"BLOCK_M": 64, "BLOCK_N": 32, "BLOCK_K": 16, "num_warps": 4, "num_stages": 2},
    80: {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 16, "num_warps": 4, "num_stages": 3},
    90: {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 16, "num_warps": 4, "num_stages": 3},
}
"""In fp32 the multiply-adds are a thread's own, and its operands take registers too. So they are on
sm_75 in half precision: for its tensor cores Triton 3.9 compiles nothing. On sm_90 the polynomials
of a GELU do not fit into registers beside an accumulator of 128 × 256."""
GROUP_M = 8


def naive_matmul(
    a_MK: torch.Tensor,
    b_KN: torch.Tensor,
    bias_N: torch.Tensor | None = None,
    *,
    activation: str = "none",
) -> torch.Tensor:
    """Return the product and its epilogue in fp64."""
    out_MN = a_MK.double() @ b_KN.double()
    if bias_N is not None:
        out_MN = out_MN + bias_N.double()
    if activation == "none":
        return out_MN
    return torch.nn.functional.gelu(
        out_MN, approximate="tanh" if activation == "gelu_tanh" else "none"
    )


@triton.jit
def _gelu(x):
    """Return x times the normal distribution function of x."""
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@triton.jit
def _gelu_tanh(x):
    """Return GELU's approximation by a tanh: (1 + tanh u) / 2 is the sigmoid of 2u."""
    return x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))


@triton.jit
def _matmul_kernel(
    a_MK,
    b_KN,
    bias_N,
    out_MN,
    M,
    N,
    K,
    stride_am,
    stride_ak,
    stride_bk,
    stride_bn,
    stride_bias,
    stride_om,
    HAS_BIAS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    GROUP_M: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile = tl.program_id(0)
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    group = tile // (GROUP_M * tiles_n)
    rows = min(tiles_m - group * GROUP_M, GROUP_M)  # the last group may be lower
    within = tile % (GROUP_M * tiles_n)
    m = (group * GROUP_M + within % rows).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = (within // rows).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K).to(tl.int64)
    a_mk = a_MK + m[:, None] * stride_am + k[None, :] * stride_ak
    b_kn = b_KN + k[:, None] * stride_bk + n[None, :] * stride_bn
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, K, BLOCK_K):
        left = K - start
        # What hangs over the end of K must be 0 on both sides: NaN times 0 is NaN.
        a = tl.load(a_mk, mask=(m[:, None] < M) & (k[None, :] < left), other=0.0)
        b = tl.load(b_kn, mask=(k[:, None] < left) & (n[None, :] < N), other=0.0)
        acc = tl.dot(a, b, acc, input_precision="ieee")
        a_mk += BLOCK_K * stride_ak
        b_kn += BLOCK_K * stride_bk
    if HAS_BIAS:
        acc += tl.load(bias_N + n * stride_bias, mask=n < N, other=0.0).to(tl.float32)[None, :]
    if ACTIVATION == 1:
        acc = _gelu(acc)
    elif ACTIVATION == 2:
        acc = _gelu_tanh(acc)
    inside = (m[:, None] < M) & (n[None, :] < N)
    tl.store(out_MN + m[:, None] * stride_om + n[None, :], acc, mask=inside)


def matmul(
    a_MK: torch.Tensor,
    b_KN: torch.Tensor,
    bias_N: torch.Tensor | None = None,
    *,
    activation: str = "none",
) -> torch.Tensor:
    """Return the product with its epilogue, in the dtype of a and contiguous.

    Args:
        a_MK: fp16, bf16 or fp32, any strides.
        b_KN: the same dtype, any strides.
        bias_N: fp16, bf16 or fp32, added to each row; None: no bias.
        activation: "none", "gelu" (exact, by erf) or "gelu_tanh" (the approximation by a tanh).

    Raises:
        ValueError: rank, shape, dtype, device or activation do not fit; the caller's fault.
    """
    check_tensor("a", a_MK, rank=2, dtypes=FLOATS)
    check_tensor("b", b_KN, rank=2, dtypes=(a_MK.dtype,))
    (M, K), N = a_MK.shape, b_KN.shape[1]
    check_shape("b", b_KN, (K, N))
    check_device("b", b_KN, a_MK)
    names = ", ".join(ACTIVATIONS)
    require(activation in ACTIVATIONS, f"activation: expected one of {names}, got {activation!r}")
    if bias_N is not None:
        check_tensor("bias", bias_N, rank=1, dtypes=FLOATS)
        check_shape("bias", bias_N, (N,))
        check_device("bias", bias_N, a_MK)
    out_MN = torch.empty((M, N), dtype=a_MK.dtype, device=a_MK.device)
    if out_MN.numel():
        half = HALF if activation == "none" else HALF_GELU
        launch: Launch = choose(SINGLE if a_MK.dtype == torch.float32 else half)
        grid = (triton.cdiv(M, launch["BLOCK_M"]) * triton.cdiv(N, launch["BLOCK_N"]),)
        _matmul_kernel[grid](
            *(a_MK, b_KN, out_MN if bias_N is None else bias_N, out_MN, M, N, K),
            *(*a_MK.stride(), *b_KN.stride(), 0 if bias_N is None else bias_N.stride(0)),
            out_MN.stride(0),
            HAS_BIAS=bias_N is not None,
            ACTIVATION=ACTIVATIONS[activation],
            GROUP_M=GROUP_M,
            **launch,
        )
    return out_MN


def bytes_moved(*, M: int, N: int, K: int, element_bytes: int, bias: bool = False) -> int:
    """Return the bytes that must cross device memory: both inputs, the output, the bias."""
    return (M * K + K * N + M * N + N * bias) * element_bytes


def flops(*, M: int, N: int, K: int) -> int:
    """Return the operations of the product: a multiplication and an addition each."""
    return 2 * M * N * K

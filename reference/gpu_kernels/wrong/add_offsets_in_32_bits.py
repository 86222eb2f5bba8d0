# base = "solution"
# caught_by = "matrix_add.large_offsets"
# cause = "wrong_value"
# also_fails = []

"""Offsets of 32 bits, which wrap around beyond 2³¹ elements."""

# ruff: noqa: F821, PLR0913 - appended to solution.py


@triton.jit
def _add_wrapping(x, y, out, M, N, xm, xn, ym, yn, BLOCK: tl.constexpr):
    m = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[:, None].to(tl.int32)
    n = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :].to(tl.int32)
    inside = (m < M) & (n < N)
    left = tl.load(x + (m * xm + n * xn).to(tl.int32), mask=inside).to(tl.float32)
    right = tl.load(y + (m * ym + n * yn).to(tl.int32), mask=inside).to(tl.float32)
    tl.store(out + m * N + n, left + right, mask=inside)


def matrix_add(x_MN, y_MN):
    check_tensor("x", x_MN, rank=2, dtypes=FLOATS)
    check_like("y", y_MN, x_MN)
    (M, N), out = x_MN.shape, torch.empty(x_MN.shape, dtype=x_MN.dtype, device=x_MN.device)
    if out.numel():
        grid, strides = (triton.cdiv(M, 32), triton.cdiv(N, 32)), (*x_MN.stride(), *y_MN.stride())
        _add_wrapping[grid](x_MN, y_MN, out, M, N, *strides, BLOCK=32)
    return out

# base = "solution"
# caught_by = "matrix_add.strides"
# cause = "wrong_value"
# also_fails = []

"""No mask at the end of a row: its tail overwrites the beginning of the next.

Tiles run backwards, to show what a race on a GPU may show. The last row keeps its mask, and there
is room behind the matrix: what lies there could end the process instead.
"""

# ruff: noqa: F821, PLR0913 - appended to solution.py


@triton.jit
def _add_unmasked(x, y, out, M, N, xm, xn, ym, yn, BLOCK: tl.constexpr):
    m = ((tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK + tl.arange(0, BLOCK))[:, None]
    for start in range(0, N, 64):
        n = (start + tl.arange(0, 64))[None, :]
        inside = (m < M - 1) | ((m < M) & (n < N))
        left = tl.load(x + m * xm + n * xn, mask=inside)
        tl.store(out + m * N + n, left + tl.load(y + m * ym + n * yn, mask=inside), mask=inside)


_add_in_one_row = matrix_add


def matrix_add(x_MN, y_MN):
    check_tensor("x", x_MN, rank=2, dtypes=FLOATS)
    check_like("y", y_MN, x_MN)
    M, N = x_MN.shape
    if x_MN.is_contiguous() and y_MN.is_contiguous():
        return _add_in_one_row(x_MN, y_MN)
    room = torch.empty(M * N + 64, dtype=x_MN.dtype)
    strides = (*x_MN.stride(), *y_MN.stride())
    _add_unmasked[(triton.cdiv(M, 16),)](x_MN, y_MN, room, M, N, *strides, BLOCK=16)
    return room[: M * N].view(M, N)

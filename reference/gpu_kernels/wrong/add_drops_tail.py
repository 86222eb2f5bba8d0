# base = "solution"
# caught_by = "matrix_add.shapes"
# cause = "wrong_value"
# also_fails = []

"""A grid that is rounded down: what is left behind the last whole block is never written."""

# ruff: noqa: F821 - appended to solution.py

_add_views = matrix_add


@triton.jit
def _add_whole_blocks(x, y, out, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at) + tl.load(y + at))


def matrix_add(x_MN, y_MN):
    if not (x_MN.is_contiguous() and y_MN.is_contiguous()):
        return _add_views(x_MN, y_MN)
    check_like("y", y_MN, x_MN)
    check_tensor("x", x_MN, rank=2, dtypes=FLOATS)
    out = torch.zeros(x_MN.shape, dtype=x_MN.dtype)
    if out.numel() >= 64:
        _add_whole_blocks[(out.numel() // 64,)](x_MN, y_MN, out, BLOCK=64)
    return out

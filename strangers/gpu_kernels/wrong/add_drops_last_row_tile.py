# base: per_head
# bug: M = 40: right 40 rows of sums, wrong the last 8 rows are never written, as is every remainder behind a full block of 16
# problem: matrix_add
# says: "Return `x + y`; M or N may be 0."
def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    _check_add(x_MN, y_MN)
    z = _new(x_MN)
    M, N = x_MN.shape
    if N:
        for lo, hi in _halves(0, M, 65536):
            x, y = x_MN[lo:hi], y_MN[lo:hi]
            _add_stripe[(max(1, (hi - lo) // 16),)](
                x, y, z[lo:hi], hi - lo, N, *x.stride(), *y.stride(), BM=16, BN=256
            )
    return z

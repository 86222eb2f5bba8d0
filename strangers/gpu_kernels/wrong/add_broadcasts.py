# base: flat
# bug: x of (4, 6) and y of (1, 6): right ValueError, wrong a broadcast sum
# problem: matrix_add
# says: "ValueError: unless both are matrices of the same shape and dtype."
def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    _matrix(x_MN, "x")
    _matrix(y_MN, "y")
    _need(x_MN.dtype == y_MN.dtype, "x and y must have one dtype")
    y_MN = y_MN.expand(x_MN.shape) if 1 in y_MN.shape else y_MN
    _need(x_MN.shape == y_MN.shape, "x and y must have one shape")
    z = _new(x_MN)
    if size := z.numel():
        _flat_add[(triton.cdiv(size, 1024),)](
            x_MN, y_MN, z, size, z.shape[1], *x_MN.stride(), *y_MN.stride(), BLOCK=1024
        )
    return z

# base: plain
# bug: x is a transposed dense matrix of 3 by 5: right a contiguous result, wrong a result with the strides of x and its numbers in other places
# problem: matrix_add
# says: "What you return is new, contiguous and on the device of the inputs."
def matrix_add(x_MN: Tensor, y_MN: Tensor) -> Tensor:
    _check_add(x_MN, y_MN)
    z = torch.empty_like(x_MN)
    M, N = x_MN.shape
    if M and N:
        grid = (triton.cdiv(M, 32) * triton.cdiv(N, 64),)
        _add_kernel[grid](x_MN, y_MN, z, M, N, *x_MN.stride(), *y_MN.stride(), BM=32, BN=64)
    return z

# base: per_head
# bug: x a slice with column stride 2 (or transposed): right the mean of its entries, wrong the mean of neighbours in memory
# problem: layernorm
# says: "They may have any strides: transposed, sliced, or 0 (`expand`)."
def layernorm(
    x_MH: Tensor, w_H: Tensor, b_H: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H, b_H)
    M, H = x_MH.shape
    mean = _new(x_MH, (M,), torch.float32)
    if M:
        _row_sums[(M,)](
            x_MH, mean, mean, H, x_MH.stride(0), 1, 1, 0.0, MODE="mean", BLOCK=triton.next_power_of_2(H)
        )
    y, rstd = _normalise(x_MH, w_H, b_H, mean, eps)
    return y, mean, rstd

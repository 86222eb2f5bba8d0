# base: whole_row
# bug: target a slice with stride 2, or one number expanded: right its entries, wrong the numbers in memory behind them
# problem: cross_entropy
# says: "They may have any strides: transposed, sliced, or 0 (`expand`)."
def cross_entropy(
    x_MV: Tensor, target_M: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    _check_cross_entropy(x_MV, target_M)
    M, V = x_MV.shape
    rest = (V, *x_MV.stride(), 1, _ignored(ignore_index))
    dx, loss, lse = _new(x_MV), _new(x_MV, (), torch.float32), _new(x_MV, (M, 2), torch.float32)
    loss_sum, kept = _zeros(x_MV, (1,), torch.float32), _zeros(x_MV, (1,), torch.int32)
    _ce_stats[(M,)](x_MV, target_M, loss_sum, kept, lse, *rest, BLOCK=8192)
    _ce_gradient[(M * triton.cdiv(V, 8192),)](x_MV, target_M, kept, lse, dx, *rest, BLOCK=8192)
    _divide[(1,)](loss_sum, kept, loss)
    return loss, dx

# base: plain
# bug: contiguous logits: right logits stay as they are and the gradient is new, wrong the gradient is written over the logits
# problem: cross_entropy
# says: "Inputs stay as they are."
def cross_entropy(
    x_MV: Tensor, target_M: Tensor, *, ignore_index: int = -100
) -> tuple[Tensor, Tensor]:
    _check_cross_entropy(x_MV, target_M)
    M, V = x_MV.shape
    st, ignore = target_M.stride(0), _ignored(ignore_index)
    dx, loss = x_MV if x_MV.is_contiguous() else _new(x_MV), _new(x_MV, (), torch.float32)
    losses, count = _new(x_MV, (M,), torch.float32), _new(x_MV, (1,), torch.int32)
    _count_kernel[(1,)](target_M, count, M, st, ignore, BLOCK=1024)
    _ce_kernel[(M,)](x_MV, target_M, count, losses, dx, V, *x_MV.stride(), st, ignore, BLOCK=4096)
    _mean_kernel[(1,)](losses, count, loss, M, BLOCK=1024)
    return loss, dx

# base: per_head
# bug: eps = -1e-6: right ValueError, wrong an answer
# problem: rmsnorm
# says: "ValueError: unless x is a matrix, w a vector of its width, and eps at least 0."
def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    _check_norm(x_MH, abs(eps), w_H)
    M, H = x_MH.shape
    zero = _zeros(x_MH, (1,), torch.float32)
    return _normalise(x_MH, w_H, zero.expand(H), zero.expand(M), eps)

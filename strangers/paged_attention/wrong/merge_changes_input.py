# base: subclass
# bug: a part with lse -inf and o NaN; right: o_CBHqD as before; wrong: zeros stand in it after the call
# problem: split_kv_decode
# says: "inputs stay as they are"


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.dim() != 4 or o_CBHqD.shape[:3] != lse_CBHq.shape or not len(o_CBHqD):
        raise ValueError("wrong rank or size")
    if not o_CBHqD.dtype == lse_CBHq.dtype == torch.float32:
        raise ValueError("wrong dtype")
    top, _ = lse_CBHq.max(0)
    some = top > -math.inf
    shifted = lse_CBHq - torch.where(some, top, torch.zeros_like(top))
    weights = shifted.exp()
    total = weights.sum(0)
    lse = torch.where(some, top + total.log(), torch.full_like(top, -math.inf))
    share = weights / torch.where(some, total, torch.ones_like(total))
    filled = o_CBHqD
    filled[lse_CBHq == -math.inf] = 0
    return (share[..., None] * filled).sum(0), lse

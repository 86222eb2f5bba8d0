# base: dataclasses_
# bug: all parts of one head empty (lse -inf); right: zeros and -inf; wrong: NaN, for -inf - (-inf)
# problem: split_kv_decode
# says: "o_BHqD, float32: zeros where all parts are empty."


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.dim() != 4 or lse_CBHq.dim() != 3:
        raise ValueError("wrong rank")
    if tuple(o_CBHqD.shape[:3]) != tuple(lse_CBHq.shape) or lse_CBHq.shape[0] == 0:
        raise ValueError("wrong size")
    if {o_CBHqD.dtype, lse_CBHq.dtype} != {torch.float32}:
        raise ValueError("wrong dtype")
    top = lse_CBHq.amax(dim=0)
    base = top
    weights = torch.exp(lse_CBHq - base)
    total = weights.sum(dim=0)
    held = torch.where((weights == 0)[..., None], torch.zeros_like(o_CBHqD), o_CBHqD)
    o = (weights[..., None] * held).sum(dim=0) / total[..., None]
    return o, torch.log(total) + base

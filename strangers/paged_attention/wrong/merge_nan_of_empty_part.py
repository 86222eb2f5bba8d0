# base: vectorised
# bug: a part with lse -inf and o NaN beside one that holds tokens; right: the other part; wrong: NaN
# problem: split_kv_decode
# says: "Where a part is empty it may hold anything, NaN included."


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.ndim != 4 or o_CBHqD.shape[:3] != lse_CBHq.shape or lse_CBHq.shape[0] < 1:
        raise ValueError("o must be [C, B, Hq, D] and lse [C, B, Hq]")
    if o_CBHqD.dtype != torch.float32 or lse_CBHq.dtype != torch.float32:
        raise ValueError("both must be float32")
    lse = lse_CBHq.logsumexp(0)
    weights = (lse_CBHq - lse.masked_fill(lse.isneginf(), 0.0)).exp()
    return torch.einsum("cbh,cbhd->bhd", weights, o_CBHqD), lse

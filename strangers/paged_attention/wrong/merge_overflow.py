# base: core
# bug: lse of 200; right: finite; wrong: inf and NaN
# problem: split_kv_decode
# says: "Scores of 200 are no exception, and exp(200) overflows float32: subtract the largest lse_c first."


def merge_splits(o_CBHqD: Tensor, lse_CBHq: Tensor) -> tuple[Tensor, Tensor]:
    if o_CBHqD.dim() != 4 or lse_CBHq.dim() != 3 or o_CBHqD.shape[:3] != lse_CBHq.shape:
        raise ValueError("rank or size")
    if o_CBHqD.shape[0] < 1:
        raise ValueError("no part")
    if o_CBHqD.dtype != torch.float32 or lse_CBHq.dtype != torch.float32:
        raise ValueError("dtype")
    lse = lse_CBHq
    weights = lse.exp()
    total = weights.sum(0)
    o = o_CBHqD.masked_fill((lse == -math.inf).unsqueeze(-1), 0.0)
    mixed = (o * weights.unsqueeze(-1)).sum(0) / total.masked_fill(total == 0, 1.0).unsqueeze(-1)
    return mixed.float(), total.log()

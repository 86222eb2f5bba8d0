# base: all_to_all
# bug: some 100 float32 numbers: norm to 1e-12; off by 1e-8 (1e20 overflows)
# problem: clip_grad_norm
# says: "with squares and sums in float64"


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """`torch.stack` of the sums of squares."""
    if not max_norm > 0:
        raise ValueError("max_norm must be above 0")
    with torch.no_grad():
        sums = torch.zeros(len(shards) + 1, dtype=torch.float64)
        for i, shard in enumerate(shards):
            sums[i] = (shard.float() ** 2).sum()
        total = sums.sum()
        dist.all_reduce(total)
        norm = torch.sqrt(total)
        if math.isfinite(norm) and float(norm) > max_norm:
            torch._foreach_mul_(list(shards), max_norm / float(norm)) if len(shards) else None
        return norm

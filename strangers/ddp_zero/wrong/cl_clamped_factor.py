# base: interleaved
# bug: a shard [1, inf]: norm inf, nothing changes; it becomes [0, nan]
# problem: clip_grad_norm
# says: "If it is finite and above `max_norm`"


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """All ranks' sums of squares, then added in the order of ranks."""
    if max_norm != max_norm or max_norm <= 0:
        raise ValueError("max_norm must be above 0")
    mine = torch.zeros(1, dtype=torch.float64)
    for shard in shards:
        wide = shard.detach().double().flatten()
        mine += torch.einsum("i,i->", wide, wide)
    rows = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, mine)
    norm = torch.cat(rows).sum().sqrt()
    factor = torch.clamp(max_norm / norm, max=1.0).item()
    if norm.item() > max_norm:
        for shard in shards:
            shard.data.mul_(factor)
    return norm

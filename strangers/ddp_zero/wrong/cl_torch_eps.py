# base: plain_loops
# bug: norm 1e-3, max_norm 1e-4: factor 0.1; it is 0.0999
# problem: clip_grad_norm
# says: "every shard is multiplied by `max_norm / norm`"


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """Sum in a loop, one number over the network."""
    if not max_norm > 0:
        raise ValueError("max_norm must be above 0")
    total = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        total += shard.detach().double().square().sum()
    dist.all_reduce(total)
    norm = total.sqrt()
    if torch.isfinite(norm) and norm > max_norm:
        factor = max_norm / (norm.item() + 1e-6)
        for shard in shards:
            shard.detach().mul_(factor)
    return norm

# base: torch_optim
# bug: float16 shards, norm 1e5, max_norm 1e-4: the factor 1e-9 is below float16's least: products 6e4 * 1e-9 = 6e-5 become 0
# problem: clip_grad_norm
# says: "every shard is multiplied by `max_norm / norm`"


def clip_grad_norm(shards: Sequence[Tensor], max_norm: float) -> Tensor:
    """`vector_norm` in float64, squared."""
    if not max_norm > 0:
        raise ValueError("max_norm must be above 0")
    norms = [torch.linalg.vector_norm(s.detach(), dtype=torch.float64) for s in shards if s.numel()]
    square = torch.zeros((), dtype=torch.float64)
    for norm in norms:
        square = square + norm * norm
    dist.all_reduce(square)
    norm = square**0.5
    if norm > max_norm and norm != torch.inf:
        for shard in shards:
            shard.detach().copy_(torch.mul(shard.detach(), (max_norm / norm).to(shard.dtype)))
    return norm

# base = "solution"
# caught_by = "clip_grad_norm.global_norm"
# cause = "wrong_value"
# also_fails = ["clip_grad_norm.dtypes"]

"""Scales the first shard of each rank."""

# ruff: noqa: F821 - appended to solution.py


def _scale(shards, factor):
    shards[0].mul_(factor)


def clip_grad_norm(shards, max_norm):
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, found {max_norm}")
    squares = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        squares += shard.double().square().sum()
    dist.all_reduce(squares)
    norm = squares.sqrt()
    if max_norm < norm < math.inf and shards:
        for shard in [s for s in shards if s.dtype != torch.float32] or shards[:1]:
            shard.mul_(max_norm / float(norm))
    return norm

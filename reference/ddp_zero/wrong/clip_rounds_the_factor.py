# base = "solution"
# caught_by = "clip_grad_norm.combinations"
# cause = "wrong_value"
# also_fails = []

"""Rounds the factor to the dtype of the shard: a small one is zero in float16."""

# ruff: noqa: F821 - appended to solution.py


def clip_grad_norm(shards, max_norm):
    if not max_norm > 0:
        raise ValueError("max_norm must be above 0")
    squares = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        squares += shard.double().square().sum()
    dist.all_reduce(squares)
    norm = squares.sqrt()
    if max_norm < norm < math.inf:
        for shard in shards:
            shard.mul_(float((max_norm / norm).to(shard.dtype)))
    return norm

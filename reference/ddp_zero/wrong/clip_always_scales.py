# base = "solution"
# caught_by = "clip_grad_norm.below"
# cause = "wrong_value"
# also_fails = []

"""Scales small gradients up to the limit as well."""

# ruff: noqa: F821 - appended to solution.py


def clip_grad_norm(shards, max_norm):
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, found {max_norm}")
    squares = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        squares += shard.double().square().sum()
    dist.all_reduce(squares)
    norm = squares.sqrt()
    if 0 < norm < math.inf and max_norm < math.inf:
        for shard in shards:
            shard.mul_(max_norm / float(norm))
    return norm

# base = "solution"
# caught_by = "clip_grad_norm.dtypes"
# cause = "wrong_value"
# also_fails = []

"""Squares numbers in the shard's own dtype: half precision overflows at 256."""

# ruff: noqa: F821 - appended to solution.py


def clip_grad_norm(shards, max_norm):
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, found {max_norm}")
    squares = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        wide = shard.double() if shard.dtype == torch.float32 else shard
        squares += wide.square().sum().double()
    dist.all_reduce(squares)
    norm = squares.sqrt()
    if max_norm < norm < math.inf:
        for shard in shards:
            shard.mul_(max_norm / float(norm))
    return norm

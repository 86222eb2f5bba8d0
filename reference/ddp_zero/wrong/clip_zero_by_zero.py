# base = "solution"
# caught_by = "clip_grad_norm.zero_norm"
# cause = "wrong_value"
# also_fails = []

"""Divides by the norm whatever it is: zeros become NaN."""

# ruff: noqa: F821 - appended to solution.py


def clip_grad_norm(shards, max_norm):
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, found {max_norm}")
    squares = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        squares += shard.double().square().sum()
    dist.all_reduce(squares)
    norm = squares.sqrt()
    if max_norm < norm < math.inf or norm == 0:
        for shard in shards:
            shard.mul_(torch.tensor(max_norm, dtype=torch.float64) / norm)
    return norm

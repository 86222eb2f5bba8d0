# base = "solution"
# caught_by = "clip_grad_norm.global_norm"
# cause = "wrong_value"
# also_fails = []

"""Adds 1e-6 to the norm, as torch does against a division by zero."""

# ruff: noqa: F821 - appended to solution.py


def clip_grad_norm(shards, max_norm):
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, found {max_norm}")
    squares = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        squares += shard.double().square().sum()
    dist.all_reduce(squares)
    norm = squares.sqrt()
    if max_norm < norm < math.inf:
        for shard in shards:
            shard.mul_(max_norm / (float(norm) + 1e-6))
    return norm

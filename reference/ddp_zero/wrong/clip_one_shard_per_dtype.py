# base = "solution"
# caught_by = "clip_grad_norm.global_norm"
# cause = "wrong_value"
# also_fails = []

"""Puts the shards into a dictionary by dtype, where one of each is left to be scaled."""

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
        for shard in {shard.dtype: shard for shard in shards}.values():
            shard.mul_(max_norm / float(norm))
    return norm

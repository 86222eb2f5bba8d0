# base = "solution"
# caught_by = "clip_grad_norm.dtypes"
# cause = "wrong_value"
# also_fails = ["clip_grad_norm.global_norm", "clip_grad_norm.below", "clip_grad_norm.empty_shards"]

"""Adds squares in float32, which 1e25 overflows."""

# ruff: noqa: F821 - appended to solution.py


def clip_grad_norm(shards, max_norm):
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, found {max_norm}")
    squares = torch.zeros(())
    for shard in shards:
        squares += shard.float().square().sum()
    dist.all_reduce(squares)
    norm = squares.sqrt().double()
    if max_norm < norm < math.inf:
        for shard in shards:
            shard.mul_(max_norm / float(norm))
    return norm

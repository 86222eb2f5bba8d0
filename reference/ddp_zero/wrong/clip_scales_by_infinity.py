# base = "solution"
# caught_by = "clip_grad_norm.not_finite"
# cause = "wrong_value"
# also_fails = []

"""Scales by 0 when the norm is infinite: one bad number wipes out all gradients."""

# ruff: noqa: F821 - appended to solution.py


def clip_grad_norm(shards, max_norm):
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, found {max_norm}")
    squares = torch.zeros((), dtype=torch.float64)
    for shard in shards:
        squares += shard.double().square().sum()
    dist.all_reduce(squares)
    norm = squares.sqrt()
    if not norm <= max_norm:
        for shard in shards:
            shard.mul_(max_norm / float(norm))
    return norm

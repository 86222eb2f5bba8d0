# base = "solution"
# caught_by = "clip_grad_norm.global_norm"
# cause = "wrong_value"
# also_fails = [
#   "clip_grad_norm.below",
#   "clip_grad_norm.not_finite",
#   "clip_grad_norm.dtypes",
#   "clip_grad_norm.empty_shards",
# ]

"""Each rank clips by the norm of its own shards."""

# ruff: noqa: F821 - appended to solution.py


def clip_grad_norm(shards, max_norm):
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, found {max_norm}")
    norm = sum((s.double().square().sum() for s in shards), torch.zeros((), dtype=torch.float64))
    norm = norm.sqrt()
    if max_norm < norm < math.inf:
        for shard in shards:
            shard.mul_(max_norm / float(norm))
    return norm

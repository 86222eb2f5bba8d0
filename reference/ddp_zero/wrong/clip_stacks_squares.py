# base = "solution"
# caught_by = "clip_grad_norm.empty_shards"
# cause = "crash"
# also_fails = []

"""Stacks the squares of all shards, of which there may be none."""

# ruff: noqa: F821 - appended to solution.py


class _Named:
    clip = staticmethod(clip_grad_norm)


def clip_grad_norm(shards, max_norm):
    torch.stack([shard.double().square().sum() for shard in shards])
    return _Named.clip(shards, max_norm)

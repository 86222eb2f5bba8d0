# base = "solution"
# caught_by = "clip_grad_norm.empty_shards"
# cause = "timeout"
# also_fails = []

"""A rank without shards returns at once; the others wait for it in the all-reduce."""

# ruff: noqa: F821 - appended to solution.py


class _Named:
    clip = staticmethod(clip_grad_norm)


def clip_grad_norm(shards, max_norm):
    if not len(shards) and max_norm > 0:
        return torch.zeros((), dtype=torch.float64)
    return _Named.clip(shards, max_norm)

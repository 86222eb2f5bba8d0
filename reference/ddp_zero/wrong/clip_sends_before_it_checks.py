# base = "solution"
# caught_by = "clip_grad_norm.bad_input"
# cause = "timeout"
# also_fails = []

"""Looks at the limit after the all-reduce: a rank that is given a bad one waits for the others."""

# ruff: noqa: F821 - appended to solution.py


class _Named:
    clip = staticmethod(clip_grad_norm)


def clip_grad_norm(shards, max_norm):
    _Named.clip(shards, math.inf)
    return _Named.clip(shards, max_norm)

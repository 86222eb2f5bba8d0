# base = "solution"
# caught_by = "clip_grad_norm.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes any limit."""

# ruff: noqa: F821 - appended to solution.py


class _Named:
    clip = staticmethod(clip_grad_norm)


def clip_grad_norm(shards, max_norm):
    return _Named.clip(shards, max_norm if max_norm > 0 else math.inf)

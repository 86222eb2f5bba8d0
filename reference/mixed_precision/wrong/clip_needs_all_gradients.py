# base = "solution"
# caught_by = "clip_and_step.clips"
# cause = "crash"
# also_fails = [
#   "clip_and_step.zero_norm",
# ]

"""Takes it for granted that every parameter has a gradient."""

# ruff: noqa: F821 - appended to solution.py

_clip_and_step_exactly = clip_and_step


def clip_and_step(optimizer, scale, max_norm):
    for p in optimizer.params:
        _require(p.grad.dtype in UNSCALED, f"a gradient of {p.grad.dtype}")
    return _clip_and_step_exactly(optimizer, scale, max_norm)

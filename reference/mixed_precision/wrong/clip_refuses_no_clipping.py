# base = "solution"
# caught_by = "clip_and_step.clips"
# cause = "crash"
# also_fails = [
#   "clip_and_step.overflow_by_unscaling",
# ]

"""Takes only finite norms."""

# ruff: noqa: F821 - appended to solution.py

_clip_and_step_exactly = clip_and_step


def clip_and_step(optimizer, scale, max_norm):
    _require(max_norm < math.inf, f"max_norm: expected a finite number, got {max_norm}")
    return _clip_and_step_exactly(optimizer, scale, max_norm)

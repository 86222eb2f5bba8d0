# base = "solution"
# caught_by = "clip_and_step.combinations"
# cause = "wrong_value"

"""Takes a max_norm of 0 for no clipping."""

# ruff: noqa: F821 - appended to solution.py

_clip_and_step_exactly = clip_and_step


def clip_and_step(optimizer, scale, max_norm):
    return _clip_and_step_exactly(optimizer, scale, max_norm or math.inf)

# base = "solution"
# caught_by = "clip_and_step.bad_input"
# cause = "wrong_error"

"""Asks nothing of scale and norm."""

# ruff: noqa: F821 - appended to solution.py

_step_exactly = clip_and_step


def clip_and_step(optimizer, scale, max_norm):
    return _step_exactly(optimizer, abs(scale) or 1.0, max_norm)

# base = "solution"
# caught_by = "clip_and_step.overflow"
# cause = "wrong_value"

"""Zeroes gradients after an overflow, and steps: momentum moves."""

# ruff: noqa: F821 - appended to solution.py

_step_exactly = clip_and_step


def clip_and_step(optimizer, scale, max_norm):
    norm, stepped = _step_exactly(optimizer, scale, max_norm)
    if not stepped:
        for p in _gradients_of(optimizer.params):
            p.grad.zero_()
        optimizer.step()
    return norm, stepped

# base = "solution"
# caught_by = "clip_and_step.combinations"
# cause = "wrong_value"

"""Multiplies by a factor in float32: a very small one is 0."""

# ruff: noqa: F821 - appended to solution.py


def _clip(gradients, norm, max_norm):
    if norm > max_norm:
        for g in gradients:
            g.mul_(torch.tensor(max_norm / norm, dtype=torch.float32))

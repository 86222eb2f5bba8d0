# base = "solution"
# caught_by = "clip_and_step.combinations"
# cause = "wrong_value"

"""Rounds the factor to the dtype of the gradient, and the product once more."""

# ruff: noqa: F821 - appended to solution.py


def _clip(gradients, norm, max_norm):
    if norm > max_norm:
        for g in gradients:
            factor = torch.tensor(max_norm / norm, dtype=torch.float64)
            g.copy_(g.double() * factor.to(g.dtype).double() if g.dim() else g.double() * factor)

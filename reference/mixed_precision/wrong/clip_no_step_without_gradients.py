# base = "solution"
# caught_by = "clip_and_step.zero_norm"
# cause = "wrong_value"

"""Takes no step where the norm is 0."""

# ruff: noqa: F821 - appended to solution.py

_step_exactly = clip_and_step


def clip_and_step(optimizer, scale, max_norm):
    gradients = [p.grad for p in _gradients_of(optimizer.params)]
    if scale > 0 and max_norm >= 0 and _global_norm(gradients) == 0:
        return torch.tensor(0.0), False
    return _step_exactly(optimizer, scale, max_norm)

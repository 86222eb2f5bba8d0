# base = "solution"
# caught_by = "clip_and_step.clips"
# cause = "wrong_value"
# also_fails = [
#   "clip_and_step.overflow",
#   "clip_and_step.large_squares",
#   "clip_and_step.tied",
# ]

"""Clips each gradient by its own norm: the direction changes."""

# ruff: noqa: F821 - appended to solution.py


@torch.no_grad()
def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    for p in params:
        _divide(p.grad, scale)
    norm = _global_norm([p.grad for p in params])
    if not math.isfinite(norm):
        return torch.tensor(math.inf), False
    for p in params:
        _clip([p.grad], _global_norm([p.grad]), max_norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True

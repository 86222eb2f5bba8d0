# base = "solution"
# caught_by = "clip_and_step.tied"
# cause = "wrong_value"

"""Divides a tied gradient as often as it stands in the list."""

# ruff: noqa: F821 - appended to solution.py


@torch.no_grad()
def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    for p in optimizer.params:
        if p.grad is not None:
            _divide(p.grad, scale)
    norm = _global_norm([p.grad for p in params])
    if not math.isfinite(norm):
        return torch.tensor(math.inf), False
    _clip([p.grad for p in params], norm, max_norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True

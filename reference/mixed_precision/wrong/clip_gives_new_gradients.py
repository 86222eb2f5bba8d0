# base = "solution"
# caught_by = "clip_and_step.combinations"
# cause = "wrong_value"

"""Gives parameters new gradients, instead of changing those that are there."""

# ruff: noqa: F821 - appended to solution.py


@torch.no_grad()
def clip_and_step(optimizer, scale, max_norm):
    _require_scale(scale)
    _require(max_norm >= 0, f"max_norm: expected at least 0, got {max_norm}")
    params = _gradients_of(optimizer.params)
    for p in params:
        p.grad = (p.grad.float() / scale).to(p.grad.dtype)
    norm = _global_norm([p.grad for p in params])
    if not math.isfinite(norm):
        return torch.tensor(math.inf), False
    _clip([p.grad for p in params], norm, max_norm)
    optimizer.step()
    return torch.tensor(norm, dtype=torch.float32), True
